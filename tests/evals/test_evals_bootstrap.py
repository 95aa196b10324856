"""Bootstrap intervals against DeLong's, closed forms, and their coverage."""

import math

import numpy as np
import pytest
from scipy import stats

from medssl_jax.evals.bootstrap import interval, paired_difference
from medssl_jax.evals.metrics import accuracy, auc, sensitivity


def _scored(seed, n=150, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    signal = rng.normal(size=n) + shift * labels
    return labels, signal, rng


def _delong(labels, *scores):
    """Return AUCs and their covariance (DeLong et al. 1988, eqs. 4 to 6)."""
    v10, v01 = [], []
    for score in scores:
        positive, negative = score[labels == 1], score[labels == 0]
        psi = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
        v10.append(psi.mean(axis=1))
        v01.append(psi.mean(axis=0))
    areas = np.array([v.mean() for v in v10])
    covariance = np.cov(v10) / len(v10[0]) + np.cov(v01) / len(v01[0])
    return areas, np.atleast_2d(covariance)


def test_auc_interval_is_close_to_delongs():
    labels, scores, _ = _scored(0)
    areas, covariance = _delong(labels, scores)
    half = 1.96 * np.sqrt(covariance[0, 0])
    found = interval(auc, labels, scores, groups=None, seed=0)
    assert found.value == pytest.approx(areas[0], abs=1e-12)
    assert found.low == pytest.approx(areas[0] - half, abs=0.012)
    assert found.high == pytest.approx(areas[0] + half, abs=0.012)


def test_paired_difference_is_close_to_delongs_and_narrower_than_unpaired():
    labels, first, rng = _scored(1)
    second = first + rng.normal(size=len(first)) * 0.7
    areas, covariance = _delong(labels, first, second)
    contrast = np.array([1.0, -1.0])
    half = 1.96 * np.sqrt(contrast @ covariance @ contrast)
    unpaired = 1.96 * np.sqrt(np.trace(covariance))
    found = paired_difference(auc, labels, first, second, groups=None, seed=0)
    assert found.value == pytest.approx(areas[0] - areas[1], abs=1e-12)
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.12)
    assert half < 0.8 * unpaired  # or the line above would show nothing


def test_accuracy_interval_is_close_to_the_binomial_one():
    labels = np.ones(200, int)
    scores = np.where(np.arange(200) < 150, 0.9, 0.1)
    found = interval(accuracy, labels, scores, groups=None, seed=0)
    low, high = stats.binom.ppf([0.025, 0.975], 200, 0.75) / 200
    assert found == pytest.approx((0.75, low, high), abs=0.006)


def test_confidence_is_respected():
    labels = np.ones(200, int)
    scores = np.where(np.arange(200) < 150, 0.9, 0.1)
    found = interval(accuracy, labels, scores, groups=None, confidence=0.5, seed=0)
    low, high = stats.binom.ppf([0.25, 0.75], 200, 0.75) / 200
    assert found == pytest.approx((0.75, low, high), abs=0.006)


def test_copies_of_a_patients_scan_do_not_make_the_interval_narrower():
    labels, scores, _ = _scored(2, n=60)
    one = interval(auc, labels, scores, groups=None, seed=0)
    patients = [f"patient {i % 60}" for i in range(300)]
    copied = np.tile(labels, 5), np.tile(scores, 5)
    assert interval(auc, *copied, groups=patients, seed=0) == pytest.approx(one)
    naive = interval(auc, *copied, groups=None, seed=0)
    assert naive.high - naive.low < 0.6 * (one.high - one.low)


def test_interval_over_patients_covers_as_often_as_it_says():
    # each patient has four scans and a hit rate of its own, 1/2 on average
    rng, repeats = np.random.default_rng(0), 120
    patients, labels = np.repeat(np.arange(40), 4), np.ones(160, int)
    covered = {"patients": 0, "scans": 0}
    for seed in range(repeats):
        hits = (rng.random(160) < np.repeat(rng.beta(0.5, 0.5, 40), 4)).astype(float)
        for unit, groups in (("patients", patients), ("scans", None)):
            found = interval(
                lambda _, scores: float(scores.mean()),
                labels,
                hits,
                groups=groups,
                resamples=200,
                seed=seed,
            )
            covered[unit] += found.low <= 0.5 <= found.high
    # .95 less 2.5 standard errors of so many repeats
    assert covered["patients"] / repeats > 0.9
    # scans taken for independent: too sure
    assert covered["scans"] / repeats < 0.85


def test_both_classifiers_are_scored_on_the_same_resample():
    labels, scores, _ = _scored(3, n=50)
    assert paired_difference(auc, labels, scores, scores, groups=None, seed=0) == (
        0,
        0,
        0,
    )


def test_a_perfect_classifier_gets_an_interval_and_no_crash():
    labels = np.repeat([0, 1], 20)
    found = interval(auc, labels, labels.astype(float), groups=None, seed=0)
    assert found == (1, 1, 1)


def test_resamples_without_a_class_are_left_out():
    labels = np.zeros(40, int)
    labels[:5] = 1  # .6 % of resamples have no positive
    scores = np.where(np.arange(40) < 3, 0.9, 0.1)
    found = interval(sensitivity, labels, scores, groups=None, seed=0)
    assert found.value == 0.6
    assert 0 <= found.low < 0.6 < found.high <= 1


def test_bounds_are_nan_where_too_many_resamples_lack_a_class():
    labels = np.zeros(40, int)
    labels[0] = 1  # 36 % of resamples have no positive
    found = interval(auc, labels, np.linspace(1, 0, 40), groups=None, seed=0)
    assert found.value == 1
    assert math.isnan(found.low)
    assert math.isnan(found.high)


@pytest.mark.parametrize("groups", [None, ["one patient"] * 6])
def test_what_cannot_be_known_is_nan(groups):
    labels = np.zeros(6, int) if groups is None else np.array([0, 1, 0, 1, 0, 1])
    found = interval(auc, labels, np.linspace(0, 1, 6), groups=groups, seed=0)
    assert math.isnan(found.low)
    assert math.isnan(found.high)


def test_the_same_seed_gives_the_same_interval():
    labels, scores, _ = _scored(4, n=50)
    first, second, other = (
        interval(auc, labels, scores, groups=None, resamples=100, seed=s)
        for s in (1, 1, 2)
    )
    assert first == second != other


def test_an_interval_writes_itself():
    labels, scores, _ = _scored(4, n=50)
    found = interval(auc, labels, scores, groups=None, resamples=100, seed=0)._replace(
        value=0.8124, low=-0.05, high=0.9
    )
    assert found.text() == "0.812 (-0.050 to 0.900)"
    assert found.text(signed=True) == "+0.812 (-0.050 to +0.900)"
