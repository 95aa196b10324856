"""COCO's average precision, as `faster-coco-eval` computes it."""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from medssl_jax.evals.hits import Detected


def average_precision(
    images: Sequence[Detected], kinds: int, shape: tuple[int, int]
) -> dict[str, float]:
    """Return "mAP", over overlaps of .5 to .95, and "AP50" and "AP75", means over kinds.

    Of images of `shape` (rows, columns). NaN where there is no box to be found.

    Source: COCO, arXiv:1405.0312; equal to pycocotools.
    """
    names = ("mAP", "AP50", "AP75")
    if not any(len(one.truth) for one in images):
        return dict.fromkeys(names, float("nan"))
    truth, found = [], []
    for i, one in enumerate(images, start=1):
        for box, kind in zip(one.truth, one.truth_kinds, strict=True):
            entry = _entry(i, box, kind, shape)
            _, _, width, height = entry["bbox"]
            own = {"id": len(truth) + 1, "area": width * height, "iscrowd": 0}
            truth.append(entry | own)
        for box, kind, score in zip(one.boxes, one.kinds, one.scores, strict=True):
            found.append(_entry(i, box, kind, shape) | {"score": float(score)})
    if not found:
        return dict.fromkeys(names, 0.0)
    rows, columns = shape
    known = COCO(
        {
            "images": [
                {"id": i + 1, "height": rows, "width": columns}
                for i in range(len(images))
            ],
            "categories": [{"id": k + 1, "name": str(k)} for k in range(kinds)],
            "annotations": truth,
        }
    )
    judged = COCOeval_faster(
        known, known.loadRes(found), iouType="bbox", print_function=_in_silence
    )
    judged.run()
    return dict(zip(names, np.float64(judged.stats[:3]).tolist(), strict=True))


def _entry(image, box, kind, shape):
    low, high = np.split(np.float64(box) * np.tile(shape, 2), 2)
    (top, left), (height, width) = low, high - low
    corners = [float(x) for x in (left, top, width, height)]
    return {"image_id": image, "category_id": int(kind) + 1, "bbox": corners}


def _in_silence(*said):
    del said
