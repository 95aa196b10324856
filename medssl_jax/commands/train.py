"""The loop: train one method on one source, evaluate the encoder, write the report."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grain
import jax
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import PyTree
from ml_collections import ConfigDict

from medssl_jax import files
from medssl_jax.data import workers
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.pipeline import Rows, for_device, train_batches
from medssl_jax.report.build import build as build_report
from medssl_jax.run import overlap, provenance
from medssl_jax.run.checkpoint import Checkpoints, Restored
from medssl_jax.run.interrupt import Interrupt
from medssl_jax.run.log import Logger
from medssl_jax.run.meter import Meter
from medssl_jax.run.suitable import (
    accumulation_warning,
    frozen_warning,
    input_warning,
    statistics_warning,
)
from medssl_jax.run.task import Task, build
from medssl_jax.saved.encoder import Encoder
from medssl_jax.saved.predictor import Predictor
from medssl_jax.saved.seen import save as save_seen
from medssl_jax.step.parallel import (
    AXIS,
    Parallel,
    check_divisible,
    local_copy,
    parallel,
)
from medssl_jax.step.state import TrainState, make_train_step, views_fed

_SHOWN = 4  # examples in the report's grid of views
_OF_A_KIND = 8  # crops or patches of an example there


class Run(NamedTuple):
    """What a run is made of, before its first step."""

    config: ConfigDict
    workdir: Path
    task: Task
    on: Parallel
    data: grain.DatasetIterator
    saved: Checkpoints


def run(config: ConfigDict, workdir: Path) -> None:
    """Train as `config` says, from where `workdir` stands to the last update.

    Raises:
      UserError: if config, data or disk do not allow it; the text says what to do.
      SystemExit: 143 if a signal asked to stop and all is saved; the same call goes on.
    """
    this = start(config, workdir)
    with contextlib.closing(this.saved), contextlib.closing(this.data):
        _go_on(this)


def start(config: ConfigDict, workdir: Path) -> Run:
    """Open a run's data and checkpoints, and build what its config names.

    Raises:
      UserError: as `run` does.
    """
    check_divisible(config.micro_batch_size, jax.device_count())
    task = build(config, workdir)
    data = train_batches(
        task.sources[TRAIN],
        task.draw,
        sampler=task.sampler,
        rows=Rows(config.micro_batch_size, jax.process_index(), jax.process_count()),
        seed=config.seed,
        workers=task.workers,
    )
    saved = Checkpoints(
        workdir / "checkpoints",
        keep=config.checkpoint.keep,
        config=provenance.flat(config) | {"processes": jax.process_count()},
    )
    on = parallel(config.parallel, jax.devices())
    return Run(config, workdir, task, on, data, saved)


def initial(this: Run) -> TrainState:
    """Return the first state, as checkpoints hold it."""
    return this.on.to_global(this.on.replicate(this.task.init()))


def compiled(this: Run) -> Callable:
    """Return the step, (state, batch) -> (state, metrics), on all devices."""
    return this.on.compile(
        make_train_step(this.task.method, this.task.tx, axis_name=AXIS)
    )


def _go_on(this: Run) -> None:
    """Restore, train to the end and evaluate."""
    active = jax.process_index() == 0
    restored = this.saved.restore_newest(initial(this), this.data)
    first, state, progress = restored or Restored(0, initial(this), {})
    if active:
        seen = overlap.told(this.config.init_from, this.task.sources)
        _write_start(this, first, seen)
        for warning in _warnings(this.config, this.task, seen):
            print(f"warning: {warning}", file=sys.stderr, flush=True)
    with (
        Logger(
            this.workdir,
            total_steps=this.task.durations.steps,
            start_step=first,
            unit="volume" if len(this.config.data.shape) == 3 else "image",
            active=active,
        ) as logger,
        Interrupt() as interrupt,
    ):
        every = this.config.log_every_steps
        meter = Meter(this.task, logger, first, every, progress)
        state = _train(this, first, state, meter, logger, interrupt)
    best = this.saved.restore_best(state)
    if active:
        _finish(this, best.state, meter)
    _wait_for_all("finished")


def _warnings(config: ConfigDict, task: Task, seen: str) -> list[str]:
    accumulated = accumulation_warning(task.method, task.durations)
    frozen = frozen_warning(task.method, config.init_from)
    fed = input_warning(config.init_from, task.spec["view"])
    kept = statistics_warning(config.method.to_dict(), config.init_from)
    return [
        text
        for text in (
            *(accumulated, frozen, kept, fed, overlap.warning(seen)),
            *task.evaluator.lacking,
        )
        if text
    ]


def _train(
    this: Run,
    first: int,
    state: TrainState,
    meter: Meter,
    logger: Logger,
    interrupt: Interrupt,
) -> TrainState:
    """Run micro-batches `first` to the last; return the state as checkpoints hold it."""
    durations = this.task.durations
    every = durations.to_steps(this.config.checkpoint.every_epochs)
    step_once = compiled(this)
    state = this.on.from_global(state)
    if first < durations.steps:
        logger.say("compiling the step")
    for step in range(first, durations.steps):
        asked_at = time.perf_counter()
        with workers.awaited():
            batch = next(this.data)
        waited = time.perf_counter() - asked_at
        if step == first:
            meter.meet(batch)
        if step == 0:
            _write_views(this, batch)
        state, metrics = step_once(state, this.on.shard(for_device(batch)))
        meter.take(step, metrics, batch, waited)

        done = step + 1
        stop = interrupt.asked(done)
        if stop or done % every == 0 or done == durations.steps:
            paused_at = meter.pause()
            _checkpoint(this, done, state, meter, logger)
            meter.resume(paused_at)
        if stop:  # at the last step too: a protocol would begin its next run
            this.saved.wait()
            _wait_for_all("stopped")
            if jax.process_index() == 0:
                print(f"stopped after step {done}, saved; the same command goes on")
            raise SystemExit(143)
    return this.on.to_global(state)


def _wait_for_all(point: str) -> None:
    """Let no process end while another still works: its launcher would end that too."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(point)


def _checkpoint(
    this: Run, done: int, state: TrainState, meter: Meter, logger: Logger
) -> None:
    scalars = this.task.evaluator.during(*_weights(state))
    if scalars:
        logger.log(done, {"epoch": this.task.durations.epoch(done), **scalars})
    loss = scalars.get("validation_loss")
    at = this.on.to_global(state)
    this.saved.save(done, at, this.data, loss, meter.progress())


def _finish(this: Run, state: TrainState, meter: Meter) -> None:
    """Export and evaluate, write the report, say where it is."""
    weights = _weights(state)
    variables, folder = this.task.method.encoder(*weights), this.workdir / "encoder"
    Encoder(variables, this.task.spec).save(folder)
    seen = overlap.seen_by(this.task.sources, this.config.init_from)
    if seen is not None:
        save_seen(seen, folder)
    if this.task.method.predict is not None:
        spec = this.task.spec | {"method": this.config.method.to_dict()}
        spec["evaluation"] = provenance.plain(this.config.evaluation)
        train = this.task.sources[TRAIN]
        if findings := this.task.method.learns[1]:  # the labels may have more
            spec["label_names"] = tuple(train.label_names[:findings])
        else:
            spec["label_names"] = None
        spec["kind_names"] = train.kind_names
        spec["label_classes"] = train.label_classes
        spec["class_names"] = train.class_names
        Predictor(*weights, spec).save(this.workdir / "predictor")
    results = this.task.evaluator.final(*weights)
    files.write_json(this.workdir / "results.json", results)
    provenance.finish(this.workdir / "run.json", variables["params"], **meter.outcome())
    report = build_report(this.workdir)
    for table in results.get("tables", []):
        print(f"\n{provenance.text_table(table)}")
    print(f"\n{results['headline']}\n\nreport: {report}")


def _weights(state: TrainState) -> tuple[PyTree, PyTree]:
    return local_copy(state.params), local_copy(state.aux)


def _write_start(this: Run, first: int, seen: str) -> None:
    provenance.write_config(this.workdir / "config.json", this.config)
    description = provenance.describe(
        this.config, this.task.sources, this.task.durations
    )
    description["seen"] = seen
    path = this.workdir / "run.json"
    if first and path.exists():  # it goes on
        description["started"] = files.read_json(path)["started"]
    files.write_json(path, description)


def _write_views(this: Run, batch: dict[str, np.ndarray]) -> None:
    """Keep the first views that are fed, for the report."""
    if jax.process_index() != 0:
        return
    shown = {name: array[:_SHOWN] for name, array in for_device(batch).items()}

    @jax.jit
    def make(arrays, key):
        return views_fed(
            this.task.method,
            arrays,
            key=key,
            step=0,
            global_size=this.config.micro_batch_size,
        )

    ndim, views = shown["image"].ndim, {}
    for name, view in make(shown, jax.random.key(this.config.seed)).items():
        if view.ndim == ndim or name == "mask":  # of classes: without channels
            views[name] = np.asarray(view)
        if view.ndim > ndim:  # several of one kind, crops or patches: the first of them
            each = view.reshape(len(view), -1, *view.shape[1 - ndim :])
            each = np.moveaxis(np.asarray(each[:, :_OF_A_KIND]), 1, 0)
            views |= {f"{name} {i}": one for i, one in enumerate(each, 1)}
    arrays = {"source": shown["image"], **views}
    small = {  # to be looked at: volumes are shown whole
        name: array.astype(np.float16) if array.dtype == np.float32 else array
        for name, array in arrays.items()
    }
    files.write_arrays(this.workdir / "views.npz", small)
