"""The official boxes of NIH radiographs as a folder of images and a table of boxes.

python benchmarks/nih_boxes.py FOLDER OUT
python -m medssl_jax.main --config=configs/evaluate.py:images --config.run=RUN \\
    --config.data.root=OUT --config.data.boxes=OUT/boxes.csv \\
    --config.data.kinds="('nodule','pneumothorax')" --workdir=...

FOLDER has nih_cxr_224.npz, metadata.csv and boxes.csv. OUT gets each image with a box, and
four times as many without finding, of other patients, drawn at random. Every box is called
a nodule: the question is whether the phantoms' detector finds anything there.
"""

import csv
from pathlib import Path

import numpy as np
from absl import app
from PIL import Image

_HEALTHY = 4  # for each image with a box


def main(arguments) -> None:
    folder, out = map(Path, arguments[1:])
    out.mkdir(parents=True)
    images = np.load(folder / "nih_cxr_224.npz")["images"]
    about, boxes = (_rows(folder / name) for name in ("metadata.csv", "boxes.csv"))
    boxed = {row["name"] for row in boxes}
    patients = {row["patient"] for row in boxes}
    healthy = [
        row
        for row in about
        if row["findings"] == "No Finding" and row["patient"] not in patients
    ]
    random = np.random.default_rng(0)
    chosen = random.choice(len(healthy), _HEALTHY * len(boxed), replace=False)
    kept = [row for row in about if row["name"] in boxed]
    kept += [healthy[i] for i in chosen]
    with (out / "boxes.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "x0", "y0", "x1", "y1", "label", "patient"])
        for row in kept:
            name, patient = row["name"], row["patient"]
            Image.fromarray(images[int(row["row"])].squeeze()).save(out / name)
            corners = [
                [box[x] for x in ("x0", "y0", "x1", "y1")]
                for box in boxes
                if box["name"] == name
            ]
            for own in corners or [[""] * 4]:
                label = "nodule" if corners else ""
                table.writerow([name, *own, label, patient])
    print(f"{len(boxes)} boxes in {len(boxed)} of {len(kept)} images: {out}")


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


if __name__ == "__main__":
    app.run(main)
