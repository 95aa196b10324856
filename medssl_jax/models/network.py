"""A network as two pure functions: the rest of the package never sees flax.linen."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree


class Network(NamedTuple):
    """A model's `init` and `apply`.

    init: (key, x) -> variables, {"params": ..., "batch_stats": ...}
    apply: (variables, x, train) -> (y, batch_stats); outside training the statistics
      are used and returned as they were given
    """

    init: Callable
    apply: Callable


def pure(module: nn.Module) -> Network:
    """Wrap a module whose `__call__` takes (x, train)."""

    def init(key, x):
        # batch_stats stays empty in a module without batch normalisation
        x = jax.tree.map(jnp.asarray, x)
        return {"batch_stats": {}} | module.init(key, x, train=False)

    def apply(variables, x, train: bool):
        x = jax.tree.map(jnp.asarray, x)  # callers of an encoder have NumPy
        y, state = module.apply(variables, x, train=train, mutable=["batch_stats"])
        return y, {"batch_stats": {}, **state}["batch_stats"]

    return Network(init, apply)


def starting_from(network: Network, variables: PyTree) -> Network:
    """Return the network whose `init` gives these variables, pretrained elsewhere."""

    def init(key, x):
        del key, x
        return variables

    return Network(init, network.apply)
