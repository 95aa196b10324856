"""Random weights against JAX's own initializers."""

import jax
import numpy as np
import pytest

from medssl_jax.models import initializers


@pytest.mark.parametrize("shape", [(6, 5), (3, 3, 4, 5)])
def test_they_draw_the_numbers_of_jax_initializers(shape):
    variance_scaling = jax.nn.initializers.variance_scaling
    key = jax.random.key(3)
    pairs = {
        initializers.he_normal_fan_out: variance_scaling(2.0, "fan_out", "normal"),
        initializers.lecun_normal: jax.nn.initializers.lecun_normal(),
    }
    for ours, theirs in pairs.items():
        np.testing.assert_allclose(ours(key, shape), theirs(key, shape), rtol=1e-6)
