"""How prototypes are used: the signs by which a collapse of clustering is known."""

import math
from collections.abc import Mapping

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

_SAMPLES_EACH = 10  # a prototype counts as unused after so many samples per prototype
_STUCK = 0.99  # of ln K
_FEW = 0.1  # of the prototypes


def never(prototypes: int) -> Int[Array, " k"]:
    """Return micro-batches since each prototype was used: as many as never."""
    return jnp.full(prototypes, jnp.iinfo(jnp.int32).max // 2)


def after(
    idle: Int[Array, " k"], scores: Float[Array, "a n k"], axis_name: str | None
) -> Int[Array, " k"]:
    """Count one more micro-batch; a prototype is used if it is a sample's nearest."""
    nearest = lax.stop_gradient(scores).argmax(axis=-1).reshape(-1)
    used = jnp.zeros(len(idle), jnp.int32).at[nearest].set(1)
    if axis_name is not None:
        used = lax.pmax(used, axis_name)
    longer = jnp.minimum(idle + 1, jnp.iinfo(jnp.int32).max // 2)
    return jnp.where(used > 0, 0, longer)


def share(idle: Int[Array, " k"], samples: int) -> Float[Array, ""]:
    """Return the share of K prototypes that the last 10 K samples used.

    Args:
      samples: of one micro-batch, of all devices.
    """
    recent = math.ceil(_SAMPLES_EACH * len(idle) / samples)
    return jnp.mean(idle < recent, dtype=jnp.float32)


def entropy(codes: Float[Array, "a n k"]) -> Float[Array, ""]:
    """Return the mean entropy of the codes over ln K: 1 is uniform, 0 one prototype."""
    log_q = jnp.log(jnp.maximum(codes, jnp.finfo(codes.dtype).tiny))
    per_sample = -jnp.sum(codes * log_q, axis=-1)
    return per_sample.mean() / math.log(codes.shape[-1])


def verdict(metrics: Mapping[str, float], modality: str, prototypes: int) -> str:
    """Say what is wrong with a modality's clusters, "" if nothing is.

    A loss at ln K is that of predictions that do not depend on the image.
    """
    key, of = (f"/{modality}", f"{modality}: ") if modality else ("", "")
    chance = math.log(prototypes)
    loss = metrics[f"cross_entropy{key}"]
    if loss > _STUCK * chance:
        return (
            f"{of}the loss {loss:.3f} is not below ln {prototypes} = {chance:.3f}, "
            "that of predictions which do not depend on the image (collapse)"
        )
    in_use = metrics[f"prototypes_in_use{key}"]
    if in_use < _FEW:
        return f"{of}only {in_use:.1%} of {prototypes} prototypes are in use"
    return ""
