"""Batch normalisation with torch's defaults, over devices too; layer normalisation.

For the gradient both keep their input as it came, and the statistics: what JAX would keep
are two float32 copies of it, the most that a network in bfloat16 holds.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from medssl_jax.models.recompute import keep

_EPSILON = 1e-5
_LAYER_EPSILON = 1e-6
_KEPT = 0.9  # 1 - momentum in torch's sense


class BatchNorm(nn.Module):
    """Normalise the last axis by statistics over all others, in float32.

    `axis_name` names the mapped axis over which the statistics are averaged. The
    running variance is the biased one, as usual in JAX: torch's is n / (n - 1) times
    it. Without `use_bias` the result keeps its mean of 0. Not flax's layer because that
    leaves bfloat16 to implicit promotion. Where `train` says that x holds several batches
    (see `Network`), each has statistics of its own, and the running ones take their mean.

    Source: arXiv:1502.03167.
    """

    dtype: DTypeLike
    axis_name: str | None
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], train: int) -> Float[Array, "*b c"]:
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones, shape, jnp.float32)
        bias = jnp.zeros(shape, jnp.float32)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, shape, jnp.float32)
        running_mean = self.variable(
            "batch_stats", "mean", jnp.zeros, shape, jnp.float32
        )
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        center = lax.stop_gradient(running_mean.value)
        mean, var = running_mean.value[None], running_var.value[None]
        if train:
            mean, var = self._batch_statistics(x, train, center)
            running_mean.value = _mix(running_mean.value, mean.mean(axis=0))
            running_var.value = _mix(running_var.value, var.mean(axis=0))
        scale = scale[None] * lax.rsqrt(var + _EPSILON)
        bias = bias[None] - (mean - center[None]) * scale
        vectors = _varying(x, scale, bias)
        return _affine(self.dtype, x.astype(jnp.float32), x, center, *vectors)

    def _batch_statistics(self, x, batches, center):
        moments = _moments(batches, x.astype(jnp.float32), x, center)
        if self.axis_name is not None:
            moments = lax.pmean(moments, self.axis_name)
        mean, square = keep(moments)
        var = jnp.maximum(square - mean**2, 0.0)
        return mean + center[None], var


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _moments(batches, exact, x, center):
    """Return the means of exact - center and of its square, of each batch (2, n, c).

    Mean of squares less square of mean in one pass; near the running mean the two are
    small, and their difference keeps its digits. `exact` (b, *s, c) is x in float32:
    gradients meet there, before they are rounded, and x is what is kept.
    """
    del x
    apart = exact - _like(center, exact)
    sums = jnp.stack([_sums(apart, batches), _sums(apart * apart, batches)])
    return sums / _count(exact, batches)


def _moments_forward(batches, exact, x, center):
    return _moments(batches, exact, x, center), (x, center)


def _moments_backward(batches, kept, gradient):
    x, center = _anew(kept)
    of_mean, of_square = gradient / _count(x, batches)
    apart = x.astype(jnp.float32) - _like(center, x)
    of_exact = _like(of_mean, x) + 2 * _like(of_square, x) * apart
    return of_exact, None, None


_moments.defvjp(_moments_forward, _moments_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _affine(dtype, exact, x, center, scale, bias):
    """Return (exact - center) * scale + bias, of each batch its own; see `_moments`."""
    del x
    y = (exact - _like(center, exact)) * _like(scale, exact) + _like(bias, exact)
    return y.astype(dtype)


def _affine_forward(dtype, exact, x, center, scale, bias):
    return _affine(dtype, exact, x, center, scale, bias), (x, center, scale)


def _affine_backward(dtype, kept, gradient):
    del dtype
    x, center, scale = _anew(kept)
    apart = x.astype(jnp.float32) - _like(center, x)
    # the sums are taken where the gradient is made; what is kept of it until they are
    # known is in its own dtype
    exact, batches = gradient.astype(jnp.float32), len(scale)
    of_scale, of_bias = _sums(exact * apart, batches), _sums(exact, batches)
    of_exact = _anew(gradient).astype(jnp.float32) * _like(scale, x)
    return of_exact, None, None, of_scale, of_bias


_affine.defvjp(_affine_forward, _affine_backward)


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
        return _by_row(x, *_varying(x, scale, bias), self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _by_row(x, scale, bias, dtype):
    return _by_row_forward(x, scale, bias, dtype)[0]


def _by_row_forward(x, scale, bias, dtype):
    apart = x.astype(jnp.float32)
    mean = jnp.mean(apart, axis=-1, keepdims=True)
    apart = apart - mean
    variance = jnp.mean(apart * apart, axis=-1, keepdims=True)
    inverse = lax.rsqrt(variance + _LAYER_EPSILON)
    y = apart * inverse * _like(scale, x) + _like(bias, x)
    return y.astype(dtype), (x, scale, mean, inverse)


def _by_row_backward(dtype, kept, gradient):
    x, scale, mean, inverse = _anew(kept)
    gradient = gradient.astype(jnp.float32)
    x_hat = (x.astype(jnp.float32) - mean) * inverse
    axes = range(x.ndim - 1)
    of_scale, of_bias = jnp.sum(gradient * x_hat, axes), jnp.sum(gradient, axes)
    gradient = gradient * _like(scale, x)
    apart = gradient - jnp.mean(gradient, axis=-1, keepdims=True)
    apart = apart - x_hat * jnp.mean(gradient * x_hat, axis=-1, keepdims=True)
    return (apart * inverse).astype(x.dtype), of_scale, of_bias


_by_row.defvjp(_by_row_forward, _by_row_backward)


def _varying(x, *vectors):
    """Return vectors that vary over the devices as x does, which adds 0 to them.

    JAX then sums their gradients over the devices, which our own rules know nothing of.
    """
    return (v + lax.full_like(x, 0, v.dtype, v.shape) for v in vectors)


def _anew(kept):
    """Return what a backward pass computes from, as XLA has not seen it before.

    Else it finds that both passes take x to float32, does so once, and keeps the copy.
    """
    return lax.optimization_barrier(kept)


def _mix(running, batch):
    return _KEPT * running + (1 - _KEPT) * batch


def _like(vector, x):
    """Return a vector (c,), or one of each batch (n, c), as x (b, *s, c) takes it."""
    if vector.ndim > 1 and len(vector) > 1:
        vector = jnp.repeat(vector, len(x) // len(vector), axis=0)
    return vector.reshape(-1, *[1] * (x.ndim - 2), x.shape[-1])


def _sums(x, batches):
    """Return the sums (n, c) of each batch of x (b, *s, c): first of each example.

    That XLA does where x is made, and x need not be read again.
    """
    of_each = jnp.sum(x, axis=range(1, x.ndim - 1))
    return of_each.reshape(batches, -1, x.shape[-1]).sum(axis=1)


def _count(x, batches):
    """Return over how many values of a batch a channel's statistics are."""
    return x.size // (batches * x.shape[-1])
