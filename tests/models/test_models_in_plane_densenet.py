"""The dense network against NumPy and SciPy, counted parameters, and devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference.layers_numpy import conv_norm, randomised

from medssl_jax.errors import ConfigError
from medssl_jax.models.features import pooled
from medssl_jax.models.in_plane_densenet import in_plane_densenet


def vectors(**settings):
    return pooled(in_plane_densenet(**settings))


PAPER = {
    "blocks": (1, 2, 3, 3, 3),
    "in_plane_blocks": 2,
    "initial_features": 16,
    "growth": 7,
    "features": 1024,
}
SMALL = {
    "blocks": (1, 2),
    "in_plane_blocks": 1,
    "initial_features": 3,
    "growth": 2,
    "features": 6,
}


def shapes(network, *shape):
    return jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, *shape)))


@pytest.mark.parametrize("ndim", [2, 3])
def test_has_as_many_parameters_as_counted_by_hand(ndim):
    full, plane, channels = 3**ndim, 9, 2  # of the kernels, and of the image
    convolutions = [
        channels * 16 * plane,
        16 * 7 * plane,  # block 1
        (23 + 30) * 7 * plane,  # block 2: 23 channels, then 7 more
        (37 + 44 + 51) * 7 * full,
        (58 + 65 + 72) * 7 * full,
        (79 + 86 + 93) * 7 * full,
        100 * 512,
    ]
    norms = 2 * (16 + 12 * 7 + 512)  # scale and shift: stem, twelve units, mix
    variables = shapes(vectors(ndim=ndim, **PAPER), *(16,) * ndim, channels)
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    assert count == sum(convolutions) + norms


# the paper's box, a crop of it, odd axes, and axes that vanish by halving
@pytest.mark.parametrize(
    "size", [(40, 224, 192), (20, 112, 96), (7, 33, 18), (1, 3, 2)]
)
def test_gives_1024_features_at_every_size(size):
    network = vectors(ndim=3, **PAPER)
    image = jax.ShapeDtypeStruct((2, *size, 1), jnp.float32)

    def features(key, image):
        return network.apply(network.init(key, image), image, False)[0]

    assert jax.eval_shape(features, jax.random.key(0), image).shape == (2, 1024)


def unit_in_numpy(x, variables, name, train):
    collections = (variables[kind][name] for kind in ("params", "batch_stats"))
    y = conv_norm(x, *collections, train)
    return np.where(y > 0, y, 0.01 * y)


def halve_in_numpy(x, axes):
    for axis in axes:
        pairs = x.shape[axis] // 2
        if pairs:
            even, odd = (
                np.take(x, np.arange(pairs) * 2 + offset, axis) for offset in (0, 1)
            )
            x = (even + odd) / 2
    return x


def dense_in_numpy(x, variables, train):
    """Return the features of SMALL."""
    unit = functools.partial(unit_in_numpy, variables=variables, train=train)
    x = unit(x, name="stem")
    x = np.concatenate([x, unit(x, name="block1_0")], axis=-1)
    x = halve_in_numpy(x, (-3, -2))  # in-plane
    for name in ("block2_0", "block2_1"):
        x = np.concatenate([x, unit(x, name=name)], axis=-1)
    x = unit(x, name="mix").reshape(len(x), -1, 3)
    return np.concatenate([x.max(1), x.mean(1)], axis=-1)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("size", [(3, 5, 4), (1, 6, 1), (5, 6)])
def test_equals_numpy_and_scipy(size, train):
    network = vectors(ndim=len(size), **SMALL)
    x = np.random.default_rng(1).normal(size=(2, *size, 2)).astype(np.float32)
    variables = randomised(network.init(jax.random.key(0), x))
    kernel = variables["params"]["block1_0"]["kernel"]
    assert kernel.shape == (1, 3, 3, 3, 2)[-len(size) - 2 :]
    y, _ = jax.jit(network.apply, static_argnums=2)(variables, x, train)
    expected = dense_in_numpy(x.astype(np.float64), variables, train)
    np.testing.assert_allclose(y, expected, atol=2e-5)


def test_halves_all_axes_after_blocks_that_are_not_in_plane():
    settings = SMALL | {"blocks": (1, 1, 1)}
    network = vectors(ndim=3, **settings)
    x = np.random.default_rng(1).normal(size=(1, 4, 8, 8, 1)).astype(np.float32)
    variables = network.init(jax.random.key(0), x)
    text = str(jax.make_jaxpr(lambda x: network.apply(variables, x, False)[0])(x))
    assert "f32[1,4,8,8,5]" in text  # block 1
    assert "f32[1,4,4,4,7]" in text  # block 2: only the plane has been halved
    assert "f32[1,2,2,2,9]" in text  # block 3


def test_devices_share_statistics_as_if_they_were_one():
    whole, sharded = (
        vectors(ndim=3, axis_name=name, **SMALL) for name in (None, "data")
    )
    x = np.random.default_rng(1).normal(size=(8, 3, 4, 4, 1)).astype(np.float32)
    variables = randomised(whole.init(jax.random.key(0), x))

    def loss(network, params, x):
        y, statistics = network.apply(variables | {"params": params}, x, True)
        return jnp.mean(jnp.sin(y)), statistics

    def one(params):
        return loss(whole, params, x)

    def many(params):
        losses, statistics = jax.vmap(
            lambda x: loss(sharded, params, x[None]), axis_name="data"
        )(x)
        return jnp.mean(losses), jax.tree.map(lambda leaf: leaf[0], statistics)

    (expected, actual) = (
        jax.jit(jax.value_and_grad(function, has_aux=True))(variables["params"])
        for function in (one, many)
    )
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)
    jax.tree.map(close, actual, expected)


def test_computes_in_bfloat16_and_keeps_float32():
    full, half = (
        vectors(ndim=3, dtype=dtype, **SMALL) for dtype in (jnp.float32, jnp.bfloat16)
    )
    x = np.random.default_rng(1).normal(size=(4, 3, 4, 4, 1)).astype(np.float32)
    variables = randomised(half.init(jax.random.key(0), x))
    y, statistics = jax.jit(half.apply, static_argnums=2)(variables, x, True)
    for kept in jax.tree.leaves((variables, y, statistics)):
        assert kept.dtype == jnp.float32
    reference, _ = jax.jit(full.apply, static_argnums=2)(variables, x, True)
    assert 0 < jnp.abs(y - reference).max() < 0.1


@pytest.mark.parametrize(
    "field, value, says", [("features", 1023, "odd"), ("blocks", (), "empty")]
)
def test_a_shape_that_cannot_be_is_named(field, value, says):
    with pytest.raises(ConfigError, match=f"{field}.* is {says}"):
        vectors(ndim=3, **PAPER | {field: value})
