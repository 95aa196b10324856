"""What a config stands for: sources, method, optimizer and evaluator of one run."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike
from jaxtyping import PyTree
from ml_collections import ConfigDict

from medssl_jax import optim, resolve
from medssl_jax.data import energies, settings
from medssl_jax.data.host import HostTransform
from medssl_jax.data.masked import Masked
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import Sampler, sampler
from medssl_jax.data.pipeline import DrawRecord, for_device
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator, together
from medssl_jax.methods.base import Method
from medssl_jax.models.network import starting_from
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Decay, Positive, Seed, Workers
from medssl_jax.run.provenance import plain
from medssl_jax.run.suitable import check_data
from medssl_jax.saved import encoder
from medssl_jax.saved.predictor import predict_of
from medssl_jax.step.parallel import AXIS
from medssl_jax.step.state import TrainState, init_state
from medssl_jax.views.compose import View, compose


class Task(NamedTuple):
    """All that the loop needs of a config.

    workers: processes that load examples; 0 is this one.
    scheduled: what changes over updates, by its name in the log: "lr" and, where it is
      a schedule, "weight_decay".
    init: () -> the first state, on this process's first device; the same every time.
    spec: of the encoder that the run exports.
    """

    sources: Mapping[str, Source]
    sampler: Sampler
    draw: DrawRecord
    workers: int
    durations: Durations
    scheduled: Mapping[str, schedules.Schedule]
    method: Method
    tx: optax.MultiSteps
    init: Callable[[], TrainState]
    evaluator: Evaluator
    spec: Mapping[str, Any]


class _Batching(NamedTuple):
    """What `config.data` says of how examples become batches."""

    sampler: str
    workers: Workers


_FIELDS = {  # that are no part's own
    "seed": Seed,
    "init_from": str,
    "batch_size": Count,
    "micro_batch_size": Count,
    "train_epochs": Positive,
    "log_every_steps": Count,
    "checkpoint.every_epochs": Positive,
    "checkpoint.keep": Count,
    "running.precision": str,
    "running.recompute": bool,
    "running.drop_path": Decay,
}


def build(config: ConfigDict, workdir: Path, *, members: int = 1) -> Task:
    """Open the data and build everything that the config names.

    Settings are looked at first, as far as they can be without the data. The evaluator
    takes the weights of an ensemble of so many `members`, as `saved.predictor` has it.

    Raises:
      ConfigError: if a name or setting is unknown or does not fit; it names the field.
      DataError: if the data cannot be used.
    """
    _check_settings(config)
    running = config.running.to_dict()
    backbone = encoder.backbone(
        config.model.to_dict(),
        dtype=_dtype(running.pop("precision")),
        axis_name=AXIS,
        running=running,
    )
    of_host, feeding, batching, source = settings.divide(
        plain(config.data), HostTransform, roles.sources, _Batching
    )
    host = resolve.call("data", HostTransform, of_host)
    batching = resolve.call("data", _Batching, batching)
    sources = resolve.call(
        "data",
        functools.partial(
            roles.sources,
            source,
            plain(config.splits),
            host.prepare,
            config.seed,
            workdir,
        ),
        feeding,
    )
    rows = sampler(
        batching.sampler,
        sources[roles.TRAIN],
        batch_size=config.micro_batch_size,
        seed=config.seed,
    )
    durations = Durations(
        len(rows),
        config.batch_size,
        config.micro_batch_size,
        config.train_epochs,
    )
    learning_rate = resolve.call(
        "schedule",
        functools.partial(schedules.schedule, durations),
        config.schedule.to_dict(),
    )
    make_optimizer = functools.partial(optim.optimizer, durations, learning_rate)
    stated = config.optimizer.to_dict()
    resolve.call("optimizer", make_optimizer, stated)  # before energies take a minute
    measure = functools.partial(
        energies.reference_energies,
        sources[roles.TRAIN],
        host.draw,
        seed=config.seed,
    )
    views = energies.fill(config.views.to_dict(), measure, workdir)
    make_method = functools.partial(
        resolve.named,
        "method",
        "medssl_jax.methods",
        config.method.to_dict(),
        views={name: _view(name, ops) for name, ops in views.items()},
        **_given_to_method(config, durations),
    )
    method = make_method(backbone)
    check_data(method, rows, sources[roles.TRAIN])
    if any(method.voxels):
        sources = {
            role: Masked(source, *method.voxels) for role, source in sources.items()
        }
    make_optimizer = functools.partial(make_optimizer, frozen=method.frozen)
    tx = resolve.call("optimizer", make_optimizer, stated)
    example = for_device(host.draw(sources[roles.TRAIN][0], None))
    init = _init(config, make_method, backbone, tx, example)
    spec = {
        "model": config.model.to_dict(),
        "view": views["eval"],
        "host": of_host,
        "channels": example["image"].shape[-1],
        "provenance": {"run": config.name, "method": config.method.to_dict()},
    }
    context = Context(
        method=method,
        predict=predict_of(method, members) if method.predict else None,
        sources=sources,
        prepare=host.prepare,
        draw=host.draw,
        batch_size=config.micro_batch_size,
        spec=spec,
        untrained=lambda: _encoder_of(method, init()),
        workdir=workdir,
        seed=config.seed,
        init_from=config.init_from,
    )
    return Task(
        sources=sources,
        sampler=rows,
        draw=host.draw,
        workers=batching.workers,
        durations=durations,
        scheduled={"lr": learning_rate} | _scheduled_decay(config, durations),
        method=method,
        tx=tx,
        init=init,
        evaluator=evaluator_of(config, context),
        spec=spec,
    )


def _check_settings(config: ConfigDict) -> None:
    """Refuse what can be refused before the data is opened."""
    resolve.fields(config, _FIELDS)
    views, evaluation = plain(config.views), plain(config.evaluation)
    resolve.check_value("views", views, Mapping[str, Mapping[str, Any]])
    resolve.check_value("evaluation", evaluation, Sequence[Mapping[str, Any]])
    method = config.method.to_dict()
    given = _given_to_method(config, durations=None)
    resolve.check_named("method", "medssl_jax.methods", method, None, views={}, **given)
    for i, one in enumerate(evaluation):
        resolve.check_named(f"evaluation[{i}]", "medssl_jax.evals", one, None)


def evaluator_of(config: ConfigDict, context: Context) -> Evaluator:
    """Build what `config.evaluation`, a list, names.

    Raises:
      ConfigError: if a name or setting is unknown, or does not fit the method.
    """
    parts = [
        resolve.named(f"evaluation[{i}]", "medssl_jax.evals", one, context)
        for i, one in enumerate(plain(config.evaluation))
    ]
    return together(parts)


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


def _init(config, make_method, backbone, tx, example):
    """Return () -> state; pretrained variables are an argument, not a constant."""
    given = None
    if config.init_from:
        model, shape = config.model.to_dict(), example["image"].shape
        given = encoder.initial_variables(config.init_from, model, shape)
    batch = {"label": np.int32(0), "patient": np.uint32(0), **example}
    batch = {name: np.asarray(array)[None] for name, array in batch.items()}

    @jax.jit
    def make(key, given):
        start = backbone if given is None else starting_from(backbone, given)
        arrays = {name: jnp.asarray(array) for name, array in batch.items()}
        return init_state(make_method(start), tx, key, arrays)

    return lambda: make(jax.random.key(config.seed), given)


def _encoder_of(method: Method, state: TrainState) -> PyTree:
    return method.encoder(state.params, state.aux)


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
