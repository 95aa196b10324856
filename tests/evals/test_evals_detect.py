"""The evaluator of detectors: what it measures, writes and refuses."""

import functools

import numpy as np
import pytest
import tiny

from medssl_jax.data.box_files import read_boxes
from medssl_jax.data.cache import Cached
from medssl_jax.data.draw import Draw
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals import detect_tables as module
from medssl_jax.evals.base import Context
from medssl_jax.evals.detect import detect

N, MOST = 12, 3
FILE, SHAPE = (8, 16), (4, 8)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    few = functools.partial(module.resampled, resamples=50)
    monkeypatch.setattr(module, "resampled", few)


def boxes_of(i):
    """Return those of image i: of kind i % 2, none of each third."""
    if i % 3 == 0:
        return np.empty((0, 5), np.float32)
    return np.array([[0.1, 0.2, 0.5, 0.4 + i / 40, i % 2]], np.float32)


def read(name):
    """Return what a network sees half as large."""
    i = int(name)
    image = np.full((*FILE, 1), i / 255, np.float32)
    image[:, FILE[1] // 2 :] = 1.0  # a constant one is refused
    return {"image": image, "boxes": boxes_of(i)}


def source(**known):
    patients = [f"p{i // 2}" for i in range(N)]
    names = [str(i) for i in range(N)]
    return Examples(names, read, None, patients, has_boxes=True, **known)


def perfect(i):
    """Return boxes, scores and kinds of an image."""
    truth = boxes_of(i)
    return truth[:, :4], np.full(len(truth), 0.9), truth[:, 4]


def context(workdir, found=perfect, roles=("train", "validation", "test"), **known):
    def predict(params, aux, images):
        del params, aux
        told = {
            "boxes": np.zeros((len(images), MOST, 4), np.float32),
            "score": np.zeros((len(images), MOST), np.float32),
            "kind": np.full((len(images), MOST), -1, np.int32),
        }
        for row, image in enumerate(images):
            parts = zip(
                told.values(), found(round(255 * float(image[0, 0, 0]))), strict=True
            )
            for array, values in parts:
                array[row, : len(values)] = values
        return told

    prepare = Prepare(2, None, "none", resize=SHAPE)
    sources = dict.fromkeys(roles, Cached(source(**known), prepare, ""))
    draw = Draw(SHAPE, "all", most_boxes=2)
    method = tiny.method("detect", axis_name=None)
    return Context(method, predict, sources, prepare, draw, 5, {}, dict, workdir, 0)


def test_a_perfect_detector_is_judged_so(tmp_path):
    evaluator = detect(context(tmp_path), hit=0.5)
    during = evaluator.during(None, None)
    assert during == {
        "validation_loss": 0.0,
        "validation_FROC": 1.0,
        "validation_AUC": 1.0,
        "validation_accuracy": 1.0,
        "validation_mAP50": 1.0,
    }
    final = evaluator.final(None, None)
    assert [row[0] for row in final["tables"][0]["rows"]] == [
        *("FROC", "AUC", "accuracy", "mAP50"),
        *("COCO mAP", "COCO AP50", "COCO AP75"),
    ]
    assert all(row[1].startswith("1.000") for row in final["tables"][0]["rows"])
    assert final["values"]["FROC"]["low"] == 1.0
    # all that there is, at once
    for curve in final["curves"]:
        assert [line["name"] for line in curve["lines"]] == ["all", "0", "1"]
        assert all(set(line["y"]) == {1.0} for line in curve["lines"])
    (roc,) = final["roc"]
    assert roc["labels"] == [int(i % 3 > 0) for i in range(N)]
    assert roc["scores"] == pytest.approx([0.9 * (i % 3 > 0) for i in range(N)])


def test_boxes_are_left_as_boxes_are_read(tmp_path):
    known = {"kind_names": ("nodule", "mass")}
    detect(context(tmp_path, **known), hit=0.5).final(None, None)
    left = read_boxes(str(tmp_path / "detections.csv"), known["kind_names"])
    assert list(left.boxes) == [str(i) for i in range(N)]  # those without one too
    assert left.patients == {str(i): f"p{i // 2}" for i in range(N)}
    for i in range(N):
        found = left.of(str(i), FILE)
        np.testing.assert_allclose(found, boxes_of(i).reshape(-1, 5), atol=2e-3)


def test_false_alarms_and_other_kinds_cost(tmp_path):
    def alarmed(i):
        boxes, _, kinds = perfect(i)
        boxes = np.concatenate([boxes, [[0.7, 0.7, 0.9, 0.9]]])
        kinds = np.append(1 - kinds, 0)
        return boxes, np.linspace(0.8, 0.5, len(boxes)), kinds

    final = detect(context(tmp_path, alarmed), hit="centre").final(None, None)
    values = {name: value["value"] for name, value in final["values"].items()}
    assert values["FROC"] == 0 and values["accuracy"] == 0
    assert values["AUC"] == 0.5  # the likeliest of each image is as likely
    assert "its centre within" in final["tables"][0]["note"]


def test_a_role_without_a_single_box_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "boxes_of", lambda i: np.empty((0, 5), np.float32))
    with pytest.raises(ConfigError, match="needs cases with boxes for validation"):
        detect(context(tmp_path), hit=0.5)


def test_where_all_images_have_boxes_froc_chooses(tmp_path, monkeypatch):
    one = np.array([[0.1, 0.2, 0.5, 0.4, 0]], np.float32)
    monkeypatch.setitem(globals(), "boxes_of", lambda i: one)
    during = detect(context(tmp_path), hit=0.5).during(None, None)
    assert during == {
        "validation_loss": 0.0,
        "validation_FROC": 1.0,
        "validation_mAP50": 1.0,
    }


@pytest.mark.parametrize(
    "change, said",
    [
        ({"hit": "near"}, "hit 'near' is not known"),
        ({"roles": ("train", "test")}, "needs cases with boxes for validation"),
        ({"method": "supervised"}, "needs a method of boxes"),
    ],
)
def test_what_cannot_be_judged_is_refused(tmp_path, change, said):
    roles = change.get("roles", ("train", "validation", "test"))
    given = context(tmp_path, roles=roles)
    if "method" in change:
        given = given._replace(method=tiny.method(change["method"], axis_name=None))
    with pytest.raises(ConfigError, match=said):
        detect(given, hit=change.get("hit", 0.5))
