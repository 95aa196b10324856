"""Densely connected networks, torchvision's densenet, in 2D and 3D."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import relu
from medssl_jax.models.conv import convolve
from medssl_jax.models.features import Features
from medssl_jax.models.in_plane_densenet import halve
from medssl_jax.models.initializers import he_normal_fan_out
from medssl_jax.models.network import Network, pure
from medssl_jax.models.norm import BatchNorm
from medssl_jax.models.recompute import recomputed
from medssl_jax.models.stem import check_known, stemmed
from medssl_jax.ranges import Count, Ndim

_BOTTLENECK = 4  # channels between a layer's convolutions, in growths


def densenet(
    *,
    ndim: Ndim,
    blocks: Sequence[Count],
    initial_features: Count,
    growth: Count,
    stem: str,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
) -> Network:
    """Return the encoder (b, *s, c) -> Features, without head.

    Each layer of a block is given what all before it have added. Between blocks a
    convolution halves the channels, and means over 2 voxels all axes. Maps are those of
    the blocks, normalised and with ReLU, after that of the stem where it is pooled; the
    vector is the mean of the last one.

    DenseNet-121 has blocks of (6, 12, 24, 16) layers, 64 initial features, growth 32 and
    the stem "imagenet".

    Args:
      ndim: spatial axes of the input.
      blocks: layers of each block.
      initial_features: channels that the first block is given.
      growth: channels that each layer adds.
      stem: "r3d", "imagenet" or "small", see `stem.stemmed`.
      dtype: of the computation; parameters, statistics and features are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      recompute: keep of a layer only its convolutions' results, and make norms and ReLUs
        anew for the gradient (arXiv:1707.06990).

    Raises:
      ConfigError: if `stem` is unknown, or there are no blocks.

    Source: arXiv:1608.06993, DenseNet-BC. Kernels are drawn as those of ResNets are;
    torchvision's are larger or smaller by a factor that the norms take out.
    """
    check_known(stem)
    if not blocks:
        raise ConfigError(
            "config.model.blocks is empty; give one block's layers or more"
        )
    shape = (ndim, tuple(blocks), initial_features, growth, stem)
    return pure(_DenseNet(*shape, dtype, axis_name, recompute))


class _DenseNet(nn.Module):
    """Parts are called as torchvision's, `_` for its dots; its stem is our own."""

    ndim: int
    blocks: tuple[int, ...]
    initial_features: int
    growth: int
    stem: str
    dtype: DTypeLike
    axis_name: str | None
    recompute: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: int) -> Features:
        parts = {"dtype": self.dtype, "axis_name": self.axis_name}
        layer = recomputed(_Layer, static_argnums=(2,)) if self.recompute else _Layer
        x, maps = stemmed(
            x,
            train,
            kind=self.stem,
            ndim=self.ndim,
            features=self.initial_features,
            **parts,
        )
        for i, layers in enumerate(self.blocks, 1):
            # one by one: each is kept once, whoever reads it
            grown = [x]
            for j in range(1, layers + 1):
                name = f"denseblock{i}_denselayer{j}"
                grown.append(layer(self.growth, **parts, name=name)(grown, train))
            x = jnp.concatenate(grown, axis=-1)
            last = i == len(self.blocks)
            # the last is torchvision's fifth, however many there are
            name = "norm5" if last else f"transition{i}_norm"
            x = relu(BatchNorm(**parts, name=name)(x, train))
            maps.append(x)
            if not last:
                half, size = x.shape[-1] // 2, (1,) * self.ndim
                name = f"transition{i}_conv"
                x = _Convolution(half, size, self.dtype, name=name)(x)
                x = halve(x, (2,) * self.ndim)
        vector = jnp.mean(x, axis=range(1, x.ndim - 1), dtype=jnp.float32)
        return Features(vector, tuple(maps))


class _Layer(nn.Module):
    """Normalise, ReLU and convolve, twice: kernels of 1 and of 3."""

    growth: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(
        self, grown: Sequence[Float[Array, "b *s _"]], train: int
    ) -> Float[Array, "b *s d"]:
        x = jnp.concatenate(grown, axis=-1)
        for i, (features, size) in enumerate(
            ((_BOTTLENECK * self.growth, 1), (self.growth, 3)), 1
        ):
            norm = BatchNorm(self.dtype, self.axis_name, name=f"norm{i}")
            size = (size,) * (x.ndim - 2)
            conv = _Convolution(features, size, self.dtype, name=f"conv{i}")
            x = conv(relu(norm(x, train)))
        return x


class _Convolution(nn.Module):
    features: int
    size: tuple[int, ...]
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"]) -> Float[Array, "b *s d"]:
        shape = (*self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", he_normal_fan_out, shape, jnp.float32)
        return convolve(x, kernel.astype(self.dtype), (1,) * len(self.size))
