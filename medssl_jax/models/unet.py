"""The encoder half of a U-Net; its decoder is a head."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import relu
from medssl_jax.models.conv_norm import ConvNorm
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network, pure
from medssl_jax.models.recompute import recomputed
from medssl_jax.ranges import Count, Ndim


def unet(
    *,
    ndim: Ndim,
    width: Count,
    levels: Count,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
) -> Network:
    """Return the encoder (b, *s, c) -> Features, a map for each level.

    A level is twice a convolution, batch normalisation and ReLU, with twice the
    channels of the level above, which is halved by maxima over 2 voxels; an odd size is
    rounded up. The mean of the last level, the bottleneck, is the pooled vector.

    Args:
      ndim: spatial axes of the input.
      width: channels of the first level.
      levels: the bottleneck included; the published network has 5, from 16 to 256.
      dtype: of the computation; parameters, statistics and features are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      recompute: keep of a level only its input and its convolutions' results, and make
        norms and ReLUs anew for the gradient.

    Source: arXiv:1606.06650 with the widths of Taleb et al. 2020, arXiv:2006.03829.
    """
    return pure(_Encoder(ndim, width, levels, dtype, axis_name, recompute))


class _Encoder(nn.Module):
    ndim: int
    width: int
    levels: int
    dtype: DTypeLike
    axis_name: str | None
    recompute: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: int) -> Features:
        if x.ndim - 2 != self.ndim:
            raise ConfigError(
                f"config.model.ndim is {self.ndim}, and images have {x.ndim - 2} axes "
                f"{x.shape[1:-1]}"
            )
        made = recomputed(Level, static_argnums=(2,)) if self.recompute else Level
        maps = []
        for level in range(self.levels):
            x = halved(x) if level else x
            x = made(
                self.width * 2**level, self.dtype, self.axis_name, name=f"level{level}"
            )(x, train)
            maps.append(x)
        axes = range(1, x.ndim - 1)
        return Features(jnp.mean(x, axes, dtype=jnp.float32), tuple(maps))


class Level(nn.Module):
    """Twice a convolution 3 wide, batch normalisation and ReLU, to `features`."""

    features: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: int) -> Float[Array, "b *s d"]:
        dims = x.ndim - 2
        for i in (1, 2):
            x = ConvNorm(
                self.features,
                (3,) * dims,
                (1,) * dims,
                self.dtype,
                self.axis_name,
                use_bias=True,
                name=f"conv{i}",
            )(x, train)
            x = relu(x)
        return x


def halved(x: Float[Array, "b *s c"]) -> Float[Array, "b *t c"]:
    """Return maxima over 2 voxels along every axis, of an odd size the last alone.

    By reshaping: the gradient of a window's maximum is slow on CPUs.
    """
    b, *spatial, c = x.shape
    padding = [(0, 0, 0), *((0, n % 2, 0) for n in spatial), (0, 0, 0)]
    x = lax.pad(x, jnp.asarray(-jnp.inf, x.dtype), padding)
    pairs = [k for n in x.shape[1:-1] for k in (n // 2, 2)]
    return _maxima(x.reshape(b, *pairs, c), tuple(range(2, 2 * len(spatial) + 1, 2)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _maxima(x, axes):
    return x.max(axis=axes)


def _forward(x, axes):
    largest = x.max(axis=axes, keepdims=True)
    return largest.squeeze(axes), (x, largest)


def _backward(axes, kept, gradient):
    """Divide the gradient among the largest, as JAX does, but never by none of them.

    A compiler may make x anew, rounded otherwise, so that nothing equals the maximum:
    JAX's own gradient is then 0 / 0 (seen with xla_backend_optimization_level=0).
    """
    x, largest = kept
    there = x == largest
    count = jnp.sum(there, axis=axes, keepdims=True, dtype=x.dtype)
    share = jnp.expand_dims(gradient, axes) / jnp.maximum(count, 1)
    return (jnp.where(there, share, 0),)


_maxima.defvjp(_forward, _backward)
