"""Weighted kNN against a transcription of Wu et al. 2018."""

import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.evals.knn import weighted_knn


def _wu(train, labels, test, classes, k, temperature):
    """Transcribe Wu et al. 2018, sec. 3.4: w_c = sum of exp(s_i / tau) 1(c_i = c)."""
    rows = []
    for f in test:
        s = [f @ v / np.linalg.norm(f) / np.linalg.norm(v) for v in train]
        nearest = np.argsort(s)[::-1][:k]
        w = [
            sum(np.exp(s[i] / temperature) for i in nearest if labels[i] == c)
            for c in range(classes)
        ]
        rows.append(np.array(w) / np.sum(w))
    return np.array(rows)


def _draw():
    rng = np.random.default_rng(0)
    train = rng.normal(size=(30, 16)).astype(np.float32)
    test = rng.normal(size=(7, 16)).astype(np.float32) * 10  # norms must not matter
    return train, rng.integers(0, 3, 30), test


def test_votes_are_wus():
    train, labels, test = _draw()
    found = weighted_knn(train, labels, test, classes=3, k=5, temperature=0.07)
    np.testing.assert_allclose(found, _wu(train, labels, test, 3, 5, 0.07), atol=1e-5)


def test_a_low_temperature_does_not_overflow():
    train, labels, test = _draw()
    found = weighted_knn(train, labels, test, classes=3, k=5, temperature=1e-4)
    first = weighted_knn(train, labels, test, classes=3, k=1, temperature=1.0)
    np.testing.assert_allclose(found, first, atol=1e-6)


def test_a_class_without_training_examples_gets_no_vote():
    train, labels, test = _draw()
    found = weighted_knn(train, labels, test, classes=4, k=5, temperature=0.07)
    assert not found[:, 3].any()


def test_too_many_neighbours_are_refused_with_both_numbers():
    train, labels, test = _draw()
    with pytest.raises(ConfigError, match="k=31 neighbours asked of 30"):
        weighted_knn(train, labels, test, classes=3, k=31, temperature=0.07)
