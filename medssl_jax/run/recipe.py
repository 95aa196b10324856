"""What a config trains, and how: its network, method, optimizer; nothing of its data."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike
from ml_collections import ConfigDict

from medssl_jax import optim, resolve
from medssl_jax.errors import ConfigError
from medssl_jax.methods.base import Method
from medssl_jax.models.network import Network, starting_from
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.saved import encoder
from medssl_jax.step.parallel import AXIS
from medssl_jax.step.state import TrainState, init_state
from medssl_jax.views.compose import View, compose

Views = Mapping[str, Mapping[str, Any]]  # of each name, what `compose` takes


class Recipe(NamedTuple):
    """What a step is made of.

    views: of each name, as they were filled.
    tx: at a learning rate whose peak is 1; the state has the peak.
    scheduled: what changes over updates, by its name in the log: "lr" and, where it is
      a schedule, "weight_decay".
    init: example -> () -> the first state, on this process's first device; the same
      every time. The example is one that a batch has, without its axis.
    """

    views: Views
    method: Method
    tx: optax.MultiSteps
    scheduled: Mapping[str, schedules.Schedule]
    init: Callable[[Mapping[str, np.ndarray]], Callable[[], TrainState]]


def recipe(
    config: ConfigDict, durations: Durations, *, fill: Callable[[Views], Views]
) -> Recipe:
    """Build everything that the config names and that needs no data.

    `fill` gives views what only the data know. It may take a minute, and is called when
    schedule and optimizer have been found right.

    Raises:
      ConfigError: if a name or setting is unknown or does not fit; it names the field.
    """
    learning_rate = resolve.call(
        "schedule",
        functools.partial(schedules.schedule, durations),
        config.schedule.to_dict(),
    )
    make_optimizer = functools.partial(optim.optimizer, durations, learning_rate.over)
    stated = config.optimizer.to_dict()
    resolve.call("optimizer", make_optimizer, stated)
    views = fill(config.views.to_dict())
    make_method = functools.partial(
        resolve.named,
        "method",
        "medssl_jax.methods",
        config.method.to_dict(),
        views={name: _view(name, ops) for name, ops in views.items()},
        **_given_to_method(config, durations),
    )
    backbone = _backbone(config)
    method = make_method(backbone)
    make_optimizer = functools.partial(make_optimizer, frozen=method.frozen)
    tx = resolve.call("optimizer", make_optimizer, stated)
    return Recipe(
        views=views,
        method=method,
        tx=tx,
        scheduled={"lr": learning_rate} | _scheduled_decay(config, durations),
        init=functools.partial(
            _init, config, make_method, backbone, tx, learning_rate.peak
        ),
    )


def check_recipe(config: ConfigDict) -> None:
    """Refuse a network, or a method's settings, before there are durations.

    Raises:
      ConfigError: naming the field.
    """
    _backbone(config)
    given = _given_to_method(config, durations=None)
    method = config.method.to_dict()
    resolve.check_named("method", "medssl_jax.methods", method, None, views={}, **given)


def _backbone(config: ConfigDict) -> Network:
    running = config.running.to_dict()
    return encoder.backbone(
        config.model.to_dict(),
        dtype=_dtype(running.pop("precision")),
        axis_name=AXIS,
        running=running,
    )


def _scheduled_decay(config: ConfigDict, durations: Durations) -> dict[str, Any]:
    stated = config.optimizer.to_dict()  # Adam's have no decay
    decay = schedules.weight_decay(durations, stated.get("weight_decay", 0.0))
    return {"weight_decay": decay} if callable(decay) else {}


def _given_to_method(config: ConfigDict, durations: Durations | None) -> dict[str, Any]:
    """Return what a method is called with beside backbone, views and settings."""
    dtype = _dtype(config.running.precision)
    return {"durations": durations, "axis_name": AXIS, "dtype": dtype}


def _view(name: str, ops: Mapping[str, Any]) -> View:
    try:
        return compose(ops)
    except ConfigError as error:  # which names the operation
        raise ConfigError(f"config.views.{name}: {error}") from None


def _init(config, make_method, backbone, tx, rate, example):
    """Return () -> state; what runs of a protocol differ in is no constant of it."""
    given = None
    if config.init_from:
        model, shape = config.model.to_dict(), example["image"].shape
        given = encoder.initial_variables(config.init_from, model, shape)
    batch = {"label": np.int32(0), "patient": np.uint32(0), **example}
    batch = {name: np.asarray(array)[None] for name, array in batch.items()}

    @jax.jit
    def make(key, given, rate):
        start = backbone if given is None else starting_from(backbone, given)
        arrays = {name: jnp.asarray(array) for name, array in batch.items()}
        return init_state(make_method(start), tx, key, arrays, rate)

    return lambda: make(jax.random.key(config.seed), given, rate)


def _dtype(precision: str) -> DTypeLike:
    """Return the dtype that models compute in."""
    on_cpu = jax.default_backend() == "cpu"
    known = {
        "auto": jnp.float32 if on_cpu else jnp.bfloat16,
        "float32": jnp.float32,
        "bfloat16": jnp.bfloat16,
    }
    if precision not in known:
        text = f"config.running.precision {precision!r} is unknown"
        raise ConfigError(f"{text}: {', '.join(known)}")
    return known[precision]
