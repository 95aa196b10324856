"""Spatial operations are affine maps: composed, they interpolate the image once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from medssl_jax.views.arguments import Shape, check_axes
from medssl_jax.views.interpolate import affine_grid, along_axes, axis_matrix


class AffineMap(NamedTuple):
    """Where the output voxel centred at y is read in the input: matrix @ y + offset.

    matrix (n, n) and offset (n,) over all spatial axes; positions as in `resample`, in
    voxels from the outer edge.
    """

    matrix: Float[Array, "n n"]
    offset: Float[Array, "n"]


class SpatialOp(NamedTuple):
    """An `Op` whose parameters are an `AffineMap`.

    output_shape: spatial shape -> spatial shape
    touches: the spatial axes, counted from the right, that it may change
    mixes: those of them that a rotation mixes; the others keep a diagonal matrix
    """

    sample: Callable
    apply: Callable
    output_shape: Callable[[Shape], Shape]
    touches: frozenset[int]
    mixes: frozenset[int]


def spatial_op(
    name: str,
    sample: Callable[[PRNGKeyArray, Shape], AffineMap],
    *,
    output_shape: Callable[[Shape], Shape],
    touches: Sequence[int],
    mixes: Sequence[int] = (),
) -> SpatialOp:
    """Build a spatial operation, called `name` in errors, from what it samples."""

    def checked_sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        check_axes(name, touches, shape)
        return sample(key, shape)

    def apply(place: AffineMap, image: Float[Array, "*s c"]) -> Float[Array, "*t c"]:
        return _resample(place, image, output_shape(image.shape[:-1]), touches, mixes)

    return SpatialOp(
        checked_sample, apply, output_shape, frozenset(touches), frozenset(mixes)
    )


def merge(ops: Sequence[SpatialOp]) -> SpatialOp:
    """Do `ops`, first to last, in one interpolation.

    What one of them cuts away, a later one still sees: after a crop, a rotation brings
    in the image beyond the crop and not zeros. Shrinking is antialiased by the factor
    that all of them have together.
    """

    def output_shape(shape: Shape) -> Shape:
        for op in ops:
            shape = op.output_shape(shape)
        return shape

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        place = per_axis(shape)
        for op, op_key in zip(ops, jax.random.split(key, len(ops)), strict=True):
            place = after(place, op.sample(op_key, shape))
            shape = op.output_shape(shape)
        return place

    return spatial_op(
        "views",
        sample,
        output_shape=output_shape,
        touches=sorted(set().union(*(op.touches for op in ops))),
        mixes=sorted(set().union(*(op.mixes for op in ops))),
    )


def after(first: AffineMap, second: AffineMap) -> AffineMap:
    """Read the output of `second` from the input of `first`."""
    return AffineMap(
        _times(first.matrix, second.matrix),
        _times(first.matrix, second.offset[:, None])[:, 0] + first.offset,
    )


def per_axis(
    shape: Shape,
    axes: Sequence[int] = (),
    scale: Float[Array | np.ndarray, "..."] | float = 1.0,
    offset: Float[Array | np.ndarray, "..."] | float = 0.0,
) -> AffineMap:
    """Build the axis-aligned map that scales and shifts `axes`, and no other."""
    n = len(shape)
    chosen = np.eye(n, dtype=np.float32)[list(axes)]  # (k, n)
    scales = jnp.sum(jnp.broadcast_to(scale, len(axes))[:, None] * chosen, axis=0)
    offsets = jnp.sum(jnp.broadcast_to(offset, len(axes))[:, None] * chosen, axis=0)
    scales += 1 - chosen.sum(axis=0)
    return AffineMap(jnp.eye(n, dtype=jnp.float32) * scales[None], offsets)


def extent_of(shape: Shape, axes: Sequence[int]) -> Float[np.ndarray, "k"]:
    """Return the number of voxels along each of `axes`, as floats."""
    return np.array([shape[axis] for axis in axes], np.float32)


def with_size(shape: Shape, axes: Sequence[int], size: Sequence[int]) -> Shape:
    """Return `shape` with other sizes along `axes`."""
    new = list(shape)
    for axis, n in zip(axes, size, strict=True):
        new[axis] = n
    return tuple(new)


def _resample(
    place: AffineMap,
    image: Float[Array, "*s c"],
    outputs: Shape,
    touches: Sequence[int],
    mixes: Sequence[int],
) -> Float[Array, "*t c"]:
    matrices = {
        axis: axis_matrix(
            place.matrix[axis, axis],
            place.offset[axis],
            image.shape[axis - 1],
            outputs[axis],
        )
        for axis in touches
        if axis not in mixes
    }
    image = along_axes(matrices, image)
    if not mixes:
        return image
    axes = tuple(sorted(mixes))
    matrix = place.matrix[np.ix_(axes, axes)]
    offset = place.offset[np.array(axes)]
    return affine_grid(matrix, offset, axes, tuple(outputs[a] for a in axes), image)


def _times(a: Float[Array, "n k"], b: Float[Array, "k m"]) -> Float[Array, "n m"]:
    # A dot may round to 10 or 7 bits on a GPU or TPU, too few for positions.
    return jnp.sum(a[:, :, None] * b[None], axis=1)
