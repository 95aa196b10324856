"""Which cases of a detector are shown, and what of them."""

import numpy as np
import pytest

from medssl_jax.data.draw import Draw
from medssl_jax.data.source import Examples
from medssl_jax.evals import detections
from medssl_jax.evals.detections import save_pictures
from medssl_jax.evals.hits import Detected, outcome, threshold_at

BOX = [0.1, 0.1, 0.5, 0.5]
ELSEWHERE = [0.6, 0.6, 0.9, 0.9]


@pytest.fixture(autouse=True)
def one_an_image(monkeypatch):
    monkeypatch.setattr(detections, "FALSE_POSITIVES", 1.0)


def case(truth, found):
    """Return an image's boxes, all of kind 0; what was found with its score."""
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score in found], float)
    there = np.array(truth, np.float32).reshape(-1, 4)
    kinds = np.zeros(len(there), int), np.zeros(len(boxes), int)
    return Detected(there, kinds[0], boxes, scores, kinds[1])


def source(count, shape=(4, 6)):
    def read(name):
        return {"image": np.full((*shape, 1), int(name) / 100, np.float32)}

    return Examples([str(i) for i in range(count)], read)


CASES = [
    case([], []),
    case([BOX], [(BOX, 0.9)]),
    case([BOX], [(BOX, 0.9), (ELSEWHERE, 0.8)]),
    case([BOX], [(ELSEWHERE, 0.7)]),
    case([BOX, ELSEWHERE], []),
    case([], [(BOX, 0.3), (ELSEWHERE, 0.2)]),
]


def shown(tmp_path, cases, shape=(4, 6)):
    path = tmp_path / "detections.npz"
    draw = Draw(shape, "all", most_boxes=2)
    outcomes = [outcome(one, 0.5) for one in cases]
    save_pictures(path, source(len(cases), shape), draw, cases, outcomes, ["nodule"])
    with np.load(path) as arrays:
        return dict(arrays)


def test_the_threshold_leaves_so_many_false_alarms_an_image():
    outcomes = [outcome(one, 0.5) for one in CASES]
    for rate in (0.0, 0.2, 1 / 3, 0.5, 1.0):
        least = threshold_at(outcomes, rate)
        false = sum((one.false_scores >= least).sum() for one in outcomes)
        assert false <= rate * len(CASES)
    assert threshold_at(outcomes, 1.0) == 0.0  # there are but four
    assert 0.7 < threshold_at(outcomes, 0.2) < 0.701  # one: that of .8
    # a tie is all or none
    tied = [outcome(case([], [(BOX, 0.5), (ELSEWHERE, 0.5)]), 0.5)]
    assert threshold_at(tied, 1.0) > 0.5


def test_misses_come_first_then_false_alarms(tmp_path):
    arrays = shown(tmp_path, CASES)
    assert arrays["name"].tolist() == ["4", "3", "5", "2", "0", "1"]
    assert arrays["missed"].tolist() == [2, 1, 0, 0, 0, 0]
    assert arrays["false"].tolist() == [0, 1, 2, 1, 0, 0]
    np.testing.assert_allclose(arrays["image"][:, 0, 0, 0] * 100, [4, 3, 5, 2, 0, 1])
    np.testing.assert_allclose(arrays["truth"][0], [[*BOX, 0], [*ELSEWHERE, 0]])
    np.testing.assert_allclose(arrays["found"][1, 0], [*ELSEWHERE, 0, 0.7])
    assert arrays["found"][0, :, 4].tolist() == [-1, -1]


def test_unlikely_boxes_are_not_shown(tmp_path):
    unlikely = [(ELSEWHERE, 0.01 * i) for i in range(1, 9)]
    arrays = shown(tmp_path, [case([BOX], [(BOX, 0.9), *unlikely])])
    scores = arrays["found"][0, :, 5]
    np.testing.assert_allclose(scores, [0.9, 0.08])  # one false alarm an image
    assert arrays["false"].tolist() == [1]


def test_of_a_volume_the_slice_through_a_box_is_shown(tmp_path):
    volume = Detected(
        np.array([[0.5, 0, 0, 1, 1, 1]], np.float32),
        np.zeros(1, int),
        np.array([[0, 0, 0, 0.25, 1, 1], [0.4, 0, 0, 1, 1, 1]], np.float32),
        np.array([0.9, 0.8]),
        np.zeros(2, int),
    )
    arrays = shown(tmp_path, [volume], shape=(8, 4, 6))
    assert arrays["image"].shape == (1, 4, 6, 1)
    np.testing.assert_allclose(arrays["truth"], [[[0, 0, 1, 1, 0]]])
    # the first does not reach into the slice
    np.testing.assert_allclose(arrays["found"], [[[0, 0, 1, 1, 0, 0.8]]], rtol=1e-6)
