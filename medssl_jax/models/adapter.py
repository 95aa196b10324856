"""A network on images of other channels than its own: a 1 x 1 convolution before it."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from medssl_jax import resolve
from medssl_jax.models.initializers import lecun_normal
from medssl_jax.models.network import Network
from medssl_jax.ranges import Count, Decay

_OWN, _OF = "adapter", "of"


def adapter(
    *,
    of: Mapping[str, Any],
    channels: Count,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
    drop_path: Decay = 0.0,
) -> Network:
    """Return the network `of` on images (b, *s, c), brought to `channels` before it.

    What it returns is what `of` does. It starts from an encoder of `of`, of so many
    channels, with a random convolution before it; or from one of an adapter, whole.

    Args:
      of: what `config.model` would be of images with `channels`.
      channels: 3 is that of photographs, and of what was trained on them.
      dtype, axis_name, recompute, drop_path: as `of` takes them.

    Raises:
      ConfigError: if `of` is no model, or has no such way to run.

    Source: arXiv:2201.01283, section IV D: five slices and a mask to three channels.
    """
    running = {"recompute": recompute, "drop_path": drop_path}
    inner = resolve.named(
        "model.of",
        "medssl_jax.models",
        of,
        dtype=dtype,
        axis_name=axis_name,
        **{field: value for field, value in running.items() if value},
    )

    def adapted(own, x):
        x = jnp.asarray(x).astype(dtype) @ own["kernel"].astype(dtype)
        bias = own["bias"].astype(dtype)
        return x + bias.reshape((1,) * (x.ndim - 1) + bias.shape)

    def init(key, x):
        own_key, of_key = jax.random.split(key)
        kernel = lecun_normal(own_key, (jnp.shape(x)[-1], channels), jnp.float32)
        own = {"kernel": kernel, "bias": jnp.zeros(channels, jnp.float32)}
        variables = inner.init(of_key, adapted(own, x))
        return variables | {"params": {_OWN: own, _OF: variables["params"]}}

    def apply(variables, x, train: int, keys=None):
        params = variables["params"]
        of_inner = {**variables, "params": params[_OF]}
        return inner.apply(of_inner, adapted(params[_OWN], x), train, keys)

    def start(draw, given):
        if given["params"].keys() == {_OWN, _OF}:
            return given
        drawn = draw()
        own, of_drawn = drawn["params"][_OWN], drawn["params"][_OF]
        given = inner.start(lambda: {**drawn, "params": of_drawn}, given)
        return {**given, "params": {_OWN: own, _OF: given["params"]}}

    return Network(init, apply, inner.recompute, start)


def inside(model: Mapping[str, Any], channels: int) -> tuple[Mapping[str, Any], int]:
    """Return the model that weights of another origin are for, and its channels."""
    del channels
    return model["of"], model["channels"]
