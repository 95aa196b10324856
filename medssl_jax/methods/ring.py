"""A queue of fixed length: the newest rows of all devices, in a ring on each."""

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from medssl_jax.errors import ConfigError

Ring = dict[str, Array]


def empty(shape: tuple[int, ...]) -> Ring:
    """Return a ring of zeros of `shape` (*a, n, d), which keeps n rows.

    rows: (*a, n, d); next: where the next row goes; filled: how many rows were given.
    """
    return {
        "rows": jnp.zeros(shape, jnp.float32),
        "next": jnp.zeros((), jnp.int32),
        "filled": jnp.zeros((), jnp.int32),
    }


def push(
    ring: Ring, rows: Float[Array, "*a b d"], axis_name: str | None = None
) -> Ring:
    """Write the `rows` of all devices over the oldest ones.

    Raises:
      ConfigError: if there are more of them than the ring holds.
    """
    if axis_name is not None:
        rows = lax.all_gather(rows, axis_name, axis=rows.ndim - 2, tiled=True)
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


def local_rows(ring: Ring, axis_name: str | None) -> Float[Array, "*a b d"]:
    """Return this device's share of the rows, which every device holds.

    Raises:
      ConfigError: if they cannot be shared evenly.
    """
    rows = ring["rows"]
    if axis_name is None:
        return rows
    axis, devices = rows.ndim - 2, lax.axis_size(axis_name)
    if rows.shape[axis] % devices:
        raise ConfigError(
            f"method.queue_length {rows.shape[axis]} is not divisible by {devices} "
            f"devices; use a multiple of {devices}"
        )
    share = rows.shape[axis] // devices
    start = lax.axis_index(axis_name) * share
    return lax.dynamic_slice_in_dim(rows, start, share, axis=axis)
