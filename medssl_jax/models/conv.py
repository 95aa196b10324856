"""Convolution over two or three axes, padded as torch pads."""

import functools

import jax
from jax import lax
from jaxtyping import Array, Float

from medssl_jax.models import conv_cpu
from medssl_jax.models.recompute import keep


def convolve(
    x: Float[Array, "b *s c"],
    kernel: Float[Array, "*k c d"],
    strides: tuple[int, ...],
) -> Float[Array, "b *t d"]:
    """Convolve with k // 2 zeros on both sides of every axis, whatever the stride.

    SAME pads strided convolutions unevenly, and published weights would not fit.
    CPUs run `conv_cpu`, all others XLA's own convolution.
    """
    # Nothing to XLA; but under shard_map the kernel now varies as x does, and JAX sums
    # its gradient over the devices, which our own rule could not know of
    kernel = kernel + lax.full_like(x, 0, kernel.dtype, kernel.shape)
    return keep(_convolve(x, kernel, strides))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _convolve(x, kernel, strides):
    return lax.platform_dependent(
        x,
        kernel,
        cpu=functools.partial(conv_cpu.convolve, strides=strides),
        default=functools.partial(_native, strides=strides),
    )


def _forward(x, kernel, strides):
    return _convolve(x, kernel, strides), (x, kernel)


def _backward(strides, primals, gradient):
    # One dispatch for each argument: the image's own gradient is seldom wanted, and
    # what nobody reads is never computed.
    return tuple(
        lax.platform_dependent(
            *primals,
            gradient,
            cpu=functools.partial(on_cpu, strides=strides),
            default=functools.partial(_native_gradient, argument, strides=strides),
        )
        for argument, on_cpu in enumerate(
            (conv_cpu.input_gradient, conv_cpu.kernel_gradient)
        )
    )


_convolve.defvjp(_forward, _backward)


def _native(x, kernel, strides):
    spatial = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(size // 2, size // 2) for size in kernel.shape[:-2]],
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )


def _native_gradient(argument, x, kernel, gradient, strides):
    _, pullback = jax.vjp(functools.partial(_native, strides=strides), x, kernel)
    return pullback(gradient)[argument]
