"""Stochastic depth: training leaves blocks out, for each example its own."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from medssl_jax.errors import ConfigError


def rates(last: float, *, blocks: int) -> tuple[float, ...]:
    """Return how often each block is left out: in a line from 0, the image, to `last`.

    Raises:
      ConfigError: unless `last` is at least 0 and below 1.

    Source: arXiv:1603.09382, equation 4.
    """
    if not 0 <= last < 1:
        raise ConfigError(
            f"config.running.drop_path is {last}; use a rate from 0.0 to below 1.0"
        )
    return tuple(last * (block + 1) / blocks for block in range(blocks))


def drop(
    branch: Float[Array, "b *s c"], keys: Key[Array, "b"], *, block: int, rate: float
) -> Float[Array, "b *s c"]:
    """Return the branch of a residual block, 0 for examples that leave it out.

    Those that keep it have 1 / (1 - rate) times as much, so that the mean stays, and
    evaluation need not know of the rate, as in timm; the paper scales evaluation.

    Args:
      keys: of each example, the same for all blocks of a network.
      block: its number in the network.
      rate: of being left out.
    """

    def kept(key):
        return jax.random.bernoulli(jax.random.fold_in(key, block), 1 - rate)

    each = jax.vmap(kept)(keys).reshape((-1,) + (1,) * (branch.ndim - 1))
    return jnp.where(each, branch / (1 - rate), jnp.zeros((), branch.dtype))
