"""Losses of published methods: arrays in, one value per example out."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def normalized_mse(
    prediction: Float[Array, "b d"], target: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """Return 2 - 2 cos(prediction, target) of each row, between 0 and 4.

    The squared distance of the two after l2-normalisation. A row of zeros has no
    direction: its cosine counts as 0, its gradient as 0.

    Source: BYOL, arXiv:2006.07733, eq. 2; BYOLMed3D, eq. 1.
    """
    cosine = jnp.sum(_l2_normalize(prediction) * _l2_normalize(target), axis=-1)
    return 2.0 - 2.0 * cosine


def _l2_normalize(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    zero = square == 0.0  # both branches finite, or the gradient is nan
    norm = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return x / norm
