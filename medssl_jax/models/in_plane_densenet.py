"""Densely connected networks in 2D and 3D that begin in-plane, for thick slices."""

import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.errors import ConfigError
from medssl_jax.models.conv_norm import ConvNorm
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network, pure
from medssl_jax.models.recompute import recomputed
from medssl_jax.ranges import Count, Natural, Ndim


def in_plane_densenet(
    *,
    ndim: Ndim,
    blocks: Sequence[Count],
    in_plane_blocks: Natural,
    initial_features: Count,
    growth: Count,
    features: Count,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
) -> Network:
    """Return the encoder (b, *s, c) -> Features, for images of any size.

    Maps are those of the blocks, the last one mixed as said below.

    A unit is a convolution, batch normalisation and LeakyReLU; its output is
    concatenated to its input. The paper's network for head CT has blocks of
    (1, 2, 3, 3, 3) units, 2 of them in-plane, 16 initial features, growth 7 and 1024
    features. Where it is silent, here are: a first unit like those of the first block,
    at full resolution and without concatenation; means over 2 voxels between blocks,
    as arXiv:1608.06993 has them, and no other transition; and a unit of pointwise
    convolutions to features / 2 channels, whose maximum and mean over all voxels are
    the features, in this order.

    Args:
      ndim: spatial axes of the input.
      blocks: units of each block.
      in_plane_blocks: the first blocks, whose kernels are (1, 3, 3) and after which the
        last two axes are halved; all others have (3, 3, 3) and halve three axes.
      initial_features: channels that the first block is given.
      growth: channels that each unit adds.
      features: length of the result, an even number.
      dtype: of the computation; parameters, statistics and features are float32.
      axis_name: mapped axis over which batch statistics are averaged.
      recompute: keep of a unit only its convolution's result and its own, and make norms
        and concatenations anew for the gradient.

    Raises:
      ConfigError: if `features` is odd, or there are no blocks.

    Source: arXiv:2201.01283, section IV.E.
    """
    if features % 2:
        raise ConfigError(
            f"features {features} is odd; half of them are maxima and half are means, "
            "so use an even number"
        )
    if not blocks:
        raise ConfigError("blocks is empty; give the units of one block or more")
    shape = (ndim, tuple(blocks), in_plane_blocks, initial_features, growth, features)
    return pure(_InPlaneDenseNet(*shape, dtype, axis_name, recompute))


class _InPlaneDenseNet(nn.Module):
    ndim: int
    blocks: tuple[int, ...]
    in_plane_blocks: int
    initial_features: int
    growth: int
    features: int
    dtype: DTypeLike
    axis_name: str | None
    recompute: bool

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: int) -> Features:
        unit = _InPlaneDenseNet._unit
        if self.recompute:
            unit = recomputed(unit, static_argnums=(2, 3, 4, 5))

        def depth(block, size):
            return 1 if block < self.in_plane_blocks else size

        size = (depth(0, 3), 3, 3)
        x = unit(self, [x], train, self.initial_features, size, "stem")
        maps = []
        for i, units in enumerate(self.blocks):
            if i > 0:
                maps.append(x)
                x = halve(x, (depth(i - 1, 2), 2, 2)[-self.ndim :])
            # one by one: each is kept once, whoever reads it
            grown, size = [x], (depth(i, 3), 3, 3)
            for j in range(units):
                name = f"block{i + 1}_{j}"
                grown.append(unit(self, grown, train, self.growth, size, name))
            x = jnp.concatenate(grown, axis=-1)
        x = unit(self, [x], train, self.features // 2, (1, 1, 1), "mix")
        x = x.astype(jnp.float32)
        voxels = range(1, x.ndim - 1)
        vector = jnp.concatenate([jnp.max(x, voxels), jnp.mean(x, voxels)], axis=-1)
        return Features(vector, (*maps, x))

    def _unit(self, grown, train, features, size, name):
        """Convolve all that `grown` has, normalise, LeakyReLU."""
        convolved = ConvNorm(
            features,
            size[-self.ndim :],
            (1,) * self.ndim,
            dtype=self.dtype,
            axis_name=self.axis_name,
            name=name,
        )
        return nn.leaky_relu(convolved(jnp.concatenate(grown, axis=-1), train))


def halve(x: Float[Array, "b *s c"], window: tuple[int, ...]) -> Float[Array, "b *t c"]:
    """Average over windows that do not overlap; what is left of an odd axis is cut."""
    # an axis of one voxel stays: there is no smaller image
    window = tuple(map(min, window, x.shape[1:-1]))
    # nn.avg_pool divides by an array, which bfloat16 does not take
    total = nn.pool(x, 0.0, lax.add, window, window, "VALID")
    return total / math.prod(window)
