"""Batch statistics and gradients against NumPy in float64, and over a mapped axis."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax._src.ad_checkpoint import saved_residuals
from jax.sharding import AxisType, PartitionSpec

from medssl_jax.models.network import pure
from medssl_jax.models.norm import BatchNorm, LayerNorm
from medssl_jax.models.recompute import recomputed

X = np.random.RandomState(0).randn(8, 3, 2, 5).astype(np.float32) * 2 + 3


def test_normalises_and_tracks_statistics_as_numpy_in_float64():
    layer = pure(BatchNorm(jnp.float32, None))
    variables = layer.init(jax.random.key(0), X)
    y, statistics = layer.apply(variables, X, True)
    mean, var = X.mean((0, 1, 2), dtype=np.float64), X.astype(np.float64).var((0, 1, 2))
    np.testing.assert_allclose(y, (X - mean) / np.sqrt(var + 1e-5), atol=1e-5)
    np.testing.assert_allclose(statistics["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_uses_and_returns_running_statistics_outside_training():
    layer = pure(BatchNorm(jnp.float32, None))
    statistics = {"mean": jnp.arange(5.0), "var": jnp.arange(5.0) + 1}
    params = layer.init(jax.random.key(0), X)["params"]
    y, after = layer.apply({"params": params, "batch_stats": statistics}, X, False)
    expected = (X - np.arange(5.0)) / np.sqrt(np.arange(5.0) + 1 + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after, statistics)


def test_keeps_the_digits_of_nearly_equal_rows_once_the_mean_is_known():
    layer = pure(BatchNorm(jnp.float32, None))
    variables = layer.init(jax.random.key(0), X)
    x = (100 + 0.01 * np.random.RandomState(1).randn(64, 5)).astype(np.float32)
    variables["batch_stats"] = {"mean": jnp.full(5, 100.0), "var": jnp.ones(5)}
    _, statistics = layer.apply(variables, x, True)
    batch_var = (statistics["var"] - 0.9) / 0.1
    np.testing.assert_allclose(batch_var, x.astype(np.float64).var(0), atol=1e-6)


def numpy_gradient(loss, at, step=1e-5):
    """Return central differences of loss(at), in float64."""
    at = np.array(at, np.float64)
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        ahead, behind = at.copy(), at.copy()
        ahead[place] += step
        behind[place] -= step
        found[place] = (loss(ahead) - loss(behind)) / (2 * step)
    return found


@pytest.mark.parametrize(
    ("layer", "axes", "epsilon"),
    [
        (BatchNorm(jnp.float32, None), (0, 1, 2), 1e-5),
        (LayerNorm(jnp.float32), -1, 1e-6),
    ],
)
def test_gradients_are_those_of_central_differences(layer, axes, epsilon):
    x = jnp.asarray(X[:3])
    weights = np.random.RandomState(1).randn(*x.shape)
    given = {"scale": np.linspace(0.5, 2, 5), "bias": np.linspace(-1, 1, 5)}
    given = {name: value.astype(np.float32) for name, value in given.items()}
    mode = {"train": True} if isinstance(layer, BatchNorm) else {}
    variables = layer.init(jax.random.key(0), x, **mode)

    def loss(x, params):
        given = {**variables, "params": params}
        y, _ = layer.apply(given, x, **mode, mutable=["batch_stats"])
        return jnp.sum(jnp.sin(y) * weights.astype(np.float32))

    def in_numpy(x, scale, bias):
        x, scale, bias = (np.asarray(a, np.float64) for a in (x, scale, bias))
        mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
        y = (x - mean) / np.sqrt(var + epsilon) * scale + bias
        return (np.sin(y) * weights).sum()

    of_x, of_params = jax.jit(jax.grad(loss, argnums=(0, 1)))(x, given)
    scale, bias = given["scale"], given["bias"]
    close = functools.partial(np.testing.assert_allclose, atol=2e-5)
    close(of_x, numpy_gradient(lambda x: in_numpy(x, scale, bias), x))
    close(of_params["scale"], numpy_gradient(lambda s: in_numpy(x, s, bias), scale))
    close(of_params["bias"], numpy_gradient(lambda b: in_numpy(x, scale, b), bias))


@pytest.mark.parametrize("made", [BatchNorm, LayerNorm])
def test_in_bfloat16_the_gradient_is_rounded_once_and_half_as_much_is_kept(made):
    of_batch = made is BatchNorm
    parts, mode = ({"axis_name": None}, {"train": True}) if of_batch else ({}, {})
    exact, layer = (made(dtype, **parts) for dtype in (jnp.float32, jnp.bfloat16))
    x = jnp.asarray(X, jnp.bfloat16)
    variables = exact.init(jax.random.key(0), jnp.asarray(X), **mode)
    weights = np.random.RandomState(1).randint(-3, 4, X.shape).astype(np.float32)
    weights = jnp.asarray(weights, jnp.bfloat16)

    def loss(layer, x):
        y, _ = layer.apply(variables, x, **mode, mutable=["batch_stats"])
        # linear in y: its gradient is the same in both
        return jnp.sum(y.astype(jnp.float32) * weights.astype(jnp.float32))

    expected = jax.jit(jax.grad(functools.partial(loss, exact)))(x.astype(jnp.float32))
    actual = jax.jit(jax.grad(functools.partial(loss, layer)))(x)
    assert actual.dtype == jnp.bfloat16
    scale = np.abs(expected).max()
    np.testing.assert_allclose(actual.astype(jnp.float32), expected, atol=scale / 128)

    def total(x):
        y, _ = layer.apply(variables, x, **mode, mutable=["batch_stats"])
        return jnp.sum(y, dtype=jnp.float32)

    kept = saved_residuals(total, x)
    large = [a for a, why in kept if a.size >= x.size and "argument" not in why]
    assert all(a.dtype != jnp.float32 for a in large)


def test_batches_one_behind_the_other_are_each_normalised_alone():
    layer = pure(BatchNorm(jnp.float32, None))
    variables = layer.init(jax.random.key(0), X)
    y, statistics = layer.apply(variables, X, 2)
    halves = [layer.apply(variables, half, True) for half in (X[:4], X[4:])]
    expected = np.concatenate([half for half, _ in halves])
    np.testing.assert_allclose(y, expected, atol=1e-6)
    for name, value in statistics.items():
        mean = np.mean([of_half[name] for _, of_half in halves], axis=0)
        np.testing.assert_allclose(value, mean, rtol=1e-6)
    of_first = jax.grad(lambda x: jnp.sum(jnp.sin(layer.apply(variables, x, 2)[0][:4])))
    gradient = of_first(X)
    assert np.abs(gradient[:4]).min() > 0 and not np.abs(gradient[4:]).any()


def test_devices_share_statistics_as_if_they_were_one():
    sharded = pure(BatchNorm(jnp.float32, "data"))
    whole = pure(BatchNorm(jnp.float32, None))
    variables = whole.init(jax.random.key(0), X)

    def loss(layer, variables, x):
        y, statistics = layer.apply(variables, x, True)
        return jnp.sum(jnp.sin(y)), (y, statistics)

    step = jax.grad(loss, argnums=2, has_aux=True)
    expected, (y, statistics) = step(whole, variables, X)
    shards = X.reshape(4, 2, *X.shape[1:])

    def total(x):
        return jax.vmap(
            lambda x: loss(sharded, variables, x), axis_name="data", out_axes=(0, 0)
        )(x)

    actual = jax.grad(lambda x: jnp.sum(total(x)[0]))(shards)
    _, (y_sharded, statistics_sharded) = total(shards)
    np.testing.assert_allclose(y_sharded.reshape(y.shape), y, atol=1e-5)
    np.testing.assert_allclose(actual.reshape(X.shape), expected, atol=1e-5)
    for name, value in statistics.items():
        for shard in statistics_sharded[name]:
            np.testing.assert_allclose(shard, value, rtol=1e-5)


def test_making_a_norm_anew_does_not_ask_the_devices_again():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))

    def collectives(module):
        layer = module(jnp.float32, "data")
        variables = pure(BatchNorm(jnp.float32, None)).init(jax.random.key(0), X)

        def loss(x):
            y, _ = layer.apply(variables, x, 1, mutable=["batch_stats"])
            return jnp.sum(jnp.sin(y))

        spec = PartitionSpec("data")
        step = jax.shard_map(jax.grad(loss), mesh=mesh, in_specs=spec, out_specs=spec)
        return jax.jit(step).lower(X).as_text().count("stablehlo.all_reduce")

    again = recomputed(BatchNorm, static_argnums=(2,))
    assert 0 < collectives(again) == collectives(BatchNorm)
