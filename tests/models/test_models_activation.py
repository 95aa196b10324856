"""Activations and their gradients against SciPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals
from scipy.stats import norm

from medssl_jax.models.activation import gelu, relu

X = np.linspace(-4, 4, 81, dtype=np.float32)  # 0 among them


@pytest.mark.parametrize(
    ("made", "value", "slope"),
    [
        (relu, lambda x: np.maximum(x, 0), lambda x: x > 0),
        (gelu, lambda x: x * norm.cdf(x), lambda x: norm.cdf(x) + x * norm.pdf(x)),
    ],
    ids=["relu", "gelu"],
)
def test_value_and_slope_are_exact_and_one_array_is_kept(made, value, slope):
    x, weights = np.float64(X), np.linspace(1, 2, len(X), dtype=np.float32)
    given = jnp.asarray(X)
    y, pullback = jax.vjp(made, given)
    np.testing.assert_allclose(y, value(x), atol=1e-6)
    (gradient,) = jax.jit(pullback)(weights)
    np.testing.assert_allclose(gradient, weights * slope(x), atol=2e-6)
    assert len(saved_residuals(made, given)) == 1
