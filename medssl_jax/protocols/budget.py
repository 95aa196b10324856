"""Trainings of one length: so many updates, or as many as fit into so many minutes."""

import contextlib
import math
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.commands import train
from medssl_jax.data.pipeline import for_device
from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations
from medssl_jax.protocols.experiment import placed, vary
from medssl_jax.ranges import Natural, NotNegative

_FIELDS = {"budget.updates": Natural, "budget.minutes": NotNegative}
_FILE = "pace.json"
_WARM, _TIMED = 3, 12  # steps


class Granted(NamedTuple):
    """What a budget makes of a training.

    config: with its length.
    missing: why it is too little for one epoch; "" where it is enough.
    """

    config: ConfigDict
    missing: str


def check(config: ConfigDict) -> None:
    """Refuse a budget that is none.

    Raises:
      ConfigError: naming the field.
    """
    resolve.fields(config, _FIELDS)
    if config.budget.updates and config.budget.minutes:
        raise ConfigError(
            "config.budget has updates and minutes: set one of them to 0; with both at 0 "
            "each training has its own train_epochs"
        )


def grant(
    config: ConfigDict,
    budget: Mapping[str, Any],
    durations: Durations,
    folder: Path,
    *,
    within: Path,
) -> Granted:
    """Give a training its share: what it states in epochs keeps its part of the whole.

    Minutes are of steps, by the pace of some that are made for it on this machine, once:
    `folder` keeps it. Compilation, what is prepared for a cache, evaluation and report
    come on top.

    Args:
      durations: of `config` as it is.
      folder: where it is to be trained, below that of the protocol, `within`.

    Raises:
      UserError: if config, data or disk do not allow to make these steps.
    """
    updates, said = budget["updates"], f"{budget['updates']:,} updates"
    if minutes := budget["minutes"]:
        pace = _pace(config, folder, within=within)
        updates = int(60 * minutes / (pace * durations.accumulation))
        said = f"{minutes:g} minutes, {updates:,} updates,"
    if not (updates or minutes):
        return Granted(config, "")
    epochs = updates / durations.updates_per_epoch
    if epochs < 1:
        missing = (
            f"{said} are less than an epoch, {durations.updates_per_epoch:,.0f} updates "
            f"of {durations.batch_size}"
        )
        return Granted(config, missing)
    return Granted(_scaled(config, epochs / config.train_epochs), "")


def _scaled(config: ConfigDict, factor: float) -> ConfigDict:
    """Make a training longer, and all that begins or ends in it at some epoch."""
    changes = {}

    def look(prefix, part):
        for name in part:
            value = part[name]
            if isinstance(value, ConfigDict):
                look(f"{prefix}{name}.", value)
            elif name.endswith(("_epochs", "_epoch")) and isinstance(value, float):
                changes[prefix + name] = value * factor

    look("", config)
    return vary(config, changes)


def _pace(config: ConfigDict, folder: Path, *, within: Path) -> float:
    """Return the seconds of a step, data included, as they were measured the first time.

    Of several processes the first one's clock counts: all are to train as long.
    """
    path = folder / _FILE
    if path.exists():
        return files.read_json(path)["seconds_per_step"]
    scratch, here = folder / "pace", jax.process_index() == 0
    if here:
        print(f"{folder.name}: compiling a step, to see how long it takes", flush=True)
    measured = _measured(placed(config, scratch, within=within), scratch)
    seconds = float(multihost_utils.broadcast_one_to_all(np.float32(measured)))
    if here:
        print(f"{folder.name}: {seconds:.2g} s a step", flush=True)
        shutil.rmtree(scratch, ignore_errors=True)
        files.write_json(path, {"seconds_per_step": seconds})
    return seconds


def _measured(config: ConfigDict, scratch: Path) -> float:
    this = train.start(config, scratch)
    with contextlib.closing(this.saved), contextlib.closing(this.data):
        if config.data.cache:  # or the first of several trainings would seem slow
            one = this.task.durations
            for _ in range(math.ceil(one.examples / one.micro_batch_size)):
                next(this.data)
        step_once = train.compiled(this)
        state = this.on.from_global(train.initial(this))
        for step in range(_WARM + _TIMED):
            if step == _WARM:
                jax.block_until_ready(state)
                began = time.perf_counter()
            batch = this.on.shard(for_device(next(this.data)))
            state, _ = step_once(state, batch)
        jax.block_until_ready(state)
        return (time.perf_counter() - began) / _TIMED
