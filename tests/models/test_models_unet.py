"""The U-Net's encoder against NumPy and SciPy, and counted parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.layers_numpy import level, randomised

from medssl_jax.errors import ConfigError
from medssl_jax.models import unet as unet_module
from medssl_jax.models.unet import halved, unet


# specs/reference_values_downstream.md: of the public code of arXiv:2006.03829
@pytest.mark.parametrize("width, published", [(16, 3_535_440), (8, 884_712)])
def test_has_as_many_parameters_as_published(width, published):
    network = unet(ndim=3, width=width, levels=5)
    image = jax.ShapeDtypeStruct((1, 16, 16, 16, 1), jnp.float32)
    variables = jax.eval_shape(network.init, jax.random.key(0), image)
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == published


def halved_in_numpy(x):
    for axis in range(1, x.ndim - 1):
        starts = np.arange(0, x.shape[axis], 2)
        x = np.maximum.reduceat(x, starts, axis)
    return x


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (3, 5), (3, 2, 4)])
def test_equals_numpy_and_scipy(size, train):
    network = unet(ndim=len(size), width=2, levels=2)
    x = np.random.default_rng(1).normal(size=(2, *size, 2)).astype(np.float32)
    variables = randomised(jax.jit(network.init)(jax.random.key(0), x))
    features, _ = jax.jit(network.apply, static_argnums=2)(variables, x, train)
    first, second = (
        functools.partial(
            level,
            params=variables["params"][name],
            statistics=variables["batch_stats"][name],
            train=train,
        )
        for name in ("level0", "level1")
    )
    finest = first(x.astype(np.float64))
    coarsest = second(halved_in_numpy(finest))
    close = functools.partial(np.testing.assert_allclose, atol=2e-5)
    close(features.maps[0], finest)
    close(features.maps[1], coarsest)
    close(features.pooled, coarsest.mean(axis=tuple(range(1, 1 + len(size)))))


def test_a_maximum_passes_its_gradient_to_one_voxel_and_none_to_the_edge():
    x = jnp.asarray([[[-4.0], [-1.0], [-2.0]]])
    gradient = jax.grad(lambda x: jnp.sum(halved(x) * jnp.asarray([[[3.0], [5.0]]])))
    np.testing.assert_array_equal(gradient(x), [[[0], [3], [5]]])


def test_computes_in_bfloat16_and_keeps_float32():
    full, half = (
        unet(ndim=2, width=4, levels=2, dtype=dtype)
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    x = jax.random.normal(jax.random.key(1), (4, 7, 8, 1))
    variables = jax.jit(half.init)(jax.random.key(0), x)
    features, statistics = jax.jit(half.apply, static_argnums=2)(variables, x, True)
    for kept in jax.tree.leaves((variables, features.pooled, statistics)):
        assert kept.dtype == jnp.float32
    reference, _ = jax.jit(full.apply, static_argnums=2)(variables, x, True)
    assert 0 < jnp.abs(features.pooled - reference.pooled).max() < 0.1


def test_images_of_another_rank_are_refused():
    with pytest.raises(ConfigError, match=r"model\.ndim is 3, and images have 2 axes"):
        unet(ndim=3, width=2, levels=1).init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))


def test_a_maximum_that_nothing_equals_passes_no_gradient_on():
    """As where a compiler makes the input anew, with another rounding."""
    x = jnp.array([[1.0, 2.0], [3.0, 3.0]])
    largest = jnp.array([[2.0000002], [3.0]])
    (found,) = unet_module._backward((1,), (x, largest), jnp.array([5.0, 8.0]))
    np.testing.assert_array_equal(found, [[0, 0], [4, 4]])
