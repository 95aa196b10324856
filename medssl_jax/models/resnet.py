"""Residual networks in 2D and 3D: torchvision's resnet and r3d, with a width."""

from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import relu
from medssl_jax.models.conv_norm import ConvNorm
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network, pure
from medssl_jax.models.recompute import recomputed
from medssl_jax.models.stem import check_known, stemmed
from medssl_jax.models.stochastic_depth import branch_kept, rates
from medssl_jax.ranges import Count, Decay, Ndim


def resnet(
    *,
    ndim: Ndim,
    layers: Sequence[Count],
    block: str,
    width: Count,
    stem: str,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
    drop_path: Decay = 0.0,
) -> Network:
    """Return the encoder (b, *s, c) -> Features, without head.

    Maps are those of the stages, after that of the stem where it is pooled; the vector
    is the mean of the last one.

    Args:
      ndim: spatial axes of the input.
      layers: blocks per stage; every stage but the first halves all axes.
      block: "basic" (two 3-wide convolutions) or "bottleneck" (1, 3, 1; the stride is
        on the middle one, "v1.5").
      width: channels of the first stage; 64 is the published one, 128 SimCLR's 2x.
      stem: "r3d", "imagenet" or "small", see `stem.stemmed`.
      dtype: of the computation; parameters, statistics and features are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      recompute: keep of a stage only its input and its convolutions' results, and make
        norms, ReLUs and sums anew for the gradient.
      drop_path: how often training leaves out the last block's residual branch, for
        each example its own; earlier blocks' less, see `stochastic_depth.rates`.

    Raises:
      ConfigError: if `block` or `stem` is unknown, or `drop_path` is none.

    Source: arXiv:1512.03385; r3d_18 (3D, layers 2-2-2-2, "basic", 64, "r3d") is
    arXiv:1711.11248.
    """
    if block not in _BLOCKS:
        raise ConfigError(
            f"config.model.block: unknown block {block!r}; known: {', '.join(_BLOCKS)}"
        )
    check_known(stem)
    shape = (ndim, tuple(layers), block, width, stem)
    of_blocks = rates(drop_path, sum(layers))
    module = _ResNet(*shape, dtype, axis_name, recompute, of_blocks)
    return pure(module, draws=drop_path > 0)


# (kernel size, channels over the block's, carries the block's stride) per convolution
_BLOCKS = {
    "basic": ((3, 1, True), (3, 1, False)),
    "bottleneck": ((1, 1, False), (3, 1, True), (1, 4, False)),
}


class _ResNet(nn.Module):
    ndim: int
    layers: tuple[int, ...]
    block: str
    width: int
    stem: str
    dtype: DTypeLike
    axis_name: str | None
    recompute: bool
    rates: tuple[float, ...]

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *s c"],
        train: int,
        keys: Key[Array, " b"] | None = None,
    ) -> Features:
        parts = {"dtype": self.dtype, "axis_name": self.axis_name}
        x, maps = stemmed(
            x, train, kind=self.stem, ndim=self.ndim, features=self.width, **parts
        )
        stage = _ResNet._stage
        if self.recompute:
            stage = recomputed(stage, static_argnums=(2, 4))
        for i in range(len(self.layers)):
            x = stage(self, x, train, keys, i)
            maps.append(x)
        vector = jnp.mean(x, axis=range(1, x.ndim - 1), dtype=jnp.float32)
        return Features(vector, tuple(maps))

    def _stage(self, x, train, keys, i):
        before = sum(self.layers[:i])
        for j in range(self.layers[i]):
            x = _Block(
                _BLOCKS[self.block],
                features=self.width * 2**i,
                stride=2 if i > 0 and j == 0 else 1,
                number=before + j,
                rate=self.rates[before + j],
                dtype=self.dtype,
                axis_name=self.axis_name,
                name=f"layer{i + 1}_{j}",
            )(x, train, keys)
        return x


class _Block(nn.Module):
    convolutions: tuple[tuple[int, int, bool], ...]
    features: int
    stride: int
    number: int
    rate: float
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], train: int, keys: Key[Array, " b"] | None
    ) -> Float[Array, "b *t d"]:
        def conv_norm(x, features, size, stride, name):
            dims = x.ndim - 2
            parts = {"dtype": self.dtype, "axis_name": self.axis_name, "name": name}
            return ConvNorm(features, (size,) * dims, (stride,) * dims, **parts)(
                x, train
            )

        y = x
        for i, (size, growth, strided) in enumerate(self.convolutions):
            y = relu(y) if i > 0 else y
            stride = self.stride if strided else 1
            y = conv_norm(y, self.features * growth, size, stride, f"conv{i + 1}")
        if x.shape[-1] != y.shape[-1]:  # so wherever there is a stride
            x = conv_norm(x, y.shape[-1], 1, self.stride, "downsample")
        y = branch_kept(y, keys, block=self.number, rate=self.rate)
        return relu(x + y)
