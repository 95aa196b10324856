"""Targets follow their image through a view: masks by nearest voxels, boxes by corners."""

import itertools
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from medssl_jax.data.source import NO_BOX, UNLABELLED
from medssl_jax.views.arguments import Shape
from medssl_jax.views.interpolate import along_axes, nearest_grid, nearest_matrix
from medssl_jax.views.warp import AffineMap


class Placed(NamedTuple):
    """An image (*t, c) that a view has made, and where in its input each voxel lay.

    place: of the output's voxels in the input.
    inputs: spatial shape of the input, that of its targets.
    mixes: axes that a rotation mixes, counted from the right.
    """

    image: Float[Array, "*t c"]
    place: AffineMap
    inputs: Shape
    mixes: frozenset[int]


def mask_through(placed: Placed, mask: Integer[Array, "..."]) -> Integer[Array, "..."]:
    """Return the mask of the view's image: (*s,) -> (*t,), or (*s, k) -> (*t, k).

    The nearest voxel's class; 0, the background, beyond the input.
    """
    _, place, inputs, mixes = placed
    outputs = placed.image.shape[:-1]
    planes = mask if mask.ndim > len(inputs) else mask[..., None]
    # as floats: one voxel of weight 1 is selected, and numbers to 255 are exact
    values = planes.astype(jnp.float32)
    matrices = {
        axis: nearest_matrix(
            place.matrix[axis, axis], place.offset[axis], inputs[axis], outputs[axis]
        )
        for axis in range(-len(inputs), 0)
        if axis not in mixes
    }
    values = along_axes(matrices, values)
    if mixes:
        axes = tuple(sorted(mixes))
        sizes = tuple(outputs[axis] for axis in axes)
        of_axes = place.matrix[np.ix_(axes, axes)], place.offset[np.array(axes)]
        values = nearest_grid(*of_axes, axes, sizes, values)
    return values.reshape(*outputs, *mask.shape[len(inputs) :]).astype(mask.dtype)


def planes_through(
    placed: Placed, planes: Integer[Array, " f"]
) -> Integer[Array, " t"]:
    """Return the labels of the view's slices: of the one in which each one's middle lies.

    `UNLABELLED` beyond the input.
    """
    outputs = placed.image.shape[:-1]
    middles = [jnp.arange(outputs[0], dtype=jnp.float32) + 0.5]
    middles += [jnp.full(outputs[0], n / 2, jnp.float32) for n in outputs[1:]]
    row = placed.place.matrix[0][:, None]
    place = jnp.sum(row * jnp.stack(middles), axis=0) + placed.place.offset[0]
    index = jnp.floor(place).astype(jnp.int32)
    there = (index >= 0) & (index < len(planes))
    return jnp.where(there, planes[jnp.clip(index, 0, len(planes) - 1)], UNLABELLED)


def boxes_through(placed: Placed, boxes: Float[Array, "m _"]) -> Float[Array, "m _"]:
    """Return the boxes (m, 2 n + 1) of the view's image, as fractions of it.

    Rows are low corner, high corner, kind, as `data.draw.Draw` has them. A turned box
    becomes the upright one around its corners. What leaves the image is cut off; a box
    whose centre does is none any more: its kind becomes `NO_BOX`.
    """
    n = len(placed.inputs)
    inputs = jnp.float32(placed.inputs)
    outputs = jnp.float32(placed.image.shape[:-1])
    low, high = boxes[:, :n], boxes[:, n : 2 * n]
    sides = np.array(list(itertools.product((0, 1), repeat=n)), np.float32)  # (2^n, n)
    corners = low[:, None] + sides[None] * (high - low)[:, None]
    # y = M^-1 (x - offset); solved in float32, for positions
    inverse = jnp.linalg.inv(placed.place.matrix)
    away = corners * inputs[None, None] - placed.place.offset[None, None]
    moved = jnp.sum(inverse[None, None] * away[:, :, None], axis=-1)
    moved = moved / outputs[None, None]
    new_low, new_high = moved.min(axis=1), moved.max(axis=1)
    centre = (new_low + new_high) / 2
    inside = jnp.all((centre >= 0) & (centre <= 1), axis=1, keepdims=True)
    kind = jnp.where(inside, boxes[:, 2 * n :], jnp.float32(NO_BOX))
    cut = jnp.clip(jnp.concatenate([new_low, new_high], axis=1), 0, 1)
    there = kind != NO_BOX
    return jnp.concatenate([jnp.where(there, cut, 0), kind], axis=1)
