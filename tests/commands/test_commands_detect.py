"""Detection from a folder of images and a table to boxes in their pixels."""

import csv
import json

import numpy as np
import pytest
from PIL import Image
from test_configs import load

import medssl_jax
from medssl_jax.commands import predict, train
from medssl_jax.data.box_files import read_boxes
from medssl_jax.protocols.tested import read_cases
from medssl_jax.saved.predictor import load_predictor, together

pytestmark = pytest.mark.slow  # one run, half a minute

COUNT, FILE = 24, (24, 36)
KINDS = ("nodule", "mass")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return a folder of grey noise with bright boxes, every third without one."""
    folder, rng = tmp_path_factory.mktemp("boxes"), np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = []
    for i in range(COUNT):
        image = rng.integers(0, 80, FILE)
        name = f"{i:02d}.png"
        if i % 3:
            y, x = rng.integers(2, 12, 2)
            image[y : y + 10, x : x + 14] += 80 * (1 + i % 2)
            box = [x, y, x + 14, y + 10, KINDS[i % 2]]
            rows.append([name, *box, f"p{i // 2}"])
        else:
            rows.append([name, *[""] * 5, f"p{i // 2}"])
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / name)
    with open(folder / "boxes.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "x0", "y0", "x1", "y1", "label", "patient"])
        writer.writerows(rows)
    return folder


@pytest.fixture(scope="module")
def finished(data, tmp_path_factory):
    config = load("detect", "images")
    files = {"root": str(data / "images"), "boxes": str(data / "boxes.csv")}
    config.data.update(kinds=KINDS, workers=0, cache="", most_boxes=2, **files)
    config.data.update(shape=(18, 18), longest_side=18)
    config.splits.validation.fraction = config.splits.test.fraction = 0.3
    config.model.update(layers=(1, 1), width=4, stem="small")
    config.method.update(width=8, depth=1, levels=2, coarser=0, most=4)
    config.update(batch_size=8, micro_batch_size=8, train_epochs=6.0)
    config.schedule.update(peak=1e-2, warmup_epochs=0.0)
    config.checkpoint.every_epochs = 3.0
    workdir = tmp_path_factory.mktemp("run")
    train.run(config, workdir)
    return config, workdir


def test_it_trains_to_its_report(finished):
    _, workdir = finished
    results = json.loads((workdir / "results.json").read_text())
    cases = read_cases(workdir)
    every = np.arange(len(cases.names))
    for name, value in results["values"].items():
        assert cases.measures[name](every) == pytest.approx(value["value"], abs=1e-9)
    assert list(cases.classes) == list(KINDS)
    page = (workdir / "report.html").read_text()
    assert "Detected boxes" in page and "FROC" in page


def test_predictions_are_those_of_the_test_in_pixels_of_the_files(
    finished, data, tmp_path
):
    _, workdir = finished
    found = load("predict", "images")
    found.init_from = str(workdir)
    found.data.root = str(data / "images")
    predict.run(found, tmp_path)
    all_of_them = read_boxes(str(tmp_path / "detections.csv"), KINDS)
    tested = read_boxes(str(workdir / "detections.csv"), KINDS)
    assert len(all_of_them.boxes) == COUNT > len(tested.boxes) > 2
    for name in tested.boxes:
        boxes, own = (table.of(name, FILE) for table in (all_of_them, tested))
        np.testing.assert_allclose(boxes, own, atol=1e-3)
    image = np.asarray(Image.open(data / "images" / "01.png"))[..., None]
    told = medssl_jax.load_predictor(workdir).of_record({"image": image})
    in_pixels = all_of_them.of("01.png", FILE)[:, :4] * np.tile(FILE, 2)
    np.testing.assert_allclose(told["boxes"], in_pixels.reshape(-1, 4), atol=0.01)
    assert told["boxes"][:, 3].max() > 18  # beyond what the network sees


def test_an_ensemble_of_a_detector_and_itself_finds_the_same(finished, data):
    _, workdir = finished
    one = load_predictor(workdir)
    twice = together({"a": one, "b": load_predictor(workdir)})
    image = np.asarray(Image.open(data / "images" / "01.png"))[..., None]
    alone, both = (predictor.of_record({"image": image}) for predictor in (one, twice))
    for name, value in alone.items():
        np.testing.assert_allclose(both[name], value, atol=1e-4)
