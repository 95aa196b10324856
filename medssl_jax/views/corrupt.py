"""Group masked model learning: which pixels are hidden, and what stands there."""

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, PRNGKeyArray

from medssl_jax.errors import ConfigError
from medssl_jax.ranges import Count, Part

_RECTANGLES = 128  # of 1500 draws of the published setting none needed more than 99
_LEAST = 0.5  # of the image, or `most` where that is less


def rectangles(
    key: PRNGKeyArray,
    shape: tuple[int, ...],
    *,
    most: Part,
    side: Part,
    align: Count,
) -> Bool[Array, "*s"]:
    """Return where an image of `shape` is corrupted: in rectangles, or boxes in 3D.

    Rectangles are added until they cover a fraction drawn from U(min(.5, most), most),
    128 at most. Their sides are uniform up to a fraction `side` of the image's, their
    origins such that every pixel is covered as often: up to all but one row of them lie
    outside. (The public code keeps them inside, and hides a corner at .05, the centre
    at .72.)

    Args:
      key: of this image.
      shape: of the image, (*s,).
      most: the largest fraction aimed at; the last rectangle can exceed it.
      side: the longest side, as a fraction of the image's.
      align: side of the patches whose grid the rectangles keep to; 1 is none.

    Raises:
      ConfigError: if `align` does not divide `shape`, or a fraction is none.

    Source: arXiv:2205.14986 (GMML), and its public code for the fractions: "up to 70 %"
    is U(.5, .7) there.
    """
    for field, share in (("most", most), ("side", side)):
        if not 0 < share <= 1:
            raise ConfigError(f"corrupt.{field} is {share}; use more than 0, at most 1")
    if any(extent % align for extent in shape):
        raise ConfigError(
            f"corrupt.align {align} does not divide images of "
            f"{' x '.join(map(str, shape))} voxels; use a divisor, or 1"
        )
    grid = [extent // align for extent in shape]
    fraction_key, side_key, origin_key = jax.random.split(key, 3)
    fraction = jax.random.uniform(
        fraction_key, (), minval=min(_LEAST, most), maxval=most
    )
    drawn = (_RECTANGLES, len(grid))
    longest = jnp.array([max(1, int(side * extent)) for extent in grid])[None]
    sides = jax.random.randint(side_key, drawn, 1, longest + 1)
    origins = jax.random.randint(origin_key, drawn, 1 - sides, jnp.array(grid)[None])

    def add(i, mask):
        covered = jnp.ones((), bool)
        for axis, extent in enumerate(grid):
            place = jnp.arange(extent) - origins[i, axis]
            along = (place >= 0) & (place < sides[i, axis])
            spread = [1] * len(grid)
            spread[axis] = extent
            covered = covered & along.reshape(spread)
        return mask | (covered & (jnp.mean(mask) < fraction))

    mask = lax.fori_loop(0, _RECTANGLES, add, jnp.zeros(grid, bool))
    for axis in range(len(grid)):
        mask = jnp.repeat(mask, align, axis=axis)
    return mask
