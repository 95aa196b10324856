"""Spread and rank against transcriptions; verdicts on embeddings made to collapse."""

import math

import numpy as np
import pytest

from medssl_jax.evals.collapse import rankme, spread, verdict


def _sphere(n=400, d=32, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def _line(n=400, d=32):
    rng = np.random.default_rng(0)
    return (rng.normal(size=(n, 1)) * rng.normal(size=(1, d)) + 1).astype(np.float32)


def test_rankme_is_garridos_equation_1():
    z = _sphere(50, 8) * np.arange(1, 9)
    sigma = np.sqrt(np.linalg.eigvalsh(z.T @ z))
    p = sigma / np.abs(sigma).sum() + 1e-7
    expected = np.prod(p**-p)  # exp of the entropy, written otherwise
    assert rankme(z) == pytest.approx(expected, rel=1e-5)


def test_rankme_counts_orthogonal_directions_used_alike():
    assert rankme(np.eye(10)[:, :6]) == pytest.approx(6, abs=1e-3)
    assert rankme(np.ones((10, 6))) == pytest.approx(1, abs=1e-3)
    assert rankme(np.zeros((10, 6))) == 0


def test_spread_is_what_it_says():
    z = _sphere(40, 8) + 1
    units = z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = units @ units.T
    found = spread(z)
    assert found["std"] == pytest.approx(units.std(axis=0).mean() * 8**0.5, rel=1e-5)
    off = cosine[~np.eye(40, dtype=bool)]
    assert found["mean_cosine"] == pytest.approx(off.mean(), rel=1e-5)
    assert found["rankme"] == pytest.approx(rankme(z.astype(float)), rel=1e-6)
    covariance = np.cov(z, rowvar=False)
    p = np.sqrt(np.linalg.eigvalsh(covariance))
    p /= p.sum()
    assert found["rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-4)
    assert found["most"] == 8
    assert spread(z[:6])["most"] == 5  # centring takes one of six


def test_a_uniform_sphere_has_spread_1_and_cosine_0():
    found = spread(_sphere(1000, 16))
    assert found["std"] == pytest.approx(1, abs=0.02)
    assert found["mean_cosine"] == pytest.approx(0, abs=0.02)


def test_a_constant_offset_lowers_rankme_and_leaves_rank():
    plain, offset = spread(_sphere()), spread(_sphere() + 5)
    assert offset["rankme"] < 0.7 * plain["rankme"]
    assert offset["rank"] == pytest.approx(plain["rank"], rel=1e-4)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (_sphere(), "no sign of collapse"),
        (_sphere() * np.float32(1e-6), "no sign of collapse"),  # scale means nothing
        (np.maximum(_sphere(), 0), "no sign of collapse"),  # after a ReLU
        (np.ones((20, 8), np.float32), "collapsed"),
        (np.zeros((20, 8), np.float32), "collapsed"),
        (1 + _sphere() * np.float32(1e-3), "collapsed"),  # rounding's noise
        (_line(), "partial dimensional collapse"),
        (np.full((20, 8), np.nan, np.float32), "collapsed"),
    ],
)
def test_verdict_names_what_was_made(features, words):
    assert verdict(spread(features)).startswith(words + ":")


def test_verdict_compares_with_the_untrained_encoder():
    untrained = spread(_sphere())
    features = _sphere()
    features[:, 10:] = 0  # ten directions of 32
    lost = spread(features)
    assert verdict(lost).startswith("no sign of collapse:")
    assert "fewer than half of the 31" in verdict(lost, untrained)
    assert verdict(untrained, untrained).startswith("no sign of collapse:")


def test_features_that_are_not_finite_give_nan():
    features = _sphere(10, 4)
    features[3, 1] = np.inf
    assert all(math.isnan(value) for value in spread(features).values())


def test_two_embeddings_are_too_few():
    with pytest.raises(ValueError, match="at least 3 embeddings, got 2"):
        spread(_sphere(2, 4))
