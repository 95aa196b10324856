"""A network as two pure functions: the rest of the package never sees flax.linen."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from medssl_jax.errors import ConfigError


class Network(NamedTuple):
    """A model's `init` and `apply`.

    init: (key, x) -> variables, {"params": ..., "batch_stats": ...}
    apply: (variables, x, train, keys=None) -> (y, batch_stats); outside training, where
      `train` is 0 or False, the statistics are used and returned as they were given. Else
      it is how many batches, of one length, x holds one behind the other: each has batch
      statistics of its own, and what is returned is the mean. `keys` (b,), one of each
      example, are all that training draws from, so that any number of devices draws
      the same; they are unused in evaluation, and by networks that draw nothing
    recompute: whether it keeps its products alone for the gradient; a head on it that
      is as large should do the same
    start: (() -> what `init` draws, pretrained variables) -> those to start from: some
      of both, where a network has weights that no pretraining has
    by_slice: whether its maps of volumes (b, f, *s, c) are of each slice (b, f, *t, d),
      so that a head on them should look no further along f
    """

    init: Callable
    apply: Callable
    recompute: bool = False
    start: Callable = lambda draw, given: given
    by_slice: bool = False


def pure(module: nn.Module, *, draws: bool = False) -> Network:
    """Wrap a module whose `__call__` takes (x, train), and `keys` if it draws.

    Raises:
      ConfigError: from `apply` in training, if it draws and is given no keys.
    """

    def init(key, x):
        # batch_stats stays empty in a module without batch normalisation
        x = jax.tree.map(jnp.asarray, x)
        return {"batch_stats": {}} | module.init(key, x, train=False)

    def apply(variables, x, train: int, keys=None):
        x = jax.tree.map(jnp.asarray, x)  # callers of an encoder have NumPy
        if draws and train and keys is None:
            raise ConfigError(
                "config.running.drop_path draws from a key of each example, and none "
                "are given: pass keys, or use 0.0"
            )
        drawn = {"keys": keys} if draws and train else {}
        y, state = module.apply(
            variables, x, train=train, mutable=["batch_stats"], **drawn
        )
        return y, {"batch_stats": {}, **state}["batch_stats"]

    return Network(init, apply, getattr(module, "recompute", False))


def starting_from(network: Network, variables: PyTree) -> Network:
    """Return the network whose `init` gives these variables, pretrained elsewhere."""

    def init(key, x):
        return network.start(lambda: network.init(key, x), variables)

    return network._replace(init=init)
