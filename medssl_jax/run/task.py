"""What a config stands for: sources, method, optimizer and evaluator of one run."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optax
from jaxtyping import PyTree
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.data import energies, settings
from medssl_jax.data.boxed import Boxed
from medssl_jax.data.host import HostTransform
from medssl_jax.data.masked import Masked
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import Sampler, sampler
from medssl_jax.data.pipeline import DrawRecord, for_device
from medssl_jax.data.source import Source
from medssl_jax.evals.base import Context, Evaluator, together
from medssl_jax.methods.base import Method
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.ranges import Count, Decay, Positive, Seed, Workers
from medssl_jax.run.provenance import plain
from medssl_jax.run.recipe import check_recipe, recipe
from medssl_jax.run.suitable import check_boxes, check_data, check_example
from medssl_jax.saved.predictor import predict_of
from medssl_jax.step.state import TrainState


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


class Opened(NamedTuple):
    """The data of a config, and what else `config.data` says."""

    sources: Mapping[str, Source]
    host: HostTransform
    stated: Mapping[str, Any]  # of `host`
    batching: "_Batching"


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
    sources, host, of_host, batching = open_data(config, workdir)
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
    measure = functools.partial(
        energies.reference_energies,
        sources[roles.TRAIN],
        host.draw,
        seed=config.seed,
    )
    made = recipe(
        config,
        durations,
        fill=functools.partial(energies.fill, measure=measure, folder=workdir),
    )
    method = made.method
    check_data(method, rows, sources[roles.TRAIN])
    if any(method.voxels):
        sources = {
            role: Masked(source, *method.voxels) for role, source in sources.items()
        }
    if method.boxes:
        most = host.draw.most_boxes
        check_boxes(method, sources, most)
        sources = {
            role: Boxed(source, method.boxes, most) for role, source in sources.items()
        }
    example = for_device(host.draw(sources[roles.TRAIN][0], None))
    check_example(method, example)
    init = made.init(example)
    spec = {
        "model": config.model.to_dict(),
        "view": made.views["eval"],
        "host": of_host,
        "channels": example["image"].shape[-1],
        "provenance": {
            "run": config.name,
            "method": config.method.to_dict(),
            "patches": method.patches,
        },
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
        scheduled=made.scheduled,
        method=method,
        tx=made.tx,
        init=init,
        evaluator=evaluator_of(config, context),
        spec=spec,
    )


def open_data(config: ConfigDict, workdir: Path) -> Opened:
    """Open what `config.data` and `config.splits` name, for a run in `workdir`.

    Raises:
      ConfigError, DataError: as `build`.
    """
    of_host, feeding, batching, source = settings.divide(
        plain(config.data), HostTransform, roles.sources, _Batching
    )
    host = resolve.call("data", HostTransform, of_host)
    batching = resolve.call("data", _Batching, batching)
    open_roles = functools.partial(
        roles.sources,
        source,
        plain(config.splits),
        host.prepare,
        config.seed,
        workdir,
    )
    return Opened(resolve.call("data", open_roles, feeding), host, of_host, batching)


def _check_settings(config: ConfigDict) -> None:
    """Refuse what can be refused before the data is opened."""
    resolve.fields(config, _FIELDS)
    views, evaluation = plain(config.views), plain(config.evaluation)
    resolve.check_value("views", views, Mapping[str, Mapping[str, Any]])
    resolve.check_value("evaluation", evaluation, Sequence[Mapping[str, Any]])
    check_recipe(config)
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


def _encoder_of(method: Method, state: TrainState) -> PyTree:
    return method.encoder(state.params, state.aux)
