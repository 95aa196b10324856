"""Patches on a grid of cells, each shaken inside its own."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Key

from medssl_jax.errors import ConfigError
from medssl_jax.ranges import Count, Natural
from medssl_jax.views import intensity


def shaken(
    key: Key[Array, ""],
    image: Float[Array, "*s c"],
    *,
    grid: Count,
    jitter: Natural,
    standardise: bool,
) -> Float[Array, "p *t c"]:
    """Cut an image into grid ** n cells, and out of each a patch at a random place.

    A cell has s // grid voxels a side, what is over lies half at each border. A patch
    has `jitter` fewer, which are the gap between neighbours in the mean: edges that go
    on would tell which ones they are.

    Args:
      jitter: voxels; the first corner of each patch is drawn among 0 to `jitter` in
        its cell, for each axis.
      standardise: bring every patch to mean 0 and deviation 1, each on its own:
        intensity that drifts through the image would tell where it was. A constant one
        becomes 0.

    Returns:
      Patches in the order of their cells, the last axis fastest.

    Raises:
      ConfigError: if a cell has no more than `jitter` voxels.
    """
    *sides, channels = image.shape
    cells = [side // grid for side in sides]
    size = [cell - jitter for cell in cells]
    if min(size) < 1:
        raise ConfigError(
            f"method.jitter is {jitter}: the cells of a grid of {grid} a side in an image "
            f"of {' x '.join(map(str, sides))} have {' x '.join(map(str, cells))} voxels, "
            "and a patch would have none; lower it, or make config.data.shape larger"
        )
    margin = [
        (side - grid * cell) // 2 for side, cell in zip(sides, cells, strict=True)
    ]
    at = np.array(list(itertools.product(range(grid), repeat=len(sides))))
    corners = np.int32(margin + at * cells)
    shaken = corners + jax.random.randint(key, corners.shape, 0, jitter + 1)

    def cut(corner):
        start = (*corner, jnp.zeros_like(corner[0]))
        return lax.dynamic_slice(image, start, (*size, channels))

    found = jax.vmap(cut)(shaken)
    return _each_standardised(found) if standardise else found


def size_of(grid: int, jitter: int) -> str:
    """Say which settings make `shaken`'s patches small, for errors."""
    return f"method.jitter {jitter}, with {grid} cells a side of config.data.shape,"


def overlapping(
    image: Float[Array, "*s c"], *, size: Count, stride: Count, standardise: bool
) -> Float[Array, "rows places *t c"]:
    """Cut patches of `size` voxels a side, `stride` from one to the next.

    What is over lies half at each border.

    Returns:
      The first axis of the grid, and all others in one, the last one fastest; none
      where the image is smaller than a patch.
    """
    *sides, channels = image.shape
    counts = [max(0, (side - size) // stride + 1) for side in sides]
    if min(counts) == 0:
        return jnp.zeros((0, 0, *[size] * len(sides), channels), image.dtype)
    cut = image
    for axis, (side, count) in enumerate(zip(sides, counts, strict=True)):
        margin = (side - size - (count - 1) * stride) // 2
        at = margin + stride * np.arange(count)[:, None] + np.arange(size)
        cut = jnp.take(cut, at.ravel(), axis, mode="clip")
    cut = cut.reshape(*(k for count in counts for k in (count, size)), channels)
    axes = range(cut.ndim - 1)
    cut = cut.transpose(*axes[::2], *axes[1::2], -1)
    found = cut.reshape(-1, *cut.shape[len(sides) :])
    found = _each_standardised(found) if standardise else found
    return found.reshape(counts[0], -1, *found.shape[1:])


def _each_standardised(patches):
    op = intensity.standardise()
    return jax.vmap(lambda patch: op.apply((), patch))(patches)
