"""Losses of published methods: arrays in, one value per example out."""

import jax.numpy as jnp
from jax import lax
from jax.nn import log_softmax, logsumexp
from jaxtyping import Array, Float


def normalized_mse(
    prediction: Float[Array, "b d"], target: Float[Array, "b d"]
) -> Float[Array, " b"]:
    """Return 2 - 2 cos(prediction, target) of each row, between 0 and 4.

    The squared distance of the two after l2-normalisation. A row of zeros has no
    direction: its cosine counts as 0, its gradient as 0.

    Source: BYOL, arXiv:2006.07733, eq. 2; BYOLMed3D, eq. 1.
    """
    cosine = jnp.sum(l2_normalize(prediction) * l2_normalize(target), axis=-1)
    return 2.0 - 2.0 * cosine


def l2_normalize(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """Divide each row by its length; a row of zeros stays, and has gradient 0."""
    square = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    zero = square == 0.0  # both branches finite, or the gradient is nan
    norm = jnp.sqrt(jnp.where(zero, jnp.ones_like(square), square))
    return x / norm


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


def swapped_prediction(
    scores: Float[Array, "v b k"],
    assignments: Float[Array, "a b k"],
    *,
    temperature: float,
) -> Float[Array, " b"]:
    """Return how badly each view predicts the assignments of the others.

    The cross-entropy of softmax(scores / temperature) against the assignments of each
    of the first `a` views, meaned over the v - 1 other views and over a. Uniform
    predictions, or a network that sees no difference between images, give ln k.

    Args:
      scores: cosines of v views of b samples with k prototypes.
      assignments: of the first a of the views; rows sum to 1.

    Source: SwAV, arXiv:2006.09882, eq. 2 and section 3.3 (multi-crop).
    """
    if jnp.finfo(scores.dtype).bits < 32:
        scores = scores.astype(jnp.float32)
    log_p = log_softmax(scores / temperature, axis=-1)
    cross_entropy = -jnp.einsum(
        "abk,vbk->avb", assignments, log_p, precision=lax.Precision.HIGHEST
    )
    views, assigned = len(scores), len(assignments)
    others = jnp.arange(views)[None] != jnp.arange(assigned)[:, None]
    total = jnp.where(others[..., None], cross_entropy, 0.0).sum(axis=(0, 1))
    return total / (assigned * (views - 1))


def _pair_scores(first, second, temperature, axis_name):
    """Score this device's 2b rows against all 2B, itself at -inf.

    Returns the scores, those of the positives (2b,) and their columns (2b,).
    """
    rows = jnp.concatenate([first, second])
    if jnp.finfo(rows.dtype).bits < 32:
        rows = rows.astype(jnp.float32)
    rows = l2_normalize(rows)
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
