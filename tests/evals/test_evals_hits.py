"""Hits and misses by hand, and COCO's average precision by the reference values."""

import numpy as np
import pytest

from medssl_jax.evals.coco import average_precision
from medssl_jax.evals.hits import Detected, froc, outcome


def detected(truth, found):
    """Return an image of rows (corners..., kind) and (corners..., kind, score)."""
    truth = np.array(truth, float).reshape(-1, 5)
    found = np.array(found, float).reshape(-1, 6)
    return Detected(
        truth[:, :4],
        truth[:, 4].astype(int),
        found[:, :4],
        found[:, 5],
        found[:, 4].astype(int),
    )


LESIONS = [[0, 0, 0.4, 0.4, 0], [0.5, 0.5, 0.9, 0.9, 1]]


def test_the_best_of_several_hits_counts_and_none_is_false():
    found = [
        [0.1, 0.1, 0.3, 0.3, 0, 0.6],  # within the first, a quarter of it
        [0, 0, 0.4, 0.4, 0, 0.5],
        [0.5, 0.5, 0.9, 0.9, 0, 0.9],  # on the second, of another kind
        [0.6, 0.6, 0.9, 0.9, 1, 0.2],  # 9 of 16
    ]
    image = detected(LESIONS, found)
    by_centre = outcome(image, "centre")
    assert by_centre.lesions == 2
    assert by_centre.hit_scores.tolist() == [0.6, 0.2]
    assert by_centre.false_scores.tolist() == [0.9]
    by_half = outcome(image, 0.5)
    assert by_half.hit_scores.tolist() == [0.5, 0.2]
    assert sorted(by_half.false_scores.tolist()) == [0.6, 0.9]
    by_more = outcome(image, 0.6)
    assert by_more.hit_scores.tolist() == [0.5]


def test_an_image_without_boxes_has_false_ones_alone():
    image = detected([], [[0, 0, 1, 1, 0, 0.3]])
    assert outcome(image, 0.5).false_scores.tolist() == [0.3]
    nothing = outcome(detected(LESIONS, []), "centre")
    assert nothing.lesions == 2 and not len(nothing.hit_scores)


def test_froc_counts_over_all_images():
    first = outcome(detected(LESIONS, [[0, 0, 0.4, 0.4, 0, 0.8]]), 0.5)
    second = outcome(detected([], [[0, 0, 1, 1, 0, 0.9], [0, 0, 1, 1, 1, 0.1]]), 0.5)
    found = froc([first, second], at=[0.0, 0.5, 1.0])
    assert found.tolist() == [0.0, 0.5, 0.5]


TRUTH = [
    (1, 1, 10, 10, 30, 30),
    (1, 2, 50, 50, 20, 20),
    (2, 1, 20, 20, 40, 20),
    (2, 1, 5, 60, 10, 10),
    (3, 2, 30, 30, 50, 50),
]
FOUND = [
    (1, 1, 12, 11, 30, 30, 0.9),
    (1, 1, 60, 10, 20, 20, 0.6),
    (1, 2, 52, 49, 20, 22, 0.8),
    (2, 1, 22, 22, 38, 20, 0.75),
    (2, 1, 21, 18, 44, 21, 0.7),
    (2, 1, 6, 61, 10, 9, 0.3),
    (3, 2, 35, 33, 44, 52, 0.55),
    (3, 2, 0, 0, 20, 20, 0.5),
    (3, 1, 70, 70, 15, 15, 0.4),
]


def rows_first(x, y, width, height):
    return [y / 100, x / 100, (y + height) / 100, (x + width) / 100]


def test_average_precision_equals_the_reference_values():
    images = []
    for i in (1, 2, 3):
        truth = [[*rows_first(*t[2:6]), t[1] - 1] for t in TRUTH if t[0] == i]
        found = [[*rows_first(*f[2:6]), f[1] - 1, f[6]] for f in FOUND if f[0] == i]
        images.append(detected(truth, found))
    values = average_precision(images, 2, (100, 100))
    expected = {"mAP": 0.5579207921, "AP50": 0.9158415842, "AP75": 0.8316831683}
    assert values == pytest.approx(expected, abs=1e-8)


def test_nothing_found_is_0_and_nothing_to_find_is_unknown():
    assert average_precision([detected(LESIONS, [])], 2, (10, 10))["mAP"] == 0
    unknown = average_precision([detected([], [])], 2, (10, 10))
    assert all(np.isnan(value) for value in unknown.values())
