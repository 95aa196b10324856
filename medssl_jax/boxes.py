"""Axis-aligned boxes in two or three dimensions: overlap, and one box for each thing.

A box of r axes is 2 r numbers: its lower corner, then its upper, in the axes' order.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Integer, Real

Boxes = Real[Array, "... corners"]  # pixels may be integers


def iou(
    boxes: Real[Array, "n corners"], others: Real[Array, "m corners"]
) -> Float[Array, "n m"]:
    """Return the intersection over the union of each pair; float32 at least.

    0 where both are without extent.
    """
    shared, union, _ = overlap(boxes[:, None], others[None])
    empty = union <= 0
    return jnp.where(empty, 0.0, shared / jnp.where(empty, 1.0, union))


def overlap(first: Boxes, second: Boxes) -> tuple[Array, Array, Array]:
    """Return the sizes of intersection, of union, and of the box around both.

    Area or volume, of boxes at the same place of arrays that broadcast; float32 at
    least. A box whose upper corner is below its lower has size 0.
    """
    first, second = map(float32_at_least, (first, second))
    (low, high), (other_low, other_high) = corners(first), corners(second)
    shared = _size(jnp.maximum(low, other_low), jnp.minimum(high, other_high))
    union = _size(low, high) + _size(other_low, other_high) - shared
    around = _size(jnp.minimum(low, other_low), jnp.maximum(high, other_high))
    return shared, union, around


def corners(boxes: Boxes) -> tuple[Real[Array, "... r"], Real[Array, "... r"]]:
    """Return the lower and the upper corners."""
    low, high = jnp.split(boxes, 2, axis=-1)
    return low, high


@functools.partial(jax.jit, static_argnames="iou")
def nms(
    boxes: Real[Array, "n corners"],
    scores: Float[Array, " n"],
    kinds: Integer[Array, " n"],
    *,
    iou: float,
) -> Bool[Array, " n"]:
    """Return which boxes are kept: those that no better one of their kind covers.

    From the best on, a kept box drops all later ones of its kind whose intersection
    over union with it is above `iou`; of equal scores the first is the better. Shapes
    are fixed: give boxes that are none a kind of their own.

    Source: greedy non-maximum suppression, as torchvision's `batched_nms` has it.
    """
    order = jnp.argsort(-scores, stable=True)
    boxes, kinds = boxes[order], kinds[order]
    covers = _pairwise_iou(boxes, boxes) > iou
    covers &= kinds[:, None] == kinds[None]
    covers &= jnp.triu(jnp.ones_like(covers), 1)  # the better of each pair

    # The one solution of "kept is who is covered by none that is kept". What is right
    # for the best t boxes is so for one more after each round; mostly a few will do.
    def is_moving(state):
        kept, before = state
        return jnp.any(kept != before)

    def again(state):
        kept, _ = state
        return ~jnp.any(covers & kept[:, None], axis=0), kept

    everything = jnp.ones(len(boxes), bool)
    kept, _ = lax.while_loop(is_moving, again, again((everything, everything)))
    return jnp.zeros_like(kept).at[order].set(kept)


_pairwise_iou = iou  # which the keyword of `nms` hides


def _size(low, high):
    sides = jnp.maximum(high - low, 0.0)
    # not jnp.prod: of many pairs it is an array of its own on a CPU
    return functools.reduce(
        jnp.multiply, (sides[..., axis] for axis in range(sides.shape[-1]))
    )


def float32_at_least(x: Real[Array, "..."]) -> Float[Array, "..."]:
    """Return x, or it as float32 if it is of fewer bits or of integers."""
    wide = jnp.issubdtype(x.dtype, jnp.floating) and jnp.finfo(x.dtype).bits >= 32
    return x if wide else x.astype(jnp.float32)
