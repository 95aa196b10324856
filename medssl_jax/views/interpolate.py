"""Interpolation by one small matrix per axis, or by one grid where axes mix.

Positions are in voxels from the image's outer edge: voxel i is centred at i + 0.5
("half-pixel centres", as in PIL, jax.image and torch with align_corners=False), and an
image of n voxels covers [0, n]. What lies outside is 0.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float


def along_axes(
    matrices: Mapping[int, Float[Array, "out in"]], image: Float[Array, "*s c"]
) -> Float[Array, "*t c"]:
    """Multiply each spatial axis of `image`, counted from the right, by its matrix."""
    for axis, matrix in sorted(matrices.items()):
        last = jnp.moveaxis(image, axis - 1, -1)  # the channels come after
        # A GPU's or TPU's default precision would round intensities to 10 or 7 bits.
        last = jnp.matmul(last, matrix.T, precision=jax.lax.Precision.HIGHEST)
        image = jnp.moveaxis(last, -1, axis - 1)
    return image


def axis_matrix(
    scale: Float[Array, ""], offset: Float[Array, ""], inputs: int, outputs: int
) -> Float[Array, "outputs inputs"]:
    """Build the matrix that reads voxel o at `scale * (o + 0.5) + offset`.

    Linear interpolation between `inputs` voxels; shrinking widens the triangle to
    |scale|, so that every input voxel counts (antialiasing, as in PIL and jax.image).
    """
    positions = scale * _centres(outputs) + offset
    inside = (positions >= 0) & (positions <= inputs)
    weights = _triangle(positions, inputs, jnp.maximum(jnp.abs(scale), 1))
    return jnp.where(inside[:, None], weights, 0)


def nearest_matrix(
    scale: Float[Array, ""], offset: Float[Array, ""], inputs: int, outputs: int
) -> Float[Array, "outputs inputs"]:
    """Build the matrix that reads the voxel around `scale * (o + 0.5) + offset`."""
    positions = scale * _centres(outputs) + offset
    index = jnp.floor(positions)[:, None]
    chosen = index == jnp.arange(inputs, dtype=jnp.float32)[None]
    # at the far edge exactly, as `axis_matrix` has it, the last voxel is meant
    last = (positions == inputs)[:, None] & (jnp.arange(inputs) == inputs - 1)[None]
    return jnp.where(chosen | last, jnp.float32(1), jnp.float32(0))


def gaussian_matrix(sigma: Float[Array, ""] | float, n: int) -> Float[Array, "n n"]:
    """Build the matrix that blurs an axis of n voxels with a Gaussian of `sigma`.

    Not cut off: every radius costs the same. At the border the weights are those
    inside, made to sum to 1.
    """
    index = jnp.arange(n, dtype=jnp.float32)
    distance = index[:, None] - index[None]
    # the floor makes sigma 0 the identity: exp(-5000) is 0, exp(0) is 1
    weights = jnp.exp(-0.5 * (distance / jnp.maximum(sigma, 0.01)) ** 2)
    return weights / weights.sum(axis=1, keepdims=True)


def affine_grid(
    matrix: Float[Array, "k k"],
    offset: Float[Array, "k"],
    axes: tuple[int, ...],
    outputs: tuple[int, ...],
    image: Float[Array, "*s c"],
) -> Float[Array, "*t c"]:
    """Read the output voxel centred at y from `matrix @ y + offset`, over `axes`.

    `axes` ascend and count spatial axes from the right; `outputs` is their new size.
    All other axes, and the channels, share one grid. Linear interpolation.
    """
    softened = _soften(matrix, axes, image)
    return _through_grid(matrix, offset, axes, outputs, softened, order=1)


def nearest_grid(
    matrix: Float[Array, "k k"],
    offset: Float[Array, "k"],
    axes: tuple[int, ...],
    outputs: tuple[int, ...],
    image: Float[Array, "*s c"],
) -> Float[Array, "*t c"]:
    """Read as `affine_grid` does, the nearest voxel."""
    return _through_grid(matrix, offset, axes, outputs, image, order=0)


def _through_grid(matrix, offset, axes, outputs, image, *, order):
    inputs = [image.shape[axis - 1] for axis in axes]
    grid = jnp.meshgrid(*map(_centres, outputs), indexing="ij", sparse=True)
    positions = [
        sum((matrix[i, j] * grid[j] for j in range(len(axes))), offset[i])
        for i in range(len(axes))
    ]
    inside = jnp.stack(
        [(p >= 0) & (p <= n) for p, n in zip(positions, inputs, strict=True)]
    ).all(0)

    places = [axis - 1 for axis in axes]
    ends = list(range(-len(axes), 0))
    last = jnp.moveaxis(image, places, ends)
    rest = last.shape[: -len(axes)]
    planes = last.reshape(-1, *inputs)
    indices = [p - 0.5 for p in positions]
    read = jax.vmap(
        lambda plane: map_coordinates(plane, indices, order, mode="nearest")
    )
    turned = jnp.where(inside[None], read(planes), 0)
    return jnp.moveaxis(turned.reshape(*rest, *outputs), ends, places)


def _soften(
    matrix: Float[Array, "k k"], axes: tuple[int, ...], image: Float[Array, "*s c"]
) -> Float[Array, "*s c"]:
    """Blur what the grid would otherwise skip between two of its samples.

    The samples are `spread` voxels apart along an input axis. A triangle of that width
    has the variance spread^2 / 6, of which linear interpolation brings 1 / 6.
    """
    squared_spread = jnp.sum(matrix**2, axis=1)
    widths = jnp.sqrt(jnp.maximum(squared_spread - 1, 1))
    sizes = [image.shape[axis - 1] for axis in axes]
    blurs = [_triangle(_centres(n), n, widths[i]) for i, n in enumerate(sizes)]
    return along_axes(dict(zip(axes, blurs, strict=True)), image)


def _triangle(
    positions: Float[Array, "out"], inputs: int, width: Float[Array, ""]
) -> Float[Array, "out in"]:
    """Weight `inputs` voxels by their distance to each position; rows sum to 1."""
    distance = jnp.abs(positions[:, None] - _centres(inputs)[None])
    weights = jnp.maximum(1 - distance / width, 0)
    total = weights.sum(axis=1, keepdims=True)
    return weights / jnp.maximum(total, np.finfo(np.float32).tiny)


def _centres(n: int) -> Float[Array, "n"]:
    return jnp.arange(n, dtype=jnp.float32) + 0.5
