"""Convolution as XLA has it."""

import functools

import jax
from jax import lax


def convolve(x, kernel, strides):
    """Return the convolution with k // 2 zeros on both sides of every axis."""
    spatial = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(size // 2, size // 2) for size in kernel.shape[:-2]],
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def input_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for x, given that for its output."""
    return _pullback(x, kernel, strides)(gradient)[0]


def kernel_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for kernel, given that for its output."""
    return _pullback(x, kernel, strides)(gradient)[1]


def _pullback(x, kernel, strides):
    return jax.vjp(functools.partial(convolve, strides=strides), x, kernel)[1]
