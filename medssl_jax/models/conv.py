"""Convolution in any number of dimensions, padded as torch pads."""

from collections.abc import Sequence

from jax import lax
from jaxtyping import Array, Float


def convolve(
    x: Float[Array, "b *s c"],
    kernel: Float[Array, "*k c d"],
    strides: Sequence[int],
) -> Float[Array, "b *t d"]:
    """Convolve with k // 2 zeros on both sides of every axis, whatever the stride.

    SAME pads strided convolutions unevenly, and published weights would not fit.
    """
    spatial = "DHW"[-len(strides) :]
    return lax.conv_general_dilated(
        x,
        kernel,
        strides,
        [(size // 2, size // 2) for size in kernel.shape[:-2]],
        dimension_numbers=(f"N{spatial}C", f"{spatial}IO", f"N{spatial}C"),
    )
