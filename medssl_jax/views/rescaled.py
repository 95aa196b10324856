"""A crop of the image at a drawn size: the last of the spatial views."""

from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.views.arguments import Shape, limits, size_voxels, sizes_voxels
from medssl_jax.views.warp import (
    AffineMap,
    SpatialOp,
    extent_of,
    per_axis,
    spatial_op,
    with_size,
)


def rescaled_crop(
    *,
    rescaled_to: Sequence[int] | Sequence[Sequence[int]] | None = None,
    size: Sequence[int] | None = None,
    border: float = 0.0,
) -> SpatialOp:
    """Cut off the border, shrink the rest, cut `size` voxels at a random place.

    `border` goes at each edge, as a fraction of the image. What is left, r voxels along
    each of the last axes, is shrunk to a size drawn uniformly from the low to the high
    end of `rescaled_to`: by s = size / r, one draw for all axes. None keeps s at 1.

    The publication draws s from (0.1, 0.7) for images of any size, and states the range
    of sizes that come of it. Here all images of a run have one shape, `data.shape`, so
    that the sizes alone say it: for s in (0.1, 0.7), give 0.1 r and 0.7 r. Its Table I:

      2D: border 0.1, ((600, 600), (1200, 1200)) for crops of (224, 224) and of (92, 92),
        from images of (1500, 1500) or more
      3D, in-plane: border 0.1, ((112, 96), (250, 200)) for crops of (112, 96), and
        ((224, 192), (250, 200)) for (224, 192), which do not fit into smaller ones

    The border comes off before sizes are counted: (224, 192) would not fit into (250,
    200) less a border, either.

    Raises:
      ConfigError: if the crop is larger than the smallest image that it is cut from, or
        an image would have to be enlarged.

    Source: arXiv:2201.01283, section III-C and Table I.
    """
    name = "rescaled_crop"
    _, border = limits(f"{name}.border", (0.0, border), 0, 0.49)
    count, ends = None, None
    if size is not None:
        size = size_voxels(f"{name}.size", size)
        count = len(size)
    if rescaled_to is not None:
        ends = sizes_voxels(f"{name}.rescaled_to", rescaled_to, count)
        count = len(ends[0])
    axes = tuple(range(-(count or 2), 0))

    def output_shape(shape: Shape) -> Shape:
        return shape if size is None else with_size(shape, axes, size)

    def sample(key: PRNGKeyArray, shape: Shape) -> AffineMap:
        crop = output_shape(shape)[-len(axes) :]
        _check_fit(shape, border, crop, ends)
        extent = extent_of(shape, axes)
        rest = (1 - 2 * border) * extent
        low, high = (rest, rest) if ends is None else np.float32(ends)
        units = jax.random.uniform(key, (1 + len(axes),))
        rescaled = low + units[0] * (high - low)
        voxel = rest / rescaled  # in voxels of the image
        start = units[1:] * (rescaled - np.float32(crop))
        return per_axis(shape, axes, voxel, border * extent + voxel * start)

    return spatial_op(name, sample, output_shape=output_shape, touches=axes)


def _check_fit(shape, border, crop, ends):
    # 1e-6: .8 of 1500 is to be 1200
    left = tuple(int((1 - 2 * border) * n + 1e-6) for n in shape[-len(crop) :])
    of_image = (
        f"{left}, what a border of {border:g} leaves of an image of the spatial shape "
        f"{shape}"
    )
    low, high = ends or (left, left)
    if any(n > m for n, m in zip(high, left, strict=True)):
        raise ConfigError(
            f"rescaled_crop.rescaled_to {high} is larger than {of_image}: images would "
            "be enlarged; use at most that, a smaller border, or a larger data.shape"
        )
    if any(n > m for n, m in zip(crop, low, strict=True)):
        if ends is None:
            smallest = f"{of_image}; use at most that, a smaller border, or a larger"
            smallest += " data.shape"
        else:
            smallest = f"{low}, the smallest of rescaled_crop.rescaled_to; use at most"
            smallest += " that, or raise the low end, with data.shape if need be"
        raise ConfigError(f"rescaled_crop.size {crop} does not fit into {smallest}")
