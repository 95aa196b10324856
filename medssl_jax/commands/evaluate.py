"""A finished run, evaluated again or on another source, without training."""

import time
from pathlib import Path

import jax
from ml_collections import ConfigDict

from medssl_jax.data import settings
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.protocols import outcome
from medssl_jax.run import provenance
from medssl_jax.run.checkpoint import Checkpoints
from medssl_jax.run.task import Task, build
from medssl_jax.saved import export
from medssl_jax.step.parallel import local_copy, parallel

_TEST = "test"


def run(config: ConfigDict, workdir: Path) -> None:
    """Evaluate the checkpoint that the run `config.run` chose.

    Writes results.json, report.html and what the evaluators leave into `workdir`; the
    run's own folder stays as it is.

    Args:
      config: `run` is the run's folder; `evaluation` replaces the run's, () keeps it;
        `data` replaces settings of the run's source in the role "test", {} keeps that
        role as it was.

    Raises:
      ConfigError: if no run is named, or a setting does not fit it.
      DataError: if the folder holds no finished run, or its data cannot be used.
    """
    began = time.time()
    if not config.run:
        raise ConfigError("config.run is empty; name the folder of a finished run")
    folder = Path(config.run)
    if folder.resolve() == workdir.resolve():
        raise ConfigError(f"config.run and --workdir are both {folder}; choose another")
    theirs = _config(folder)
    task = build(_changed(theirs, config, folder), workdir)
    state = _chosen(folder, theirs, task)
    if jax.process_index() != 0:
        return
    weights = local_copy(state.params), local_copy(state.aux)
    results = task.evaluator.final(*weights)
    facts = {
        "data": {
            _TEST: provenance.summary(task.sources.get(_TEST, task.sources[TRAIN]))
        },
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(weights[0])),
    }
    outcome.finish(config, workdir, results, facts, began)


def _config(folder: Path) -> ConfigDict:
    path = folder / "config.json"
    if not (folder / "results.json").exists() or not path.exists():
        raise DataError(
            folder, "holds no finished training (config.json, results.json)"
        )
    found = provenance.read_config(path)
    if "running" not in found:
        text = "is of a version that had no config.running yet"
        raise DataError(path, f"{text}; evaluate it with that version, or train again")
    return provenance.with_tuples(found)


def _changed(theirs: ConfigDict, config: ConfigDict, folder: Path) -> ConfigDict:
    changed = theirs.copy_and_resolve_references()
    with changed.unlocked(), changed.ignore_type():
        if config.evaluation:
            changed.evaluation = config.evaluation
        if len(config.data):
            spec = export.describe(folder, "encoder")
            data = settings.following(provenance.plain(config.data), spec)
            changed.splits[_TEST] = data
    return changed


def _chosen(folder: Path, theirs: ConfigDict, task: Task):
    """Restore the checkpoint of the lowest validation loss, or the newest."""
    like = parallel(theirs.parallel, jax.devices())
    state = like.to_global(like.replicate(task.init()))
    saved = Checkpoints(
        folder / "checkpoints",
        keep=theirs.checkpoint.keep,
        config=provenance.flat(theirs) | {"processes": jax.process_count()},
    )
    try:
        return saved.restore_best(state).state
    finally:
        saved.close()
