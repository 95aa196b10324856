"""A backbone that can be written out by hand: a matrix, and a count of its trainings."""

import jax
import jax.numpy as jnp

from medssl_jax.models.features import Features
from medssl_jax.models.network import Network

FEATURES = 6


def linear():
    """Return a backbone whose features are a matrix times the voxels."""

    def apply(variables, x, train, keys=None):
        del keys
        vectors = x.reshape(len(x), -1) @ variables["params"]["matrix"]
        passes = variables["batch_stats"]["passes"] + int(train)
        # of evaluation, twice as long: whoever mistakes one for the other is told
        return Features(vectors * (1.0 if train else 2.0), ()), {"passes": passes}

    def init(key, x):
        matrix = jax.random.normal(key, (x[0].size, FEATURES))
        return {"params": {"matrix": matrix}, "batch_stats": {"passes": jnp.int32(0)}}

    return Network(init, apply)
