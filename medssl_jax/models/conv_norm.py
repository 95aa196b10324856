"""A convolution with batch normalisation after it, and so without a bias."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.conv import convolve
from medssl_jax.models.initializers import he_normal_fan_out
from medssl_jax.models.norm import BatchNorm


class ConvNorm(nn.Module):
    """Convolve with a kernel of `size`, computing in `dtype`, then normalise.

    `axis_name` names the mapped axis over which batch statistics are averaged.
    """

    features: int
    size: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DTypeLike
    axis_name: str | None

    @nn.compact
    def __call__(
        self, x: Float[Array, "b *s c"], train: bool
    ) -> Float[Array, "b *t d"]:
        kernel = self.param(
            "kernel",
            he_normal_fan_out,
            (*self.size, x.shape[-1], self.features),
            jnp.float32,
        )
        x = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)
        return BatchNorm(self.dtype, self.axis_name, name="norm")(x, train)
