"""Convolution on CPUs as matrix products, with gradients of its own.

XLA's CPU backend has a fast path for one thing, a 2D convolution forward; in 3D, and
for the kernel's gradient in 2D too, it runs up to ten times slower. So

* a small or pointwise convolution is one matrix product with the gathered patches;
  that of images smaller than the kernel is one for each piece of the batch;
* any other is a 2D convolution, depth folded into the batch and the kernel's depth
  into the channels, over pieces of the batch that stay in the cache;
* its gradient for the input is the same on the output's gradient, once for each
  position within a stride: dilating the gradient would mean multiplying zeros;
* its gradient for the kernel is a sum of matrix products with the patches of pieces
  that stay in the cache.

`benchmarks/conv3d.py` measures all three against XLA's own.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

# What is gathered at once; times are flat from 4 to 16 MB with 32 MB of L3.
_CACHE_BYTES = 8_000_000
# From so many channels on Eigen's 2D convolution is faster than YNNPACK's, which jaxlib
# 0.10 takes unless more comes out than goes in: a row more than asked for, then. Later
# ones are faster without.
_EIGEN_CHANNELS = 16 if jax.__version_info__ < (0, 11) else math.inf


def convolve(x, kernel, strides):
    """Return the convolution with k // 2 zeros on both sides of every axis."""
    if len(strides) == 2:
        return convolve(x[:, None], kernel[None], (1, *strides))[:, 0]
    return _correlate(x, kernel, strides, _same(kernel.shape[:3]))


def input_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for x, given that for its output."""
    if len(strides) == 2:
        volumes = x[:, None], kernel[None], gradient[:, None]
        return input_gradient(*volumes, (1, *strides))[:, 0]
    if _gathers(x, kernel, strides, _same(kernel.shape[:3])):
        return _gathered_gradients(x, kernel, gradient, strides)[0]
    coarse = [-(-n // s) for n, s in zip(x.shape[1:4], strides, strict=True)]
    phases = jnp.stack(
        [
            _phase(gradient, kernel, strides, coarse, offsets)
            for offsets in itertools.product(*map(range, strides))
        ]
    )
    fine = phases.reshape(*strides, x.shape[0], *coarse, x.shape[-1])
    fine = jnp.transpose(fine, (3, 4, 0, 5, 1, 6, 2, 7))
    sizes = [n * s for n, s in zip(coarse, strides, strict=True)]
    fine = fine.reshape(x.shape[0], *sizes, x.shape[-1])
    return fine[:, : x.shape[1], : x.shape[2], : x.shape[3]]


def kernel_gradient(x, kernel, gradient, strides):
    """Return the gradient of `convolve` for kernel, given that for its output."""
    if len(strides) == 2:
        volumes = x[:, None], kernel[None], gradient[:, None]
        return kernel_gradient(*volumes, (1, *strides))[0]
    if _gathers(x, kernel, strides, _same(kernel.shape[:3])):
        return _gathered_gradients(x, kernel, gradient, strides)[1]
    depth, h, w, c, d = kernel.shape
    # The kernel's depth goes where it makes the patches smaller: to the gradient, if
    # every slice of x meets all of it
    if strides[0] == 1 and c >= d // 4:
        product = _patch_products(x, gradient, (1, h, w), strides, depth)
        product = product.reshape(depth, d, h, w, c)[::-1]
        product = jnp.transpose(product, (0, 2, 3, 4, 1))
    else:
        product = _patch_products(x, gradient, (depth, h, w), strides, 1)
        product = jnp.transpose(product.reshape(d, h, w, depth, c), (3, 1, 2, 4, 0))
    return product.astype(kernel.dtype)


def _correlate(x, kernel, strides, padding):
    if jax.export.is_symbolic_dim(x.shape[0]) and math.prod(kernel.shape[:3]) > 1:
        # a file for any number of images (`saved.stablehlo`): one after the other
        run = functools.partial(
            _correlate, kernel=kernel, strides=strides, padding=padding
        )
        return _folded(lax.map(run, *_split(1, x)))
    if _gathers(x, kernel, strides, padding):
        return _gathered(x, kernel, strides, padding)
    # Where the kernel is larger than x, XLA's 2D convolution takes ten times as long
    small = all(n < k for n, k in zip(x.shape[2:4], kernel.shape[1:3], strict=True))
    met = math.prod(kernel.shape[:3]) if small else kernel.shape[0]
    example = math.prod(x.shape[1:]) * met * x.dtype.itemsize
    group = _largest_divisor(x.shape[0], _CACHE_BYTES // example)
    run = functools.partial(
        _gathered if small else _planar,
        kernel=kernel,
        strides=strides,
        padding=padding,
    )
    return _folded(lax.map(run, *_split(group, x)))


def _gathers(x, kernel, strides, padding):
    if math.prod(kernel.shape[:3]) == 1:
        return True
    positions = x.shape[0] * math.prod(_output_size(x, kernel, strides, padding))
    patches = positions * math.prod(kernel.shape[:4]) * x.dtype.itemsize
    # Where patches are fewer than the kernel's features, the kernel is what moves
    return patches <= _CACHE_BYTES or positions <= kernel.shape[-1]


def _gathered(x, kernel, strides, padding):
    patches = _patches(_pad(x, padding), kernel.shape[:3], strides)
    return lax.dot_general(
        patches,
        kernel.reshape(-1, kernel.shape[-1]),
        (((patches.ndim - 1,), (0,)), ((), ())),
    )


def _gathered_gradients(x, kernel, gradient, strides):
    run = functools.partial(_gathered, strides=strides, padding=_same(kernel.shape[:3]))
    _, pullback = jax.vjp(run, x, kernel)
    return pullback(gradient)


def _planar(x, kernel, strides, padding):
    """Convolve in 2D, depth in the batch, the kernel's depth in the channels."""
    depth, *plane, channels, features = kernel.shape
    slices, rows, columns = _output_size(x, kernel, strides, padding)
    more = int(channels >= _EIGEN_CHANNELS and rows == x.shape[2])
    x = _taps(_pad(x, (padding[0], (0, 0), (0, 0))), 1, depth, strides[0])
    above, below = padding[1]
    y = lax.conv_general_dilated(
        _folded(x),
        jnp.moveaxis(kernel, 0, 2).reshape(*plane, -1, features),
        strides[1:],
        ((above, below + more), padding[2]),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    return y[:, :rows].reshape(x.shape[0], slices, rows, columns, features)


def _phase(gradient, kernel, strides, coarse, offsets):
    """Return the input's gradient at `offsets` within every stride."""
    # x[s * j + offset] met kernel[t] wherever t = offset + k // 2 (mod s)
    kernel = jnp.swapaxes(kernel, -1, -2)
    padding = []
    for axis, (stride, n, offset) in enumerate(
        zip(strides, coarse, offsets, strict=True)
    ):
        shift, first = divmod(offset + kernel.shape[axis] // 2, stride)
        kernel = lax.slice_in_dim(kernel, first, None, stride, axis)
        before = kernel.shape[axis] - 1 - shift
        padding.append((before, n + shift - gradient.shape[axis + 1]))
    return _correlate(gradient, jnp.flip(kernel, (0, 1, 2)), (1, 1, 1), padding)


def _patch_products(x, gradient, size, strides, gradient_depth):
    """Sum gradient times patch: (gradient_depth * features, rows, columns, channels).

    Patches are of `size`; each meets `gradient_depth` slices of the gradient, the last
    first.
    """
    examples, slices, h, w, _ = gradient.shape
    patches = h * w * math.prod(size) * x.shape[-1] * x.dtype.itemsize
    fitting = _CACHE_BYTES // patches  # slices
    group = _largest_divisor(examples, fitting // slices)
    piece = _largest_divisor(group * slices, fitting)

    def group_product(x, gradient):
        x = _deep_taps(x, size[0], strides[0])
        gradient = _deep_taps(gradient, gradient_depth, 1)
        return _scan_sum(piece_product, *_split(piece, _folded(x), _folded(gradient)))

    def piece_product(x, gradient):
        x = _pad(x, _same(size[1:]))
        x = _taps(_taps(x, 2, size[2], strides[2]), 1, size[1], strides[1])
        return lax.dot_general(
            gradient.reshape(-1, gradient.shape[-1]),
            x.reshape(-1, x.shape[-1]),
            (((0,), (0,)), ((), ())),
            preferred_element_type=np.promote_types(x.dtype, np.float32),
        )

    return _scan_sum(group_product, *_split(group, x, gradient))


def _folded(x):
    return x.reshape(-1, *x.shape[2:])


def _split(size, *arrays):
    return [a.reshape(-1, size, *a.shape[1:]) for a in arrays]


def _scan_sum(function, *arrays):
    like = jax.eval_shape(lambda *pieces: function(*(p[0] for p in pieces)), *arrays)
    # full_like varies over the axes of shard_map that its array does
    zeros = lax.full_like(arrays[0], 0, dtype=like.dtype, shape=like.shape)

    def step(total, pieces):
        return total + function(*pieces), None

    return lax.scan(step, zeros, arrays)[0]


def _largest_divisor(n, limit):
    return next(c for c in range(max(1, min(n, limit)), 0, -1) if n % c == 0)


def _patches(x, size, strides):
    for axis in (3, 2, 1):
        x = _taps(x, axis, size[axis - 1], strides[axis - 1])
    return x


def _taps(x, axis, size, stride):
    """Put the `size` values that a kernel meets along an axis into the channels."""
    stop = (x.shape[axis] - size) // stride * stride + 1
    taps = [lax.slice_in_dim(x, tap, tap + stop, stride, axis) for tap in range(size)]
    # Stacked before the channels whole runs are copied; behind them, single values
    x = jnp.stack(taps, -2)
    return x.reshape(*x.shape[:-2], -1)


def _deep_taps(x, size, stride):
    return _taps(_pad(x, (*_same([size]), (0, 0), (0, 0))), 1, size, stride)


def _pad(x, padding):
    config = [(0, 0, 0), *((low, high, 0) for low, high in padding), (0, 0, 0)]
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _same(sizes):
    return [(size // 2, size // 2) for size in sizes]


def _output_size(x, kernel, strides, padding):
    padded = [n + sum(p) for n, p in zip(x.shape[1:4], padding, strict=True)]
    return [
        (n - k) // s + 1
        for n, k, s in zip(padded, kernel.shape[:3], strides, strict=True)
    ]
