"""An experiment inside a protocol: a run in a folder of its own, done once."""

import contextlib
import importlib.util
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from medssl_jax import files, resolve
from medssl_jax.commands import train
from medssl_jax.errors import ConfigError, Diverged
from medssl_jax.ranges import Count
from medssl_jax.run import provenance
from medssl_jax.run.checkpoint import check_same_config

_RESULTS = "results.json"


def load(beside: str, name: str) -> ConfigDict:
    """Return the config that `name`, "FILE:VARIANT", means in the folder of `beside`.

    Raises:
      ValueError: if there is no such file, or no such variant of it.
    """
    file, _, variant = name.partition(":")
    path = Path(beside).with_name(f"{file}.py")
    if not path.is_file():
        raise ValueError(f"unknown experiment {file!r}: no {path}")
    spec = importlib.util.spec_from_file_location(f"_experiment_{file}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(variant) if variant else module.get_config()


def vary(config: ConfigDict, changes: Mapping[str, Any]) -> ConfigDict:
    """Return a copy with other values in some fields, which are named with dots.

    Raises:
      ConfigError: if there is no such field.
    """
    varied = ConfigDict(provenance.plain(config))
    with varied.ignore_type():  # 0 may become 1e-5
        for field, value in changes.items():
            *parents, leaf = field.split(".")
            part = varied
            for parent in parents:
                part = part.get(parent, {})
            if leaf not in part:
                raise ConfigError(f"config.experiment has no field {field} to vary")
            part[leaf] = value
    return varied


def prepare(config: ConfigDict, workdir: Path) -> ConfigDict:
    """Return the experiment of a protocol: one split, one cache for all its runs.

    What was compiled is kept in the protocol's folder too, unless JAX was told where:
    its runs differ in little.

    Raises:
      ConfigError: if the experiment is no training, or is to be repeated less than
        once.
    """
    experiment = config.experiment
    resolve.fields(config, {"repeats": Count})
    if experiment.command != "train":
        raise ConfigError(f"config.experiment is no training: {experiment.command}")
    keep_compiled(workdir)
    if experiment.data.get("split_seed") is None:
        experiment = vary(experiment, {"data.split_seed": experiment.seed})
    return experiment


def keep_compiled(workdir: Path) -> None:
    """Keep what is compiled in the protocol's folder, unless JAX was told where."""
    if jax.config.jax_compilation_cache_dir is None:
        compiled = str(workdir.absolute() / "compiled")
        jax.config.update("jax_compilation_cache_dir", compiled)


def placed(config: ConfigDict, folder: Path, *, within: Path) -> ConfigDict:
    """Return the config of a run in `folder`, named by it, its cache the protocol's."""
    changes = {"name": f"{config.name}/{folder.relative_to(within).as_posix()}"}
    cache = config.data.cache
    if cache and not os.path.isabs(cache):  # stays so: the folder may be moved
        changes["data.cache"] = os.path.relpath(within / cache, folder)
    return vary(config, changes)


def complete(
    config: ConfigDict, folder: Path, *, within: Path, field: str = "experiment"
) -> Mapping[str, Any]:
    """Train in `folder` unless it is done; return what results.json holds.

    A run that was killed goes on. One that diverges is done too: its results have
    `diverged`, the reason, and no values. A relative `data.cache` lies in the folder
    `within`, of the protocol, so that volumes are prepared once. `field` is where the
    protocol's config has this one, for errors.

    Raises:
      ConfigError: if the folder holds a run with another config.
      UserError: if config, data or disk do not allow it.
    """
    config = placed(config, folder, within=within)
    if (found := _finished(config, folder)) is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    if jax.process_index() == 0:
        print(f"\n{folder}", flush=True)
    try:
        with inside(field):
            train.run(config, folder)
    except Diverged as error:
        outcome = {"headline": f"Diverged: {error}", "diverged": str(error)}
        if jax.process_index() == 0:
            print(outcome["headline"], flush=True)
            files.write_json(folder / _RESULTS, outcome)
        return outcome
    return files.read_json(folder / _RESULTS)


@contextlib.contextmanager
def inside(field: str) -> Iterator[None]:
    """Let errors in the block say that their config is `config.FIELD`.

    Raises:
      ConfigError: as the block does.
    """
    try:
        yield
    except ConfigError as error:
        part = error.part
        if part is not None:
            part = part._replace(field=f"{field}.{part.field}")
        text = f"{error}; config is config.{field} here"
        raise ConfigError(text, part=part) from error


class Pace:
    """Says after each run that was made how long those to come may take."""

    def __init__(self, folders: Sequence[Path]):
        self._missing = [folder for folder in folders if not has_results(folder)]
        self._total, self._began = len(self._missing), time.monotonic()

    def tell(self) -> None:
        """Count what was made since the last time; say what is left."""
        before = len(self._missing)
        self._missing = [f for f in self._missing if not has_results(f)]
        made, left = self._total - len(self._missing), len(self._missing)
        if left == before or not left or jax.process_index() != 0:
            return
        seconds = left * (time.monotonic() - self._began) / made
        interval = tqdm.format_interval(seconds)
        print(f"{made} of {self._total} runs made, about {interval} for the others")


def has_results(folder: Path) -> bool:
    """Return whether a run in that folder came to its results."""
    return (folder / _RESULTS).exists()


def _finished(config: ConfigDict, folder: Path) -> Mapping[str, Any] | None:
    if not has_results(folder):
        return None
    before = provenance.flat(ConfigDict(provenance.read_config(folder / "config.json")))
    check_same_config(before, provenance.flat(config), folder / "checkpoints")
    results = files.read_json(folder / _RESULTS)
    reported = (folder / "report.html").exists()  # the last thing that a run writes
    return results if reported or "diverged" in results else None
