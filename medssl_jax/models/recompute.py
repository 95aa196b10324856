"""What `config.running.recompute` keeps for the gradient: products, and no more."""

import functools

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array

_KEPT = "kept"

# Takes a module's class, or a function of a module, and gives it back: all that `keep`
# did not name is computed anew, norms, activations and sums.
recomputed = functools.partial(
    nn.remat, policy=jax.checkpoint_policies.save_only_these_names(_KEPT)
)


def keep(x: Array) -> Array:
    """Return `x`, which is costly to make, or made with other devices."""
    return checkpoint_name(x, _KEPT)
