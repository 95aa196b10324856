"""Convolution on NVIDIA's GPUs: XLA's own, but where it asks cuDNN for the wrong thing.

cuDNN is fast where channels are many and last in memory. So

* images of few channels are folded: the kernel's slices and the positions within a stride
  become channels of a 2D convolution (five times as fast for a stem on one channel);
* a gradient that along some axis is no longer than the kernel is lengthened by zeros: XLA
  takes it for the kernel of a convolution forward, which cuDNN has no fast way for (512
  channels of 2 x 14 x 14: three times as fast).

That channels of volumes are last is for XLA to arrange: `run.gpu.channels_last`.
`benchmarks/RESULTS.md` has what was measured.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jax import lax

from medssl_jax.models import conv_xla

_FEW = 4  # channels that are folded
_MULTIPLE = 8  # of channels, that tensor cores work on in bfloat16


def convolve(x, kernel, strides):
    """Return the convolution with k // 2 zeros on both sides of every axis."""
    if x.shape[-1] > _FEW or math.prod(kernel.shape[:-2]) == 1:
        return conv_xla.convolve(x, kernel, strides)
    if len(strides) == 2:
        return _folded(x[:, None], kernel[None], (1, *strides))[:, 0]
    return _folded(x, kernel, strides)


def input_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for x, given that for its output."""
    return _pullback(x, kernel, strides)(gradient)[0]


def kernel_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for kernel, given that for its output."""
    sizes = kernel.shape[:-2]
    lengths = gradient.shape[1:-1]
    if set(strides) == {1} and math.prod(sizes) > 1:
        more = [max(k + 1 - n, 0) for n, k in zip(lengths, sizes, strict=True)]
        ends = [(0, 0), *((0, n) for n in more), (0, 0)]
        x, gradient = jnp.pad(x, ends), jnp.pad(gradient, ends)
    return _pullback(x, kernel, strides)(gradient)[1]


def _pullback(x, kernel, strides):
    return jax.vjp(functools.partial(convolve, strides=strides), x, kernel)[1]


def _folded(x, kernel, strides):
    """Convolve volumes in 2D: b * slices images of what each place's windows meet."""
    depth, *sizes, _, d = kernel.shape
    out = [
        (n + 2 * (k // 2) - k) // s + 1
        for n, k, s in zip(x.shape[1:-1], kernel.shape, strides, strict=False)
    ]
    # rows and columns of s pixels each: so many under a kernel, and in all
    within = [-(-k // s) for k, s in zip(sizes, strides[1:], strict=True)]
    blocks = [n + k - 1 for n, k in zip(out[1:], within, strict=True)]
    slices = (out[0] - 1) * strides[0] + depth
    lengths = [slices, *(n * s for n, s in zip(blocks, strides[1:], strict=True))]
    ends = [
        (k // 2, length - n - k // 2, 0)
        for n, k, length in zip(x.shape[1:], kernel.shape, lengths, strict=False)
    ]
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    x = _phases_last(x, blocks, strides[1:])
    taken = [
        lax.slice_in_dim(x, k, k + (out[0] - 1) * strides[0] + 1, strides[0], axis=1)
        for k in range(depth)
    ]
    x = jnp.concatenate(taken, -1).reshape(-1, *blocks, depth * x.shape[-1])
    more = [(0, n * s - k) for n, s, k in zip(within, strides[1:], sizes, strict=True)]
    kernel = jnp.pad(kernel, [(0, 0), *more, (0, 0), (0, 0)])
    kernel = jnp.moveaxis(kernel, -1, 0).reshape(d * depth, *kernel.shape[1:-1])
    kernel = _phases_last(kernel[:, None], within, strides[1:])[:, 0]
    kernel = kernel.reshape(d, depth, *within, kernel.shape[-1])
    kernel = jnp.transpose(kernel, (2, 3, 1, 4, 0)).reshape(*within, x.shape[-1], d)
    empty = -x.shape[-1] % _MULTIPLE
    x = jnp.pad(x, [(0, 0)] * 3 + [(0, empty)])
    kernel = jnp.pad(kernel, [(0, 0)] * 2 + [(0, empty), (0, 0)])
    y = lax.conv_general_dilated(
        x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y.reshape(-1, *out, d)


def _phases_last(x, blocks, strides):
    """Turn (b, t, rows * s, columns * s, c) to (b, t, rows, columns, s * s * c)."""
    (rows, columns), (down, across) = blocks, strides
    x = x.reshape(*x.shape[:2], rows, down, columns, across, x.shape[-1])
    x = jnp.transpose(x, (0, 1, 2, 4, 3, 5, 6))
    return x.reshape(*x.shape[:4], -1)
