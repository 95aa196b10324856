"""Vision transformers, timm's VisionTransformer, in 2D and 3D."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Key

from medssl_jax.errors import ConfigError
from medssl_jax.models.activation import gelu
from medssl_jax.models.features import Features
from medssl_jax.models.initializers import lecun_normal, normal
from medssl_jax.models.network import Network, pure
from medssl_jax.models.norm import LayerNorm
from medssl_jax.models.recompute import keep, recomputed
from medssl_jax.models.stochastic_depth import branch_kept, rates
from medssl_jax.ranges import Count, Decay, Ndim

_GROWTH = 4  # channels between a block's two dense layers, in widths


def vit(
    *,
    ndim: Ndim,
    patch: Count,
    width: Count,
    heads: Count,
    depth: Count,
    maps: Sequence[Count],
    pooling: str,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
    recompute: bool = False,
    drop_path: Decay = 0.0,
) -> Network:
    """Return the encoder (b, *s, c) -> Features, without head.

    A token for each patch, and a class token before them. The table of positions is that
    of the images which `init` is given; for others it is resized, by cubic interpolation.
    Maps are the patches' tokens on their grid; attention is that of every block, class
    token first.

    ViT-T, -S and -B have a width of 192, 384 and 768, 3, 6 and 12 heads, and 12 blocks.

    Args:
      ndim: spatial axes of the input.
      patch: side of a patch, in voxels, on all axes.
      width: of the tokens, which the heads divide.
      heads: of each block's attention.
      depth: blocks.
      maps: blocks, counted from 1, after which maps are taken, each normalised as the
        last one's are; the last is `depth`.
      pooling: "class", the class token, or "mean" of all others, after the last norm.
      dtype: of the computation; parameters, norms, softmax and features are float32.
      axis_name: unused, no example meets another.
      recompute: keep of a block only its input and its products' results, and make norms,
        softmax and GELU anew for the gradient.
      drop_path: how often training leaves out a residual branch of the last block, for
        each example its own; earlier blocks' less, see `stochastic_depth.rates`.

    Raises:
      ConfigError: if `pooling` is unknown, there are no such blocks, `heads` do not
        divide `width`, or `drop_path` is none; from the network, if `patch` does not
        divide an image.

    Source: arXiv:2010.11929, as in timm; its DINO weights are of the same layout.
    """
    del axis_name
    if pooling not in ("class", "mean"):
        raise ConfigError(
            f"config.model.pooling: unknown pooling {pooling!r}; known: class, mean"
        )
    if width % heads:
        raise ConfigError(
            f"config.model.width {width} is not divisible by {heads} heads; use a "
            f"multiple of {heads}"
        )
    rising = sorted(set(maps))
    if list(maps) != rising or not maps or maps[-1] != depth or maps[0] < 1:
        raise ConfigError(
            f"config.model.maps is {tuple(maps)}; name blocks of 1 to {depth} in rising "
            f"order, {depth} the last, which is pooled"
        )
    shape = (ndim, patch, width, heads, depth, tuple(maps), pooling)
    module = _ViT(*shape, dtype, recompute, rates(drop_path, depth))
    return pure(module, draws=drop_path > 0)


def weights(model: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the settings that say which variables there are: not what is read of them."""
    return {k: v for k, v in model.items() if k not in ("maps", "pooling")}


def resized(table: Float[Array, "*s d"], grid: tuple[int, ...]) -> Float[Array, "*t d"]:
    """Return the positions of another grid, as timm's resample_abs_pos_embed does."""
    shape = (*grid, table.shape[-1])
    return table if table.shape == shape else jax.image.resize(table, shape, "cubic")


class _ViT(nn.Module):
    """Parts are called as timm's."""

    ndim: int
    patch: int
    width: int
    heads: int
    depth: int
    maps: tuple[int, ...]
    pooling: str
    dtype: DTypeLike
    recompute: bool
    rates: tuple[float, ...]

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "b *s c"],
        train: int,
        keys: Key[Array, " b"] | None = None,
    ) -> Features:
        del train
        x = _Patches(self.width, self.patch, self.dtype, name="patch_embed")(x)
        grid = x.shape[1:-1]
        tokens = self._placed(x)
        block = recomputed(_Block) if self.recompute else _Block
        norm = LayerNorm(self.dtype, name="norm")
        maps, attention = [], []
        for i, rate in enumerate(self.rates):
            parts = (self.heads, i, rate, self.dtype)
            tokens, weights = block(*parts, name=f"blocks_{i}")(tokens, keys)
            attention.append(weights)
            if i + 1 in self.maps:
                normed = norm(tokens)
                maps.append(normed[:, 1:].reshape(-1, *grid, self.width))
        if self.pooling == "class":
            vector = normed[:, 0].astype(jnp.float32)
        else:
            vector = jnp.mean(normed[:, 1:], axis=1, dtype=jnp.float32)
        return Features(vector, tuple(maps), tuple(attention))

    def _placed(self, x):
        """Return all tokens (b, 1 + n, d) at their positions, the class token first."""
        b, *grid, d = x.shape
        first = self.param("cls_token", normal(1e-6), (d,))
        first = first + self.param("cls_position", normal(0.02), (d,))
        if self.has_variable("params", "positions"):  # maybe of another grid
            table = self.get_variable("params", "positions")
        else:
            table = self.param("positions", normal(0.02), (*grid, d))
        x = x + resized(table, tuple(grid)).astype(self.dtype)[None]
        first = jnp.broadcast_to(first.astype(self.dtype), (b, 1, d))
        return jnp.concatenate([first, x.reshape(b, -1, d)], axis=1)


class _Patches(nn.Module):
    """Map each patch of (b, *s, c) to a token (b, *grid, width)."""

    width: int
    patch: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x):
        b, *sides, c = x.shape
        if any(side % self.patch for side in sides):
            raise ConfigError(
                f"config.model.patch {self.patch} does not divide images of "
                f"{' x '.join(map(str, sides))} voxels; use multiples of {self.patch}"
            )
        grid = [side // self.patch for side in sides]
        size = (self.patch,) * len(grid)
        kernel = self.param("kernel", lecun_normal, (*size, c, self.width))
        bias = self.param("bias", nn.initializers.zeros, (self.width,))
        split = [n for side in grid for n in (side, self.patch)]
        axes = range(1, 2 * len(grid) + 1)
        x = x.reshape(b, *split, c).transpose(0, *axes[::2], *axes[1::2], len(axes) + 1)
        x = x.reshape(b, *grid, math.prod(size) * c).astype(self.dtype)
        kernel = kernel.reshape(-1, self.width).astype(self.dtype)
        y = x @ kernel
        return y + jnp.broadcast_to(bias.astype(self.dtype), y.shape)


class _Block(nn.Module):
    """Attention and two dense layers, each a residual branch behind a norm."""

    heads: int
    number: int
    rate: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "b n d"], keys: Key[Array, " b"] | None
    ) -> tuple[Float[Array, "b n d"], Float[Array, "b h n n"]]:
        def dense(size, name):
            layer = nn.Dense(
                size, dtype=self.dtype, kernel_init=normal(0.02), name=name
            )
            return lambda x: keep(layer(x))

        def add(x, branch, half):
            return x + branch_kept(
                branch, keys, block=2 * self.number + half, rate=self.rate
            )

        width = x.shape[-1]
        y = LayerNorm(self.dtype, name="norm1")(x)
        qkv = dense(3 * width, "qkv")(y)
        qkv = qkv.reshape(*x.shape[:-1], 3, self.heads, width // self.heads)
        q, k, v = jnp.moveaxis(qkv, -3, 0)
        with jax.numpy_dtype_promotion("standard"):  # it takes the softmax in float32
            y = keep(jax.nn.dot_product_attention(q, k, v))
        x = add(x, dense(width, "proj")(y.reshape(x.shape)), 0)

        y = LayerNorm(self.dtype, name="norm2")(x)
        y = gelu(dense(_GROWTH * width, "fc1")(y))
        return add(x, dense(width, "fc2")(y), 1), _attention(q, k)


def _attention(q, k):
    """Return what `dot_product_attention` weighs values by, (b, h, n, n)."""
    scores = jnp.einsum("bnhd,bmhd->bhnm", q, k, preferred_element_type=jnp.float32)
    return jax.nn.softmax(scores / math.sqrt(q.shape[-1]))
