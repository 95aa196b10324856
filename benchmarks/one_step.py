"""One training step of a method, as the trainer takes it, in float32."""

from collections.abc import Callable, Mapping

import jax
import numpy as np

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
