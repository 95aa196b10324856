"""The linear probe: its optimum, its patients, its penalty, its errors."""

import numpy as np
import pytest
from scipy import optimize

from medssl_jax.errors import UserError
from medssl_jax.evals import linear
from medssl_jax.evals.linear import linear_probe


def _blobs(seed, n=120, d=8, shift=1.0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, n)
    features = rng.normal(size=(n, d)) + shift * labels[:, None] * np.eye(d)[0]
    return features.astype(np.float32), labels


def test_probe_is_the_penalised_maximum_of_the_likelihood(monkeypatch):
    monkeypatch.setattr(linear, "GRID", (0.1,))
    x, y = _blobs(0)
    test, _ = _blobs(1, n=20)
    found = linear_probe(x, y, test, groups=None, classes=2, seed=0)

    mean, std = x.astype(float).mean(0), x.astype(float).std(0)
    z, sign = (x - mean) / std, 2 * y - 1

    def objective(w):
        return (
            w[:-1] @ w[:-1] / 2
            + 0.1 * np.logaddexp(0, -sign * (z @ w[:-1] + w[-1])).sum()
        )

    w = optimize.minimize(objective, np.zeros(9), tol=1e-9).x
    expected = 1 / (1 + np.exp(-((test - mean) / std @ w[:-1] + w[-1])))
    np.testing.assert_allclose(found[:, 1], expected, atol=1e-3)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


def test_features_of_any_scale_and_offset_give_the_same_scores():
    x, y = _blobs(0, n=60)
    test, _ = _blobs(1, n=20)
    scale = np.geomspace(1e-3, 1e3, 8, dtype=np.float32)
    options = {"groups": None, "classes": 2, "seed": 0}
    found = linear_probe(x * scale + 3, y, test * scale + 3, **options)
    expected = linear_probe(x, y, test, **options)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def test_no_patient_is_on_both_sides_of_a_fold():
    patients = [f"p{i // 3}" for i in range(60)]
    labels = np.arange(60) % 2
    folds = linear._folds(labels, patients, 0)
    assert len(folds) == linear.FOLDS
    for fit, check in folds:
        assert not {patients[i] for i in fit} & {patients[i] for i in check}


def test_folds_are_those_of_the_seed():
    labels = np.arange(60) % 2
    first, again, other = (linear._folds(labels, None, seed) for seed in (1, 1, 2))
    for (fit, _), (same, _) in zip(first, again, strict=True):
        np.testing.assert_array_equal(fit, same)
    assert not np.array_equal(first[0][0], other[0][0])


def test_patients_not_scans_choose_the_penalty():
    # each patient's scans are copies with a label of its own, so that a scan in the
    # other part gives the label away: split by scan, no penalty is best; split by
    # patient there is nothing to learn, and the strongest is
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(40, 60)), 4, axis=0)
    labels = np.repeat(np.arange(40) % 2, 4)
    test = rng.normal(size=(200, 60))
    options = {"classes": 2, "seed": 0}
    patients = np.repeat(np.arange(40), 4)
    by_patient = linear_probe(features, labels, test, groups=patients, **options)
    by_scan = linear_probe(features, labels, test, groups=None, **options)
    assert np.abs(by_patient[:, 1] - 0.5).mean() < 0.1
    assert np.abs(by_scan[:, 1] - 0.5).mean() > 0.25


def test_the_penalty_chosen_is_nearly_the_best_for_unseen_examples(monkeypatch):
    x, y = _blobs(2, n=60, d=20)
    test, truth = _blobs(3, n=500, d=20)

    def loss():
        scores = linear_probe(x, y, test, groups=None, classes=2, seed=0)
        return -np.log(scores[np.arange(500), truth]).mean()

    chosen, fixed = loss(), []
    for strength in linear.GRID:
        with monkeypatch.context() as patch:
            patch.setattr(linear, "GRID", (strength,))
            fixed.append(loss())
    assert chosen < min(fixed) + 0.03
    assert max(fixed) > min(fixed) + 0.3  # or any choice would do


def test_a_class_without_training_examples_has_probability_0():
    x, y = _blobs(0, n=40)
    found = linear_probe(x, y * 2, x, groups=None, classes=3, seed=0)
    assert not found[:, 1].any()
    assert (found[:, 2] > 0).all()


def test_a_rare_class_lowers_the_number_of_folds():
    labels = np.array([0] * 20 + [1] * 2)
    folds = linear._folds(labels, None, 0)
    assert len(folds) == 2
    assert all(set(labels[fit]) == {0, 1} for fit, _ in folds)


def test_scans_of_a_rare_class_are_as_many_folds_as_they_have_patients():
    labels = np.repeat([0, 1], [40, 10])
    patients = [f"p{i // 2}" if i < 40 else f"q{i % 2}" for i in range(50)]
    assert len(linear._folds(labels, patients, 0)) == 2
    alone = ["q" if i >= 40 else p for i, p in enumerate(patients)]
    with pytest.raises(UserError, match="class 1: 1"):
        linear._folds(labels, alone, 0)


@pytest.mark.parametrize("positives", [0, 1])
def test_too_few_patients_of_a_class_are_named(positives):
    x, _ = _blobs(0, n=12)
    labels = (np.arange(12) < positives).astype(int)
    with pytest.raises(UserError, match=f"class 0: {12 - positives}"):
        linear_probe(x, labels, x, groups=None, classes=2, seed=0)
