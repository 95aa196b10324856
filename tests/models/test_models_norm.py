"""Batch statistics against NumPy in float64, and over a mapped axis."""

import jax
import jax.numpy as jnp
import numpy as np

from medssl_jax.models.network import pure
from medssl_jax.models.norm import BatchNorm

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
