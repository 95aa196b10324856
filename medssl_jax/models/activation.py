"""Activations that keep for the gradient no more than one array."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


@jax.custom_vjp
def relu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return max(x, 0); the gradient needs the result, which the next layer keeps."""
    return nn.relu(x)


def _forward(x):
    y = relu(x)
    return y, y


def _backward(y, gradient):
    return (jnp.where(y > 0, gradient, 0),)


relu.defvjp(_forward, _backward)


@jax.custom_vjp
def gelu(x: Float[Array, "*s"]) -> Float[Array, "*s"]:
    """Return x Phi(x), with the exact Phi; the gradient needs x alone."""
    return _gelu(x)


_gelu = functools.partial(nn.gelu, approximate=False)


def _gelu_backward(x, gradient):
    # else XLA would keep what both passes compute: see `norm`
    return jax.vjp(_gelu, lax.optimization_barrier(x))[1](gradient)


gelu.defvjp(lambda x: (gelu(x), x), _gelu_backward)
