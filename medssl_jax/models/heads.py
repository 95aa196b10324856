"""Heads on a backbone's features: projector, predictor, classifier."""

import functools

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.initializers import lecun_normal
from medssl_jax.models.network import Network, pure
from medssl_jax.models.norm import BatchNorm

_dense = functools.partial(nn.Dense, kernel_init=lecun_normal)


def mlp(
    *,
    hidden_size: int,
    output_size: int,
    dtype: DTypeLike = jnp.float32,
    axis_name: str | None = None,
) -> Network:
    """Map (b, d) to (b, output_size) by one hidden layer with batch norm and ReLU.

    BYOL's projector and predictor: the hidden layer has a bias, the output none
    (arXiv:2006.07733, section 3.3).
    """
    return pure(_MLP(hidden_size, output_size, dtype, axis_name))


def linear(*, output_size: int, dtype: DTypeLike = jnp.float32) -> Network:
    """Map (b, d) to (b, output_size) by one layer with a bias."""
    return pure(_Linear(output_size, dtype))


class _MLP(nn.Module):
    hidden_size: int
    output_size: int
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: bool) -> Float[Array, "b k"]:
        x = _dense(self.hidden_size, dtype=self.dtype, name="hidden")(x)
        x = BatchNorm(self.dtype, self.axis_name, name="norm")(x, train)
        x = _dense(self.output_size, use_bias=False, dtype=self.dtype, name="output")(
            nn.relu(x)
        )
        return x.astype(jnp.float32)


class _Linear(nn.Module):
    output_size: int
    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "b d"], train: bool) -> Float[Array, "b k"]:
        del train
        x = _dense(self.output_size, dtype=self.dtype, name="output")(x)
        return x.astype(jnp.float32)
