"""Stochastic depth: training leaves residual branches out, for each example its own."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from medssl_jax.errors import ConfigError


def rates(drop_path: float, blocks: int) -> tuple[float, ...]:
    """Return each block's rate, rising evenly from 0 at the first to `drop_path`.

    The first of the paper's blocks is left out at times too; recipes state rates that
    rise from 0, as in timm.

    Raises:
      ConfigError: unless 0 <= drop_path < 1.

    Source: arXiv:1603.09382, section 3.
    """
    if not 0 <= drop_path < 1:
        raise ConfigError(
            f"config.running.drop_path is {drop_path}; use 0 or more, below 1"
        )
    return tuple(drop_path * i / max(blocks - 1, 1) for i in range(blocks))


def branch_kept(
    y: Float[Array, "b *s c"], keys: Key[Array, " b"] | None, *, block: int, rate: float
) -> Float[Array, "b *s c"]:
    """Return a block's residual branch, 0 for examples that leave it out.

    The others' is divided by how often it is kept, so that the expected value is that
    of evaluation.

    Args:
      y: the branch.
      keys: one of each example; None, as in evaluation, keeps all.
      block: its number: each block draws anew.
      rate: the share of examples that leave it out.
    """
    if keys is None or rate == 0:
        return y

    def scale(key):
        kept = jax.random.bernoulli(jax.random.fold_in(key, block), 1 - rate)
        return jnp.where(kept, 1 / (1 - rate), 0.0)

    each = jax.vmap(scale)(keys).astype(y.dtype)
    return y * each.reshape((-1,) + (1,) * (y.ndim - 1))
