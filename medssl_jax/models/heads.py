"""Heads on a backbone's features: projector, predictor, classifier, pixels."""

import functools
import math
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.activation import gelu, relu
from medssl_jax.models.initializers import lecun_normal
from medssl_jax.models.network import Network, pure
from medssl_jax.models.norm import BatchNorm

_dense = functools.partial(nn.Dense, kernel_init=lecun_normal)


def mlp(
    *,
    hidden_sizes: Sequence[int],
    output_size: int,
    hidden_bias: bool,
    output_norm: bool,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> Network:
    """Map (b, d) to (b, output_size) by hidden layers with batch norm and ReLU.

    The output layer has no bias.

    Args:
      hidden_sizes: width of each hidden layer; () is one linear layer.
      hidden_bias: whether the hidden layers have a bias before their norm, which
        takes it out again.
      output_norm: end with a batch norm that scales and does not shift.

    BYOL's projector and predictor: one hidden layer, with a bias, no output norm
    (arXiv:2006.07733, section 3.3). SimCLR's projection head, as in its public code:
    one hidden layer (v1, arXiv:2002.05709) or two (v2, arXiv:2006.10029), no bias, an
    output norm.
    """
    sizes = (*hidden_sizes, output_size)
    return pure(_MLP(sizes, hidden_bias, output_norm, dtype, axis_name))


def linear(
    *,
    output_size: int,
    hidden_sizes: Sequence[int] = (),
    dtype: DTypeLike = jnp.float32,
) -> Network:
    """Map (b, d) to (b, output_size) by one layer with a bias, after some with GELU."""
    return pure(_Linear(tuple(hidden_sizes), output_size, dtype))


def gru(*, output_size: int, dtype: DTypeLike = jnp.float32) -> Network:
    """Map sequences (b, t, d) to (b, t, output_size): what a GRU has read up to each."""
    return pure(_GRU(output_size, dtype))


def pixels(
    *, patch: tuple[int, ...], channels: int, dtype: DTypeLike = jnp.float32
) -> Network:
    """Map tokens on their grid (b, *g, d) to an image (b, *s, channels), s = g patch.

    Two pointwise convolutions with GELU, of the tokens' width, then a transposed
    convolution whose stride and size are `patch`.

    Source: SB-SSL, arXiv:2208.13923, section 2.
    """
    return pure(_Pixels(patch, channels, dtype))


class _MLP(nn.Module):
    sizes: tuple[int, ...]
    hidden_bias: bool
    output_norm: bool
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: int) -> Float[Array, "b k"]:
        # lecun_normal also where SimCLR draws at a deviation of .01: a norm follows,
        # and LARS moves a kernel by a share of its own length
        *hidden, output = self.sizes
        norm = functools.partial(BatchNorm, self.dtype, self.axis_name)
        for i, size in enumerate(hidden):
            place = f"_{i + 1}" if i else ""
            x = _dense(
                size, use_bias=self.hidden_bias, dtype=self.dtype, name=f"hidden{place}"
            )(x)
            x = relu(norm(name=f"norm{place}")(x, train))
        x = _dense(output, use_bias=False, dtype=self.dtype, name="output")(x)
        if self.output_norm:
            x = norm(use_bias=False, name="output_norm")(x, train)
        return x.astype(jnp.float32)


class _Linear(nn.Module):
    hidden_sizes: tuple[int, ...]
    output_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: int) -> Float[Array, "b k"]:
        del train
        for i, size in enumerate(self.hidden_sizes):
            x = _dense(size, dtype=self.dtype, name=f"hidden_{i + 1}")(x)
            x = gelu(x)
        x = _dense(self.output_size, dtype=self.dtype, name="output")(x)
        return x.astype(jnp.float32)


class _GRU(nn.Module):
    output_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b t d"], train: int) -> Float[Array, "b t k"]:
        del train
        cell = nn.GRUCell(self.output_size, dtype=self.dtype, name="cell")
        return nn.RNN(cell, name="over")(x.astype(self.dtype)).astype(jnp.float32)


class _Pixels(nn.Module):
    patch: tuple[int, ...]
    channels: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b *g d"], train: int) -> Float[Array, "b *s c"]:
        del train
        for name in ("hidden", "hidden_2"):
            x = gelu(_dense(x.shape[-1], dtype=self.dtype, name=name)(x))
        b, *grid, _ = x.shape
        values = math.prod(self.patch) * self.channels
        x = _dense(values, dtype=self.dtype, name="output")(x)
        x = x.reshape(b, *grid, *self.patch, self.channels)
        n = len(grid)
        pairs = [axis for i in range(n) for axis in (1 + i, 1 + n + i)]
        x = x.transpose(0, *pairs, 2 * n + 1)
        sides = [g * p for g, p in zip(grid, self.patch, strict=True)]
        return x.reshape(b, *sides, self.channels).astype(jnp.float32)
