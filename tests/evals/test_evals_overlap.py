"""Dice against MONAI's values, sets counted by hand, and the rule on empty masks."""

import math

import numpy as np
import pytest

from medssl_jax.evals import overlap


@pytest.fixture(scope="module")
def cases():
    """Two volumes of three classes: the labels and the predictions of the reference."""
    random = np.random.RandomState(0)
    truth = random.randint(0, 3, (2, 4, 5, 6))
    assert truth.sum() == 232
    return truth, random.randn(2, 3, 4, 5, 6).argmax(axis=1)


PER_CASE = [
    [0.3571428571, 0.24, 0.4197530864],
    [0.2368421053, 0.275862069, 0.3896103896],
]


def test_dice_equals_the_reference_values_per_case_and_class(cases):
    found = [
        overlap.dice_per_class(*case, range(3)) for case in zip(*cases, strict=True)
    ]
    np.testing.assert_allclose(found, PER_CASE, atol=1e-6)


def test_classes_are_scored_in_the_order_asked_for(cases):
    truth, prediction = (of_cases[0] for of_cases in cases)
    found = overlap.dice_per_class(truth, prediction, [2, 1])
    np.testing.assert_allclose(found, [0.4197530864, 0.24], atol=1e-6)


def test_pooled_dice_is_that_of_the_summed_voxels(cases):
    counts = sum(
        overlap.overlap_per_class(*case, range(3)) for case in zip(*cases, strict=True)
    )
    found = overlap.dice_of(counts)
    np.testing.assert_allclose(found, [0.3, 0.2592592593, 0.4050632911], atol=1e-6)


def test_dice_of_the_reference_ellipsoids():
    zz, yy, xx = np.ogrid[:16, :24, :24]
    truth = (zz - 7) ** 2 * 9 + (yy - 11) ** 2 + (xx - 11) ** 2 <= 64
    prediction = (zz - 8) ** 2 * 9 + (yy - 13) ** 2 + (xx - 10) ** 2 <= 49
    assert overlap.dice(truth, prediction) == pytest.approx(0.6166394780, abs=1e-6)


def test_dice_is_that_of_sets_of_voxels():
    truth, prediction = np.random.default_rng(0).random((2, 7, 9)) < 0.4
    a, b = (set(map(tuple, np.argwhere(mask))) for mask in (truth, prediction))
    expected = 2 * len(a & b) / (len(a) + len(b))
    assert overlap.dice(truth, prediction) == pytest.approx(expected, abs=1e-12)


def test_two_empty_masks_are_nan_and_one_is_a_miss():
    empty = np.zeros((3, 4), bool)
    some = empty.copy()
    some[1, 2] = True
    assert math.isnan(overlap.dice(empty, empty))
    assert overlap.dice(some, empty) == overlap.dice(empty, some) == 0
    assert overlap.dice(some, some) == 1


def test_the_mean_takes_cases_first_so_that_every_class_weighs_the_same():
    """Class 0 of two cases, class 1 of one: (.2 + .4) / 2 and .9, not .55 and .4."""
    per_case = np.array([[0.2, 0.9], [0.4, np.nan]])
    assert overlap.mean_dice(per_case) == pytest.approx((0.3 + 0.9) / 2, abs=1e-12)


def test_a_class_that_no_case_counts_leaves_no_mean():
    assert math.isnan(overlap.mean_dice(np.array([[0.2, np.nan], [0.4, np.nan]])))
