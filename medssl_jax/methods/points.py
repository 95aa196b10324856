"""Points of a pyramid, each of which answers for at most one box: FCOS's targets.

A level of stride s has a point for each of its places, k s from the image's corner, as
torchvision has them, or s / 2 + k s, in the middle of what the place sees, as the paper
does. Everything is in pixels (voxels in 3D), lower before upper.

Source: FCOS, arXiv:1904.01355; the numbers are those of torchvision's FCOS.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from medssl_jax.boxes import corners

RADIUS = 1.5  # strides from a box's middle within which points may answer for it
_SMALLEST, _LARGEST = 4, 8  # strides to a box's farthest face, on levels between others


class Points(NamedTuple):
    """Points of all levels, the finest first, rows before columns.

    at: where they lie.
    strides: of their levels, along each axis.
    least, most: between these, both excluded, lies the distance to the farthest face of
      boxes that a level answers for.
    """

    at: Float[np.ndarray, "p r"]
    strides: Float[np.ndarray, "p r"]
    least: Float[np.ndarray, " p"]
    most: Float[np.ndarray, " p"]


def points_of(
    shapes: Sequence[tuple[int, ...]],
    strides: Sequence[tuple[float, ...]],
    *,
    middle: bool,
) -> Points:
    """Return the points of levels of these shapes and, along each axis, strides.

    A level's size is that of its largest stride.

    Args:
      middle: whether points lie half a stride on.
    """
    parts = []
    for level, (shape, stride) in enumerate(zip(shapes, strides, strict=True)):
        places = np.stack(np.indices(shape), axis=-1).reshape(-1, len(shape))
        at = (places + (0.5 if middle else 0.0)) * stride
        last = level + 1 == len(shapes)
        least = _SMALLEST * max(stride) if level else 0.0
        most = math.inf if last else _LARGEST * max(stride)
        each = np.full(len(at), least), np.full(len(at), most)
        parts.append((at, np.zeros_like(at) + stride, *each))
    return Points(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def matched(
    points: Points, boxes: Float[Array, "k corners"], there: Bool[Array, " k"]
) -> Integer[Array, " p"]:
    """Return which box each point answers for, -1 for none.

    It lies inside the box and near its middle, and its level answers for boxes of that
    size. Of several the smallest, then the first.

    Args:
      there: which rows are boxes.
    """
    low, high = corners(boxes)
    middle = (low + high) / 2
    away = jnp.abs(points.at[:, None] - middle[None]) / points.strides[:, None]
    to_faces = faces(points.at[:, None], boxes[None])
    farthest = to_faces.max(axis=-1)
    may = away.max(axis=-1) < RADIUS  # (p, k)
    may &= to_faces.min(axis=-1) > 0
    may &= (farthest > points.least[:, None]) & (farthest < points.most[:, None])
    may &= there[None]
    size = jnp.where(may, jnp.prod(high - low, axis=-1)[None], jnp.inf)
    return jnp.where(jnp.isfinite(size.min(axis=1)), size.argmin(axis=1), -1)


def faces(
    at: Float[Array | np.ndarray, "... r"], boxes: Float[Array, "... corners"]
) -> Float[Array, "... corners"]:
    """Return how far a point is from a box's lower faces, then from its upper ones."""
    low, high = corners(boxes)
    return jnp.concatenate(jnp.broadcast_arrays(at - low, high - at), axis=-1)


def boxes_at(
    points: Points, distances: Float[Array, "... p corners"]
) -> Float[Array, "... p corners"]:
    """Return the boxes whose faces are so many strides from the points."""
    low, high = corners(distances * np.tile(points.strides, 2))
    return jnp.concatenate([points.at - low, points.at + high], axis=-1)


def centreness(to_faces: Float[Array, "... corners"]) -> Float[Array, "..."]:
    """Return how near to a box's middle a point inside it is, 0 to 1.

    The geometric mean over axes of the nearer face's distance over the farther's. In 2D
    it is the paper's equation 3.
    """
    low, high = corners(to_faces)
    near, far = jnp.minimum(low, high), jnp.maximum(low, high)
    return jnp.prod(near / far, axis=-1) ** (1 / near.shape[-1])
