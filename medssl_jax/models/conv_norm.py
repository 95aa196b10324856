"""A convolution with batch normalisation after it."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.conv import convolve
from medssl_jax.models.initializers import he_normal_fan_out
from medssl_jax.models.norm import BatchNorm


class ConvNorm(nn.Module):
    """Convolve with a kernel of `size`, computing in `dtype`, then normalise.

    `axis_name` names the mapped axis over which batch statistics are averaged. A bias
    does nothing that the norm does not take out again; published networks have it.
    """

    features: int
    size: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: DTypeLike
    axis_name: str | None
    use_bias: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b *s c"], train: int) -> Float[Array, "b *t d"]:
        kernel = self.param(
            "kernel",
            he_normal_fan_out,
            (*self.size, x.shape[-1], self.features),
            jnp.float32,
        )
        x = convolve(x.astype(self.dtype), kernel.astype(self.dtype), self.strides)
        if self.use_bias:
            shape = (self.features,)
            bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
            x = x + bias.astype(self.dtype).reshape((1,) * (x.ndim - 1) + shape)
        return BatchNorm(self.dtype, self.axis_name, name="norm")(x, train)
