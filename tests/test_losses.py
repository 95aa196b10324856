"""Losses against values measured on the published implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.losses import normalized_mse


@pytest.fixture
def pair():
    random = np.random.RandomState(0)
    return random.randn(8, 16), random.randn(8, 16)


def test_byol_loss_equals_the_reference_value(pair):
    with jax.enable_x64(True):
        loss = normalized_mse(*map(jnp.asarray, pair))
        assert loss.shape == (8,)
        np.testing.assert_allclose(loss.mean(), 1.9381282059, atol=1e-8)


def test_byol_gradient_equals_the_formula(pair):
    p, z = pair
    norm = np.linalg.norm(p, axis=1, keepdims=True)
    q, z_hat = p / norm, z / np.linalg.norm(z, axis=1, keepdims=True)
    cosine = np.sum(q * z_hat, axis=1, keepdims=True)
    expected = -2 * (z_hat - cosine * q) / norm
    with jax.enable_x64(True):
        gradient = jax.grad(lambda p: normalized_mse(p, jnp.asarray(z)).sum())
        np.testing.assert_allclose(gradient(jnp.asarray(p)), expected, atol=1e-10)


def test_a_row_of_zeros_has_a_finite_loss_and_gradient():
    zeros, ones = jnp.zeros((1, 4)), jnp.ones((1, 4))
    assert normalized_mse(zeros, ones) == 2.0
    gradient = jax.grad(lambda p: normalized_mse(p, ones).sum())(zeros)
    assert jnp.isfinite(gradient).all()
