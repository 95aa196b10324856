"""Spatial views, in the order in which `compose` does them.

They are sampled for a whole volume: all slices are treated alike. `axes` count the
spatial axes from the right (-1 columns, -2 rows, -3 slices), and default to in-plane.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.views.arguments import (
    Axes,
    Range,
    Shape,
    axes_from_right,
    chance,
    limits,
    size_voxels,
)
from medssl_jax.views.op import between
from medssl_jax.views.warp import (
    AffineMap,
    SpatialOp,
    after,
    extent_of,
    per_axis,
    spatial_op,
    with_size,
)

IN_PLANE = (-2, -1)


def affine(
    *,
    rotation_degrees: Range = 0.0,
    scale: Range = 1.0,
    translation: Range = 0.0,
    axes: Axes = IN_PLANE,
    probability: float = 1.0,
) -> SpatialOp:
    """Rotate, enlarge by `scale` and shift about the centre; 0 comes in from outside.

    One angle per plane of `axes`, positive from its first axis towards its second as
    in np.rot90; `axes` (-3, -2, -1) rotates about all three, in the planes (-3, -2),
    (-3, -1), (-2, -1) in turn, for isotropic volumes. One scale. One shift per axis, as
    a fraction of the image's extent.
    """
    axes = tuple(sorted(axes_from_right("affine.axes", axes)))
    rotation_degrees = limits("affine.rotation_degrees", rotation_degrees)
    scale = limits("affine.scale", scale, 0.01, 100)
    translation = limits("affine.translation", translation, -1, 1)
    probability = chance("affine.probability", probability)
    planes = list(combinations(axes, 2)) if rotation_degrees != (0, 0) else []
    if rotation_degrees != (0, 0) and not planes:
        raise ConfigError(f"affine.rotation_degrees needs two axes; axes are {axes}")

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        units = jax.random.uniform(key, (2 + len(axes) + len(planes),))
        hit = units[0] < probability
        zoom = jnp.where(hit, between(units[1], scale), 1)
        shift = jnp.where(hit, between(units[2 : 2 + len(axes)], translation), 0)
        angles = jnp.where(hit, between(units[2 + len(axes) :], rotation_degrees), 0)

        extent = extent_of(shape, axes)
        place = per_axis(shape, axes, offset=extent / 2)
        for plane, angle in zip(planes, angles, strict=True):
            place = after(place, _rotation(angle, plane, shape))
        back = per_axis(shape, axes, 1 / zoom, -(0.5 + shift) * extent / zoom)
        return after(place, back)

    mixes = axes if planes else ()
    return spatial_op("affine", sample, output_shape=_same, touches=axes, mixes=mixes)


def random_resized_crop(
    *,
    scale: Range = 1.0,
    aspect: Range = 1.0,
    size: Sequence[int] | None = None,
    axes: Axes = IN_PLANE,
) -> SpatialOp:
    """Cut a box of `scale` of the area at a random place, then resize it to `size`.

    The area (or volume) over `axes` is uniform, `aspect` log-uniform: the extent along
    each later axis over that along the first. No `size` keeps the image's.

    Departures from torchvision's RandomResizedCrop: `aspect` is relative to the image's
    own proportions, so that 1 keeps them; a box that would not fit gets the nearest
    aspect that does, which keeps the area uniform, where torchvision draws again; the
    borders may fall inside voxels.
    """
    axes = axes_from_right("random_resized_crop.axes", axes)
    scale = limits("random_resized_crop.scale", scale, 1e-4, 1)
    aspect = limits("random_resized_crop.aspect", aspect, 1e-2, 1e2)
    log_aspect = (math.log(aspect[0]), math.log(aspect[1]))
    if size is not None:
        size = size_voxels("random_resized_crop.size", size, len(axes))

    def output_shape(shape: Shape) -> Shape:
        return shape if size is None else with_size(shape, axes, size)

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        k = len(axes)
        units = jax.random.uniform(key, (2 * k,))
        log_extent = jnp.log(between(units[0], scale)) / k
        stretch = between(units[1:k], log_aspect)
        fraction = jnp.exp(log_extent + _fitting(stretch, -log_extent))
        start = units[k:] * (1 - fraction)

        extent = extent_of(shape, axes)
        per_voxel = extent / extent_of(output_shape(shape), axes)
        return per_axis(shape, axes, fraction * per_voxel, start * extent)

    return spatial_op(
        "random_resized_crop", sample, output_shape=output_shape, touches=axes
    )


def resize(*, size: Sequence[int] | None = None) -> SpatialOp:
    """Resize the last axes to `size`, antialiased."""
    size = () if size is None else size_voxels("resize.size", size)
    axes = tuple(range(-len(size), 0))

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        del key
        scale = extent_of(shape, axes) / np.array(size, np.float32)
        return per_axis(shape, axes, scale)

    def output_shape(shape: Shape) -> Shape:
        return with_size(shape, axes, size)

    return spatial_op("resize", sample, output_shape=output_shape, touches=axes)


def centre_crop(*, size: Sequence[int] | None = None) -> SpatialOp:
    """Keep the `size` voxels in the middle of the last axes, (n - size) // 2 from 0.

    Raises:
      ConfigError: if the image is smaller than `size`.
    """
    size = () if size is None else size_voxels("centre_crop.size", size)
    axes = tuple(range(-len(size), 0))

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        del key
        spare = [shape[a] - n for a, n in zip(axes, size, strict=True)]
        if any(n < 0 for n in spare):
            raise ConfigError(
                f"centre_crop.size {size} does not fit into an image of the spatial "
                f"shape {shape}; use at most {shape[-len(size) :]}, or resize first"
            )
        start = np.array([n // 2 for n in spare], np.float32)
        return per_axis(shape, axes, offset=start)

    def output_shape(shape: Shape) -> Shape:
        return with_size(shape, axes, size)

    return spatial_op("centre_crop", sample, output_shape=output_shape, touches=axes)


def flip(*, axis: Axes = -1, probability: float = 0.0) -> SpatialOp:
    """Mirror each given axis at `probability`, independently of the others."""
    axes = axes_from_right("flip.axis", axis)
    probability = chance("flip.probability", probability)

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        hit = jax.random.uniform(key, (len(axes),)) < probability
        sign = jnp.where(hit, jnp.float32(-1), jnp.float32(1))
        return per_axis(shape, axes, sign, jnp.where(hit, extent_of(shape, axes), 0))

    return spatial_op("flip", sample, output_shape=_same, touches=axes)


def _rotation(
    angle_degrees: Float[Array, ""], plane: tuple[int, int], shape: Shape
) -> AffineMap:
    """Read what a turn from the first axis of `plane` to the second puts there."""
    every = np.eye(len(shape), dtype=np.float32)
    first, second = every[list(plane)]
    within = np.diag(first + second)
    across = np.outer(first, second) - np.outer(second, first)
    angle = jnp.deg2rad(angle_degrees)
    matrix = (every - within) + jnp.cos(angle) * within + jnp.sin(angle) * across
    return AffineMap(matrix, jnp.zeros(len(shape), jnp.float32))


def _fitting(
    stretch: Float[Array, "others"], room: Float[Array, ""]
) -> Float[Array, "axes"]:
    """Turn log ratios to the first axis into log factors of sum 0, at most `room`."""
    factors = jnp.concatenate([jnp.zeros(1, jnp.float32), stretch])
    factors -= factors.mean()
    largest = jnp.maximum(factors.max(), np.finfo(np.float32).tiny)
    return factors * jnp.minimum(1, room / largest)


def _same(shape: Shape) -> Shape:
    return shape
