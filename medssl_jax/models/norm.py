"""Batch normalisation with torch's defaults, over devices too; layer normalisation."""

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

_EPSILON = 1e-5
_LAYER_EPSILON = 1e-6
_KEPT = 0.9  # 1 - momentum in torch's sense


class BatchNorm(nn.Module):
    """Normalise the last axis by statistics over all others, in float32.

    `axis_name` names the mapped axis over which the statistics are averaged. The
    running variance is the biased one, as usual in JAX: torch's is n / (n - 1) times
    it. Without `use_bias` the result keeps its mean of 0. Not flax's layer because that
    leaves bfloat16 to implicit promotion.

    Source: arXiv:1502.03167.
    """

    dtype: DTypeLike
    axis_name: str | None
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: bool) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = jnp.zeros(shape, jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, shape, jnp.float32
        )
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        x = x.astype(jnp.float32)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var = self._batch_statistics(x, mean)
            running_mean.value = _mix(running_mean.value, mean)
            running_var.value = _mix(running_var.value, var)
        scale = scale * lax.rsqrt(var + _EPSILON)
        bias = bias - mean * scale
        return (x * _like(scale, x) + _like(bias, x)).astype(self.dtype)

    def _batch_statistics(self, x, center):
        # Mean of squares less square of mean in one pass; near the running mean the
        # two are small, and their difference keeps its digits.
        center = lax.stop_gradient(center)
        x = x - _like(center, x)
        axes = range(x.ndim - 1)
        moments = jnp.stack([jnp.mean(x, axes), jnp.mean(x * x, axes)])
        if self.axis_name is not None:
            moments = lax.pmean(moments, self.axis_name)
        mean, square = moments
        return mean + center, jnp.maximum(square - mean**2, 0.0)


class LayerNorm(nn.Module):
    """Normalise each last axis by its own statistics, in float32.

    Not flax's layer because that leaves bfloat16 to implicit promotion. Epsilon is that
    of vision transformers in timm.

    Source: arXiv:1607.06450.
    """

    dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"]) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        x = x.astype(jnp.float32)
        x = x - jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(x * x, axis=-1, keepdims=True)
        x = x * lax.rsqrt(variance + _LAYER_EPSILON)
        return (x * _like(scale, x) + _like(bias, x)).astype(self.dtype)


def _mix(running, batch):
    return _KEPT * running + (1 - _KEPT) * batch


def _like(vector, x):
    return vector.reshape((1,) * (x.ndim - 1) + vector.shape)
