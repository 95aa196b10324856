"""Equipartitioned assignment of samples to prototypes: Sinkhorn-Knopp."""

import jax.numpy as jnp
from jax import lax
from jax.nn import logsumexp
from jaxtyping import Array, Float


def sinkhorn(
    scores: Float[Array, "b k"],
    *,
    epsilon: float,
    iterations: int = 3,
    axis_name: str | None = None,
) -> Float[Array, "b k"]:
    """Return soft assignments of b samples to k prototypes, all used about equally.

    The entropic optimal transport between uniform marginals, by alternately scaling
    prototypes to a share of 1/k each and samples to 1/b, the samples last: rows of the
    result sum to 1. No gradient flows through it: assignments are targets.

    Samples are those of all devices of `axis_name`. Samples' scales are of this device;
    prototypes' cross devices, as k maxima and k sums an iteration. In the log domain
    and float32 at least, where exp(1 / epsilon) would overflow.

    Args:
      scores: cosines of this device's samples with the prototypes.
      epsilon: weight of the entropy; smaller assigns harder.
      iterations: of both scalings.

    Source: SwAV, arXiv:2006.09882, eq. 3 to 5; Cuturi, arXiv:1306.0895.
    """
    scores = lax.stop_gradient(scores)
    if jnp.finfo(scores.dtype).bits < 32:
        scores = scores.astype(jnp.float32)
    # Totals cancel in the scalings that follow: only their ratios are kept.
    log_q = scores / epsilon
    for _ in range(iterations):
        log_q = log_q - _logsumexp_over_samples(log_q, axis_name)
        log_q = log_q - logsumexp(log_q, axis=1, keepdims=True)
    return jnp.exp(log_q)


def _logsumexp_over_samples(
    log_q: Float[Array, "b k"], axis_name: str | None
) -> Float[Array, "1 k"]:
    if axis_name is None:
        return logsumexp(log_q, axis=0, keepdims=True)
    largest = lax.pmax(log_q.max(axis=0, keepdims=True), axis_name)
    total = jnp.exp(log_q - largest).sum(axis=0, keepdims=True)
    return largest + jnp.log(lax.psum(total, axis_name))
