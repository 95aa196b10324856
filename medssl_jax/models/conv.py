"""Convolution over two or three axes, padded as torch pads."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Float

from medssl_jax.models import conv_cpu, conv_cuda, conv_xla
from medssl_jax.models.recompute import keep

_PLATFORMS = {"cpu": conv_cpu, "cuda": conv_cuda, "default": conv_xla}


def convolve(
    x: Float[Array, "b *s c"],
    kernel: Float[Array, "*k c d"],
    strides: tuple[int, ...],
) -> Float[Array, "b *t d"]:
    """Convolve with k // 2 zeros on both sides of every axis, whatever the stride.

    SAME pads strided convolutions unevenly, and published weights would not fit.
    CPUs run `conv_cpu`, NVIDIA's GPUs `conv_cuda`, all others XLA's own convolution.
    """
    # Nothing to XLA; but under shard_map the kernel now varies as x does, and JAX sums
    # its gradient over the devices, which our own rule could not know of
    kernel = kernel + lax.full_like(x, 0, kernel.dtype, kernel.shape)
    return keep(_convolve(x, kernel, strides))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, strides):
    return _dispatch("convolve", x, kernel, strides=strides)


def _forward(x, kernel, strides):
    return _convolve(x, kernel, strides), (x, kernel)


def _backward(strides, primals, gradient):
    # One dispatch for each argument: the image's own gradient is seldom wanted, and
    # what nobody reads is never computed.
    return tuple(
        _dispatch(name, *primals, gradient, strides=strides)
        for name in ("input_gradient", "kernel_gradient")
    )


_convolve.defvjp(_forward, _backward)


def _dispatch(name, *arrays, strides):
    """Call the function of that name that the platform has."""
    found = {
        platform: functools.partial(getattr(module, name), strides=strides)
        for platform, module in _PLATFORMS.items()
    }
    return lax.platform_dependent(*arrays, **found)
