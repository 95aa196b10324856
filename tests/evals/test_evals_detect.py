"""The evaluator of detectors: what it measures, writes and refuses."""

import csv
import functools

import numpy as np
import pytest
import tiny

from medssl_jax.data.draw import Draw
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals import detect as module
from medssl_jax.evals.base import Context
from medssl_jax.evals.detect import detect

N, MOST = 12, 3


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
    i = int(name)
    return {"image": np.full((4, 8, 1), i, np.float32), "boxes": boxes_of(i)}


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
            parts = zip(told.values(), found(int(image[0, 0, 0])), strict=True)
            for array, values in parts:
                array[row, : len(values)] = values
        return told

    sources = dict.fromkeys(roles, source(**known))
    draw = Draw((4, 8), "all", most_boxes=2)
    method = tiny.method("detect", axis_name=None)
    return Context(method, predict, sources, None, draw, 5, {}, dict, workdir, 0)


def test_a_perfect_detector_is_judged_so(tmp_path):
    evaluator = detect(context(tmp_path), hit=0.5)
    during = evaluator.during(None, None)
    assert during == {
        "validation_loss": 0.0,
        "validation_FROC": 1.0,
        "validation_AUC": 1.0,
        "validation_accuracy": 1.0,
    }
    final = evaluator.final(None, None)
    assert [row[0] for row in final["tables"][0]["rows"]] == [
        *("FROC", "AUC", "accuracy", "mAP", "AP50", "AP75")
    ]
    assert all(row[1].startswith("1.000") for row in final["tables"][0]["rows"])
    assert final["values"]["FROC"]["low"] == 1.0
    with open(tmp_path / "detections.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == N - N // 3 and rows[0]["name"] == "1"
    corners = [float(rows[0][c]) for c in ("low0", "low1", "high0", "high1")]
    np.testing.assert_allclose(corners, [0.4, 1.6, 2.0, 3.4], atol=0.01)
    assert rows[0]["patient"] == "p0" and rows[0]["kind"] == "1"


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
    assert during == {"validation_loss": 0.0, "validation_FROC": 1.0}


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
