"""The first convolution of 2D and 3D networks, and the pooling after it."""

import flax.linen as nn
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import relu
from medssl_jax.models.conv_norm import ConvNorm

# (kernel size, stride, max pooling); the last ndim entries are used
_STEMS = {
    "r3d": ((3, 7, 7), (1, 2, 2), False),
    "imagenet": ((7, 7, 7), (2, 2, 2), True),
    "small": ((3, 3, 3), (1, 1, 1), False),
}


def check_known(kind: str) -> None:
    """Refuse a stem that is none of those here.

    Raises:
      ConfigError: listing the known ones.
    """
    if kind not in _STEMS:
        raise ConfigError(
            f"config.model.stem: unknown stem {kind!r}; known: {', '.join(_STEMS)}"
        )


def stemmed(
    x: Float[Array, "b *s c"],
    train: int,
    *,
    kind: str,
    ndim: int,
    features: int,
    dtype: DTypeLike,
    axis_name: str | None,
) -> tuple[Float[Array, "b *t d"], list[Float[Array, "b *u d"]]]:
    """Convolve, normalise, ReLU and maybe pool, inside of a module's `__call__`.

    Return what the first block is given, and the map before the pooling, if there is
    one. Its variables are those of `ConvNorm`, under "stem".

    Args:
      x: images.
      train: take batch statistics.
      kind: "r3d" (3x7x7, stride 1x2x2 in 3D, 7x7 / 2 in 2D, no pooling), "imagenet"
        (7 / 2 and max pooling 3 / 2 on all axes), "small" (3 / 1, no pooling).
      ndim: spatial axes that the images have to have.
      features: channels.
      dtype, axis_name: as in `ConvNorm`.

    Raises:
      ConfigError: if the images have others.
    """
    if x.ndim - 2 != ndim:
        raise ConfigError(
            f"config.model.ndim is {ndim}, and images have {x.ndim - 2} axes "
            f"{x.shape[1:-1]}"
        )
    size, strides, pool = _STEMS[kind]
    size, strides = size[-ndim:], strides[-ndim:]
    x = relu(ConvNorm(features, size, strides, dtype, axis_name, name="stem")(x, train))
    if not pool:
        return x, []
    window, padding = (3,) * ndim, ((1, 1),) * ndim
    return nn.max_pool(x, window, (2,) * ndim, padding), [x]
