"""Volumes slice by slice, each with its neighbours as channels: networks in 2.5D."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax import resolve
from medssl_jax.models.network import Network
from medssl_jax.ranges import Decay, Natural


def with_neighbours(
    *,
    of: Mapping[str, Any],
    neighbours: Natural,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
    drop_path: Decay = 0.0,
) -> Network:
    """Return the encoder of volumes (b, f, *s, c) by the network `of` their slices.

    It sees each slice with `neighbours` on both sides as (2 `neighbours` + 1) c channels,
    in order; beyond the first and the last slice these stand for what is not there. Maps
    are (b, f, *t, d); the vector is the mean over slices. Its variables are those of `of`.

    Args:
      of: what `config.model` would be of such slices.
      neighbours: 2 is five slices.
      dtype, axis_name, recompute, drop_path: as `of` takes them.

    Raises:
      ConfigError: if `of` is no model, or has no such way to run.
    """
    running = {"recompute": recompute, "drop_path": drop_path}
    network = resolve.named(
        "model.of",
        "medssl_jax.models",
        of,
        dtype=dtype,
        axis_name=axis_name,
        **{field: value for field, value in running.items() if value},
    )

    def init(key, x):
        return network.init(key, _in_channels(jnp.asarray(x), neighbours))

    def apply(variables, x, train: int, keys=None):
        b, f = x.shape[:2]
        if keys is not None:
            keys = jax.vmap(lambda key: jax.random.split(key, f))(keys).reshape(-1)
        slices = _in_channels(jnp.asarray(x), neighbours)
        features, stats = network.apply(variables, slices, train, keys)
        pooled, maps = (
            jax.tree.map(lambda y: y.reshape(b, f, *y.shape[1:]), part)
            for part in (features.pooled, features.maps)
        )
        found = features._replace(pooled=pooled.mean(axis=1), maps=maps, attention=None)
        return found, stats

    return Network(init, apply, network.recompute, network.start, by_slice=True)


def inside(model: Mapping[str, Any], channels: int) -> tuple[Mapping[str, Any], int]:
    """Return the model whose variables are those of this one, and its channels."""
    return model["of"], (2 * model["neighbours"] + 1) * channels


def of_slices(head: Network) -> Network:
    """Return a head on (image, maps) of slices as one on those of volumes.

    Volumes are (b, f, *s, c), maps (b, f, *t, d); so is what the head returns.
    """

    def flat(inputs):
        return jax.tree.map(lambda y: jnp.asarray(y).reshape(-1, *y.shape[2:]), inputs)

    def init(key, inputs):
        return head.init(key, flat(inputs))

    def apply(variables, inputs, train: int, keys=None):
        b, f = inputs[0].shape[:2]
        out, stats = head.apply(variables, flat(inputs), train, keys)
        return jax.tree.map(lambda y: y.reshape(b, f, *y.shape[1:]), out), stats

    return Network(init, apply, head.recompute)


def _in_channels(x: Float[Array, "b f *s c"], k: int) -> Float[Array, "slices *s d"]:
    f, shape = x.shape[1], x.shape[2:-1]
    edges = [(0, 0)] * x.ndim
    edges[1] = (k, k)
    x = jnp.pad(x, edges, mode="edge")
    beside = [x[:, i : i + f] for i in range(2 * k + 1)]
    return jnp.concatenate(beside, axis=-1).reshape(
        -1, *shape, (2 * k + 1) * x.shape[-1]
    )
