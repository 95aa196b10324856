"""One training step of a method, as the trainer takes it, in float32."""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.ad_checkpoint import saved_residuals

from medssl_jax.methods.base import Method
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.optimizers import optimizer
from medssl_jax.step.state import init_state, make_train_step, views_fed


def durations(batch: int) -> Durations:
    """Return those of a run without accumulation."""
    return Durations(1000, batch, batch, 1)


def step_of(
    method: Method, arrays: Mapping[str, np.ndarray], **settings
) -> Callable[[], float]:
    """Return a function that trains once and gives the loss.

    By Adam, or the optimizer of `settings`.
    """
    run = durations(len(arrays["image"]))
    stated = {"name": "adam", "b1": 0.9, "b2": 0.999} | settings
    tx = optimizer(run, lambda update: 1e-4, **stated)
    batch = jax.device_put(arrays)
    state = jax.jit(lambda key: init_state(method, tx, key, batch))(jax.random.key(0))
    train = jax.jit(make_train_step(method, tx, axis_name=None), donate_argnums=0)

    def step() -> float:
        nonlocal state
        state, metrics = jax.block_until_ready(train(state, batch))
        return float(metrics["loss"])

    return step


def views_of(method: Method, arrays: Mapping[str, np.ndarray]) -> Callable[[], None]:
    """Return a function that makes the views of such a step, and no more."""
    batch, count = jax.device_put(arrays), len(arrays["image"])
    make = jax.jit(
        lambda batch: views_fed(
            method, batch, key=jax.random.key(0), step=0, global_size=count
        )
    )
    return lambda: jax.block_until_ready(make(batch))


def kept_mb(method: Method, batch: Mapping[str, np.ndarray]) -> float:
    """Return the megabytes that an example's forward leaves for its backward.

    Weights and constants aside, as jax._src.ad_checkpoint.saved_residuals has them.
    """
    key = jax.random.key(0)
    params, aux = jax.eval_shape(method.init, key, batch)
    keys = jax.eval_shape(lambda: jax.random.split(key, len(batch["image"])))
    views = jax.eval_shape(jax.vmap(method.views), keys, batch)

    def loss(params, aux, views):
        return method.loss(params, aux, views, jax.random.key(0), jnp.int32(0))[0]

    found = saved_residuals(loss, params, aux, views)
    arrays = [a for a, said in found if "argument" not in said and "const" not in said]
    total = sum(a.size * a.dtype.itemsize for a in arrays)
    return total / len(batch["image"]) / 1e6
