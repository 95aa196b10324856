"""The decoder half of a U-Net: a head on the maps of any backbone."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.conv import convolve
from medssl_jax.models.initializers import he_normal_fan_out, lecun_normal
from medssl_jax.models.network import Network, pure
from medssl_jax.models.recompute import keep, recomputed
from medssl_jax.models.unet import Level

Maps = tuple[Float[Array, "b *_"], ...]


def decoder(
    *,
    outputs: int,
    deep: bool = False,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
) -> Network:
    """Map (image (b, *s, c), a backbone's maps) to logits (b, *s, outputs), float32.

    From the coarsest map on: a transposed convolution to the size of the next finer
    one and to its channels, that map beside it, then twice a convolution, batch
    normalisation and ReLU. Where the finest map is coarser than the image, as after the
    stem of a ResNet, it goes on to the image's size, with half of the channels each
    time, or at once where it is no multiple by powers of 2. How much larger a map is
    than the one before is read off the two, for each axis, so that any pyramid will do;
    sizes that a stride has rounded are cut, or filled with zeros.

    Args:
      outputs: logits of each voxel.
      deep: for deep supervision: return the logits of every size that is made, as a
        tuple, finest first.
      dtype: of the computation; parameters, statistics and logits are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      recompute: keep of a size only what comes in and its products' results.

    Source: arXiv:1606.06650; on other backbones, ours.
    """
    return pure(_Decoder(outputs, deep, dtype, axis_name, recompute))


class _Decoder(nn.Module):
    outputs: int
    deep: bool
    dtype: DTypeLike
    axis_name: str | None
    recompute: bool

    @nn.compact
    def __call__(
        self, inputs: tuple[Float[Array, "b *s c"], Maps], train: int
    ) -> Float[Array, "b *s k"] | tuple[Float[Array, "b *_"], ...]:
        image, maps = inputs
        finer = _Decoder._finer
        if self.recompute:
            finer = recomputed(finer, static_argnums=(3, 4, 5))
        x, logits = maps[-1].astype(self.dtype), []
        for i, skip in enumerate(reversed(maps[:-1])):
            x = finer(self, x, skip, skip.shape[1:], train, ("up", "level", i))
            logits.append(x)
        for i, shape in enumerate(_larger(x.shape[1:], image.shape[1:-1])):
            x = finer(self, x, None, shape, train, ("above", "above_level", i))
            logits.append(x)
        finest = [*reversed(logits or [x])] if self.deep else [x]
        out = tuple(
            _Pointwise(self.outputs, self.dtype, name=f"output{i}")(y)
            for i, y in enumerate(finest)
        )
        return out if self.deep else out[0]

    def _finer(self, x, skip, shape, train, names):
        up, level, i = names
        x = _Up(shape, self.dtype, name=f"{up}{i}")(x)
        if skip is not None:
            x = jnp.concatenate([skip.astype(self.dtype), x], axis=-1)
        parts = (shape[-1], self.dtype, self.axis_name)
        return Level(*parts, name=f"{level}{i}")(x, train)


class _Up(nn.Module):
    """A transposed convolution as wide as its stride, brought to `shape` (*s, c).

    No two outputs overlap, so that it is one matrix product.
    """

    shape: tuple[int, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *t d"]:
        *fine, features = self.shape
        batch, *coarse, channels = x.shape
        strides = [round(n / m) for n, m in zip(fine, coarse, strict=True)]
        shape = (*strides, channels, features)
        kernel = self.param("kernel", _he_normal, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        y = lax.dot_general(
            x.astype(self.dtype),
            jnp.moveaxis(kernel, -2, 0).reshape(channels, -1).astype(self.dtype),
            (((x.ndim - 1,), (0,)), ((), ())),
        )
        y = keep(y).reshape(batch, *coarse, *strides, features)
        n = len(coarse)  # each axis of voxels, then that of the places within them
        pairs = [axis for i in range(1, n + 1) for axis in (i, n + i)]
        y = jnp.transpose(y, (0, *pairs, 2 * n + 1))
        whole = [m * stride for m, stride in zip(coarse, strides, strict=True)]
        y = y.reshape(batch, *whole, features)
        rest = [(0, size - m, 0) for size, m in zip(fine, whole, strict=True)]
        y = lax.pad(y, jnp.zeros((), self.dtype), [(0, 0, 0), *rest, (0, 0, 0)])
        return y + bias.astype(self.dtype).reshape((1,) * (y.ndim - 1) + (features,))


class _Pointwise(nn.Module):
    features: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s k"]:
        dims = x.ndim - 2
        shape = (*(1,) * dims, x.shape[-1], self.features)
        kernel = self.param("kernel", lecun_normal, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape[-1:], jnp.float32)
        y = convolve(x.astype(self.dtype), kernel.astype(self.dtype), (1,) * dims)
        y = y.astype(jnp.float32)
        return y + bias.reshape((1,) * (y.ndim - 1) + bias.shape)


def _he_normal(key, shape, dtype):
    """Draw a transposed kernel (*k, in, out): `in` values meet in each output."""
    rows, features = math.prod(shape) // shape[-2], shape[-2]
    return he_normal_fan_out(key, (rows, features), dtype).reshape(shape)


def _larger(shape, image):
    """Return the shapes (*s, c) from that of a map to the image's, finest last.

    Halved sizes are rounded up. A map that no halvings of the image give, as of
    patches of 14, goes there at once.
    """
    *spatial, channels = shape
    halvings = [
        math.ceil(math.log2(n / m)) for n, m in zip(image, spatial, strict=True)
    ]

    def halved(times):
        each = [min(times, own) for own in halvings]
        return [-(-n // 2**k) for n, k in zip(image, each, strict=True)]

    steps = max(halvings)
    if halved(steps) != spatial:
        return [(*image, max(channels // 2, 1))]
    return [
        (*halved(left), max(channels // 2 ** (steps - left), 1))
        for left in reversed(range(steps))
    ]
