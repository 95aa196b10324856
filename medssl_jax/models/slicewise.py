"""Volumes through an encoder of slices: their vectors one behind the other."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from medssl_jax import resolve
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.ranges import Decay


def slicewise(
    *,
    of: Mapping[str, Any],
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
    drop_path: Decay = 0.0,
) -> Network:
    """Return the encoder of volumes (b, f, *s, c) by slices (*s, c), of f each.

    Its variables are those of `of`, so that it starts from an encoder of slices or images
    as that itself would. The vector (b, f d) holds those of all slices, from the first
    to the last: f has to be the same in training and use. There are no maps; attention is
    that of the middle slice, f // 2.

    Args:
      of: what `config.model` would be of slices.
      dtype, axis_name, recompute, drop_path: as `of` takes them.

    Raises:
      ConfigError: if `of` is no model, or has no such way to run.

    Source: SB-SSL, arXiv:2208.13923, section 4.1.
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
        return network.init(key, jnp.asarray(x)[:, 0])

    def apply(variables, x, train: int, keys=None):
        b, f, *of_slice = x.shape
        if keys is not None:
            keys = jax.vmap(lambda key: jax.random.split(key, f))(keys).reshape(-1)
        slices = jnp.asarray(x).reshape(b * f, *of_slice)
        features, stats = network.apply(variables, slices, train, keys)
        attention = features.attention
        if attention is not None:
            attention = tuple(
                a.reshape(b, f, *a.shape[1:])[:, f // 2] for a in attention
            )
        return Features(features.pooled.reshape(b, -1), (), attention), stats

    return Network(init, apply, network.recompute, network.start)


def weights(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the model whose variables are those of this one."""
    return model["of"]
