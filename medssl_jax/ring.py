"""A queue of fixed length on the device: the newest rows, in a ring."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from medssl_jax.errors import ConfigError

Ring = dict[str, Array]


def empty(shape: tuple[int, ...]) -> Ring:
    """Return a ring of zeros; the last but one axis of `shape` (*a, n, d) is its length.

    rows: (*a, n, d); next: where the next row goes; filled: how many rows were given.
    """
    return {
        "rows": jnp.zeros(shape, jnp.float32),
        "next": jnp.zeros((), jnp.int32),
        "filled": jnp.zeros((), jnp.int32),
    }


def push(ring: Ring, rows: Float[Array, "*a b d"]) -> Ring:
    """Write `rows` over the oldest ones.

    Raises:
      ConfigError: if there are more of them than the ring holds.
    """
    length, new = ring["rows"].shape[-2], rows.shape[-2]
    if new > length:
        raise ConfigError(
            f"method.queue_length {length} is less than the {new} embeddings that one "
            "micro-batch adds; use a longer queue, or 0 for none"
        )
    places = (ring["next"] + jnp.arange(new)) % length
    return {
        "rows": ring["rows"].at[..., places, :].set(rows),
        "next": (ring["next"] + new) % length,
        "filled": jnp.minimum(ring["filled"] + new, length),
    }


def is_full(ring: Ring) -> Bool[Array, ""]:
    """Say whether every row was given."""
    return ring["filled"] == ring["rows"].shape[-2]
