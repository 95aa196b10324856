"""Residual branches that training leaves out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.models import resnet as of_blocks
from medssl_jax.models.resnet import resnet
from medssl_jax.models.stochastic_depth import branch_kept, rates

SMALL = {"ndim": 2, "block": "basic", "width": 4, "stem": "small"}


def test_rates_rise_evenly_from_nothing():
    np.testing.assert_allclose(rates(0.3, 5), np.linspace(0, 0.3, 5))  # timm's


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_a_rate_that_cannot_be_is_named(rate):
    with pytest.raises(ConfigError, match=rf"running\.drop_path is {rate}"):
        resnet(layers=(1,), drop_path=rate, **SMALL)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_expected_value_stays(dtype):
    n, rate = 20_000, 0.25
    keys = jax.random.split(jax.random.key(0), n)
    y = jnp.full((n, 1, 2), 3, dtype)
    first, second = (branch_kept(y, keys, block=b, rate=rate) for b in (0, 1))
    assert first.dtype == dtype
    first, second = (np.asarray(drawn, np.float64)[:, 0] for drawn in (first, second))
    np.testing.assert_array_equal(first[:, 0], first[:, 1])  # examples, not channels
    np.testing.assert_allclose(np.unique(first), [0, 3 / (1 - rate)], rtol=1e-2)
    # five deviations of the mean of n draws; blocks leave examples out independently
    tolerance = 5 * np.sqrt(rate * (1 - rate) / n)
    assert np.mean(first == 0) == pytest.approx(rate, abs=tolerance)
    both = np.mean((first == 0) & (second == 0))
    assert both == pytest.approx(rate**2, abs=tolerance)
    assert first.mean() == pytest.approx(3, abs=3 / (1 - rate) * tolerance + 2e-2)


def twice_the_last_branch(variables):
    params = dict(variables["params"])
    block = dict(params["layer1_1"])
    conv = dict(block["conv2"])
    conv["norm"] = jax.tree.map(lambda leaf: 2 * leaf, conv["norm"])
    params["layer1_1"] = {**block, "conv2": conv}
    return {**variables, "params": params}


def test_a_resnet_leaves_blocks_out_whole_for_each_example_its_own():
    one, two, drawing = (
        resnet(layers=layers, drop_path=rate, **SMALL)
        for layers, rate in (((1,), 0.0), ((2,), 0.0), ((2,), 0.5))
    )
    x = np.random.default_rng(0).normal(size=(32, 6, 6, 1)).astype(np.float32)
    keys = jax.random.split(jax.random.key(1), 32)
    variables = jax.jit(two.init)(jax.random.key(0), x)

    @jax.jit
    def last_maps(variables, keys):
        doubled = twice_the_last_branch(variables)
        runs = (one, variables), (two, doubled), (drawing, variables)
        return [net.apply(v, x, True, keys)[0].maps[-1] for net, v in runs]

    without, doubled, drawn = last_maps(variables, keys)
    close = functools.partial(np.isclose, atol=1e-5)
    left_out, kept = (
        close(drawn, other).all(axis=(1, 2, 3)) for other in (without, doubled)
    )
    np.testing.assert_array_equal(left_out, ~kept)
    assert 6 <= left_out.sum() <= 26  # 1 seed in 5000 lies outside


def test_every_block_of_a_resnet_draws_anew_at_its_own_rate(monkeypatch):
    drawn = []

    def watched(y, keys, *, block, rate):
        drawn.append((block, rate))
        return branch_kept(y, keys, block=block, rate=rate)

    network = resnet(layers=(2, 1, 2), drop_path=0.4, **SMALL)
    x, keys = jnp.zeros((2, 8, 8, 1)), jax.random.split(jax.random.key(0), 2)
    variables = jax.eval_shape(network.init, jax.random.key(0), x)
    monkeypatch.setattr(of_blocks, "branch_kept", watched)
    jax.eval_shape(lambda v: network.apply(v, x, True, keys)[1], variables)
    blocks, each = zip(*drawn, strict=True)
    assert blocks == (0, 1, 2, 3, 4)
    np.testing.assert_allclose(each, [0, 0.1, 0.2, 0.3, 0.4])


def test_evaluation_leaves_nothing_out_and_training_needs_keys():
    still, drawing = (resnet(layers=(2,), drop_path=r, **SMALL) for r in (0.0, 0.5))
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 1)).astype(np.float32)
    variables = jax.jit(drawing.init)(jax.random.key(0), x)

    @jax.jit
    def evaluated(variables):
        return [net.apply(variables, x, False)[0].pooled for net in (still, drawing)]

    np.testing.assert_array_equal(*evaluated(variables))
    with pytest.raises(ConfigError, match=r"running\.drop_path .* pass keys"):
        drawing.apply(variables, x, True)
