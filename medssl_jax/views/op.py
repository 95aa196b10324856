"""What a view is made of: an operation samples its parameters, then applies them."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float


class Op(NamedTuple):
    """One augmentation of one image.

    sample: (key, shape) -> parameters, any pytree; `shape` is the spatial one
    apply: (parameters, image (*s, c) in [0, 1]) -> image (*t, c)

    An operation that happens at random samples the identity's parameters on a miss:
    under vmap both branches of a condition would be computed anyway. `sample` draws all
    its numbers from [0, 1) in one call, because each call costs XLA seconds to compile.
    """

    sample: Callable
    apply: Callable


def between(
    unit: Float[Array, "*n"], limits: tuple[float, float]
) -> Float[Array, "*n"]:
    """Map draws from [0, 1) to [low, high)."""
    low, high = limits
    return low + unit * (high - low)


def between_or(
    identity: float,
    units: Float[Array, "2"],
    limits: tuple[float, float],
    probability: float,
) -> Float[Array, ""]:
    """Map the first draw like `between` at `probability`, else give `identity`."""
    return jnp.where(units[1] < probability, between(units[0], limits), identity)
