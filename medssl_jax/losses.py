"""Losses of published methods: arrays in, one value per example out."""

import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp
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


def nt_xent(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> Float[Array, " b"]:
    """Return the mean of the two terms of each pair; its mean is that over 2N.

    Rows `first[i]` and `second[i]` are the positives; the negatives of a row are all
    other rows of both arrays, over all devices of `axis_name`. A row of zeros has no
    direction: its cosines count as 0.

    float32 at least. The largest array is the scores of the 2b rows of this device
    against all 2B.

    Source: SimCLR, arXiv:2002.05709, eq. 1. Its public code reports twice this.
    """
    scores, positive, _ = _pair_scores(first, second, temperature, axis_name)
    return _per_pair(logsumexp(scores, axis=1) - positive)


def nt_xent_and_accuracy(
    first: Float[Array, "b d"],
    second: Float[Array, "b d"],
    *,
    temperature: float,
    axis_name: str | None = None,
) -> tuple[Float[Array, " b"], Float[Array, " b"]]:
    """Return `nt_xent`, with each pair's share of rows nearest to their positive.

    From one matrix of scores. Nearest of all other rows: chance is 1 in 2B - 1.
    """
    scores, positive, place = _pair_scores(first, second, temperature, axis_name)
    found = lax.stop_gradient(scores).argmax(axis=1) == place
    loss = logsumexp(scores, axis=1) - positive
    return _per_pair(loss), _per_pair(found.astype(jnp.float32))


def _pair_scores(first, second, temperature, axis_name):
    """Score this device's 2b rows against all 2B, itself at -inf.

    Returns the scores, those of the positives (2b,) and their columns (2b,).
    """
    rows = jnp.concatenate([first, second])
    if jnp.finfo(rows.dtype).bits < 32:
        rows = rows.astype(jnp.float32)
    rows = _l2_normalize(rows)
    columns, start = rows, 0
    if axis_name is not None:
        columns = lax.all_gather(rows, axis_name, tiled=True)
        start = lax.axis_index(axis_name) * len(rows)
    # A GPU's or TPU's default precision would round cosines to 10 or 7 bits, and the
    # temperature multiplies that.
    scores = jnp.matmul(rows, columns.T, precision=lax.Precision.HIGHEST) / temperature
    own = jnp.arange(len(rows))
    itself = (start + own)[:, None] == jnp.arange(len(columns))[None]
    scores = jnp.where(itself, -jnp.inf, scores)
    positive = jnp.sum(rows * jnp.roll(rows, len(first), axis=0), axis=1) / temperature
    return scores, positive, start + jnp.roll(own, len(first))


def _per_pair(of_rows: Float[Array, " rows"]) -> Float[Array, " b"]:
    return of_rows.reshape(2, -1).mean(axis=0)


def _l2_normalize(x: Float[Array, "b d"]) -> Float[Array, "b d"]:
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    zero = square == 0.0  # both branches finite, or the gradient is nan
    norm = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return x / norm
