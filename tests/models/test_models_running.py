"""How networks are run: computing anew what gradients need, leaving blocks out."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.models import stochastic_depth
from medssl_jax.models.features import pooled
from medssl_jax.models.resnet import resnet
from medssl_jax.models.unet import unet

small = functools.partial(
    resnet, ndim=2, layers=(1, 1), block="basic", width=4, stem="small"
)
NETWORKS = {"resnet": small, "unet": functools.partial(unet, ndim=2, width=4, levels=2)}
close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6)


def images(count, size=8):
    random = np.random.default_rng(1)
    return random.normal(size=(count, size, size, 1)).astype(np.float32)


def losses(network, x):
    """Return (params) -> the loss of training, and its variables."""
    variables = jax.jit(network.init)(jax.random.key(0), x)

    def loss(params):
        y, stats = network.apply({**variables, "params": params}, x, True)
        return jnp.mean(jnp.sin(y.pooled)) + jnp.mean(jnp.sin(y.maps[0])), stats

    return loss, variables["params"]


def residual_bytes(loss, params):
    """Return the bytes that the forward pass leaves for the gradient."""
    _, pullback, _ = jax.eval_shape(lambda p: jax.vjp(loss, p, has_aux=True), params)
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(pullback))


@pytest.mark.parametrize("name", NETWORKS)
def test_recomputing_changes_no_bit_of_the_loss_and_leaves_half_for_gradients(name):
    sizes, results = [], []
    for recompute in (False, True):
        loss, params = losses(NETWORKS[name](recompute=recompute), images(4))
        sizes.append(residual_bytes(loss, params))
        results.append(jax.jit(jax.value_and_grad(loss, has_aux=True))(params))
    assert sizes[1] < sizes[0] / 2
    (expected, gradient), (found, recomputed) = results
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    jax.tree.map(close, recomputed, gradient)


def test_rates_rise_in_a_line_to_the_last():
    # arXiv:1603.09382, equation 4: survival of block l of L is 1 - (l / L) (1 - p_L)
    close(stochastic_depth.rates(0.2, blocks=4), [0.05, 0.1, 0.15, 0.2])


@pytest.mark.parametrize("rate", [-0.1, 1.0, math.nan])
def test_what_is_no_rate_is_refused(rate):
    with pytest.raises(ConfigError, match=r"running\.drop_path is"):
        small(drop_path=rate)


def test_dropping_keeps_the_mean_and_draws_for_each_example_and_block():
    keys = jax.random.split(jax.random.key(0), 4000)
    x = jnp.ones((4000, 1, 2))
    first, second = (
        np.asarray(stochastic_depth.drop(x, keys, block=block, rate=0.25))
        for block in (0, 1)
    )
    np.testing.assert_array_equal(first[..., 0], first[..., 1])
    assert set(np.unique(first)) == {0, np.float32(4 / 3)}
    # four deviations of a mean over 4000 draws
    assert first.mean() == pytest.approx(1, abs=4 * math.sqrt(1 / 3 / 4000))
    both = np.mean((first == 0) & (second == 0))
    assert both == pytest.approx(1 / 16, abs=4 * math.sqrt(15 / 256 / 4000))


def test_an_example_that_leaves_its_block_out_is_its_stem():
    alone, whole = (
        pooled(small(layers=layers, drop_path=rate))
        for layers, rate in (((), 0.0), ((1,), 0.5))
    )
    x, keys = images(32), jax.random.split(jax.random.key(2), 32)
    variables = jax.jit(whole.init)(jax.random.key(0), x)

    @functools.partial(jax.jit, static_argnums=2)
    def run(variables, keys, train):
        networks = alone, whole
        return [network.apply(variables, x, train, keys)[0] for network in networks]

    stem, drawn = run(variables, keys, True)
    left_out = np.isclose(stem, drawn, rtol=1e-5).all(axis=1)
    assert 6 <= left_out.sum() <= 26  # but for one seed in 8000
    stem, evaluated = run(variables, keys, False)
    assert not np.isclose(stem, evaluated, rtol=1e-5).all(axis=1).any()
    np.testing.assert_array_equal(evaluated, run(variables, None, False)[1])


def test_eight_devices_leave_out_what_one_does():
    whole, sharded = (
        pooled(small(layers=(1,), axis_name=name, drop_path=0.5, recompute=True))
        for name in (None, "data")
    )
    x, keys = images(8), jax.random.split(jax.random.key(2), 8)
    variables = jax.jit(whole.init)(jax.random.key(0), x)

    def loss(network, params, x, keys):
        y, stats = network.apply({**variables, "params": params}, x, True, keys)
        return jnp.mean(jnp.sin(y)), stats

    def one(params):
        return loss(whole, params, x, keys)

    def many(params):
        each = jax.vmap(
            lambda x, key: loss(sharded, params, x[None], key[None]), axis_name="data"
        )(x, keys)
        return jax.tree.map(lambda leaf: leaf.mean(axis=0), each)

    expected, actual = (
        jax.jit(jax.value_and_grad(function, has_aux=True))(variables["params"])
        for function in (one, many)
    )
    jax.tree.map(close, actual, expected)


def test_training_without_keys_is_refused_and_needless_keys_are_left_alone():
    x, keys = images(2), jax.random.split(jax.random.key(2), 2)
    network = small(drop_path=0.5)
    variables = jax.jit(network.init)(jax.random.key(0), x)
    with pytest.raises(ConfigError, match=r"running\.drop_path needs a key for each"):
        network.apply(variables, x, True)

    @jax.jit
    def both(keys):
        still = small()
        return [still.apply(variables, x, True, *more) for more in ((), (keys,))]

    jax.tree.map(np.testing.assert_array_equal, *both(keys))
