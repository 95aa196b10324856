"""Turn a source into shards: decoded, oriented, resampled and windowed, once."""

import hashlib
import importlib.metadata
import json
import multiprocessing
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from medssl_jax import files, resolve
from medssl_jax.data import settings
from medssl_jax.data.host import HostTransform, Prepare
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.order.splits import check_disjoint
from medssl_jax.data.shards import layout
from medssl_jax.data.shards.finish import finish
from medssl_jax.data.shards.write import Kind, Shard, WriteShard, kind_of, note, plan
from medssl_jax.data.source import Source
from medssl_jax.data.workers import awaited as workers_awaited
from medssl_jax.data.workers import begin as begin_worker
from medssl_jax.errors import ConfigError, DataError, UserError
from medssl_jax.ranges import Count, Workers
from medssl_jax.run.provenance import plain

_MOST_SHARDS = 99_999  # of a split: their names have five digits
_PATHS = ("root", "labels", "data_dir")  # where the data lies is nobody's business


def run(config: ConfigDict, workdir: Path) -> None:
    """Write `config.data` and its other splits into `workdir` as shards.

    Run again after it was stopped, it goes on with the shards that are missing.

    Raises:
      ConfigError: if a setting cannot be used, or the folder was begun with another.
      DataError: if an example cannot be used and `data.on_error` is "raise".
      UserError: if the folder holds shards of other data, or cannot be written.
    """
    if jax.process_index() != 0:
        return
    resolve.fields(config, {"examples_per_shard": Count, "workers": Workers})
    data = plain(config.data)
    on_error = data.pop("on_error")
    of_host, data = settings.divide(data, HostTransform)
    # frames are drawn when training: they have no say here
    host = resolve.call("data", HostTransform, of_host | {"frames": "all"})
    prepare = host.prepare
    sources = _open(data, plain(config.splits))
    check_disjoint(sources)
    kind = _kind(sources, prepare, on_error)
    shards = _plan(sources, kind, prepare, config.examples_per_shard)
    about = _about(data, prepare, config.examples_per_shard, shards)
    if _is_whole(workdir, about, shards):
        print(f"{workdir} is whole already")
        return
    begun = {**about, "complete": False, "splits": {}}
    files.write_json(workdir / layout.PREPARED, begun)
    write = WriteShard(sources, prepare, kind, str(workdir), on_error)
    _write_missing(write, shards, config)
    counts = finish(workdir, sources, kind, shards, about)
    for split, (examples, skipped) in counts.items():
        text = f", {skipped} left out (skipped.csv)" if skipped else ""
        print(f"{split}: {examples} examples{text}")
    print(f"train from them with data.name=shards, data.root={workdir}")


def _open(data: Mapping[str, Any], splits: Mapping[str, Any]) -> dict[str, Source]:
    found = {}
    for role, changed in {TRAIN: {}, **splits}.items():
        if "fraction" in changed:
            raise ConfigError(
                f"splits.{role}.fraction: examples are held out when training, also "
                "from shards; name here the splits that the source has"
            )
        stated = {**data, **changed}
        if stated["name"] == "shards":
            raise ConfigError("data.name 'shards': these are prepared already")
        field = "data" if role == TRAIN else f"splits.{role}"
        found[role] = resolve.named(field, "medssl_jax.data.sources", stated)
        if found[role].masked is not None:
            raise ConfigError(
                f"{field}.unmasked is 'keep', and shards hold a mask of every image or "
                "of none: leave those without one out, or empty data.masks"
            )
    return found


def _kind(sources: Mapping[str, Source], prepare: Prepare, on_error: str) -> Kind:
    """Prepare the first usable example, to know what all are like."""
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"data.on_error {on_error!r} is unknown: raise or skip")
    source = sources[TRAIN]
    for i in range(len(source)):
        try:
            record = prepare(source[i], source.name(i))
            return kind_of(sources.values(), record)
        except DataError as error:
            if on_error == "raise":
                raise
            last = error
    raise DataError(last.path, f"{last.reason}; and no other example is usable")


def _plan(sources, kind: Kind, prepare: Prepare, size: int) -> list[Shard]:
    largest = max(len(source) for source in sources.values())
    if -(-largest // size) > _MOST_SHARDS:
        raise ConfigError(
            f"examples_per_shard {size} is too small: {largest} examples need "
            f"{-(-largest // _MOST_SHARDS)} or more for {_MOST_SHARDS} files at most"
        )
    return [
        shard
        for split, source in sources.items()
        for shard in plan(split, source, kind, prepare, size=size)
    ]


def _about(
    data: Mapping[str, Any], prepare: Prepare, size: int, shards: Sequence[Shard]
) -> dict[str, Any]:
    """Return what prepared.json says of how shards were made; paths are left out."""
    source = {
        name: value
        for name, value in data.items()
        if name not in _PATHS and not (isinstance(value, str) and set(value) & {*"/\\"})
    }
    packages = ("medssl_jax", "numpy", "tensorflow-datasets", "array_record")
    keys = "".join(shard.key for shard in shards)
    return {
        "format": layout.FORMAT,
        "prepare": layout.settings(prepare),
        "source": json.loads(json.dumps(source)),  # tuples are lists there
        "examples_per_shard": size,
        "source_hash": hashlib.sha256(keys.encode()).hexdigest(),
        "versions": {name: importlib.metadata.version(name) for name in packages},
    }


def _is_whole(folder: Path, about: dict[str, Any], shards: Sequence[Shard]) -> bool:
    """Say whether nothing is left to do; refuse a folder that was begun otherwise."""
    if not (folder / layout.PREPARED).exists():
        return False
    found = layout.read_prepared(folder)
    different = layout.differences(found["prepare"], about["prepare"])
    for field in ("source", "examples_per_shard"):
        if found[field] != about[field]:
            different.append(
                f"{field} is {about[field]!r} here, {found[field]!r} there"
            )
    if different:
        raise ConfigError(
            f"{folder} was begun with other settings: {'; '.join(different)}; "
            "name another --workdir, or delete this one"
        )
    if found["complete"] and found["source_hash"] != about["source_hash"]:
        raise UserError(
            f"{folder} holds shards of other data (files, labels or patients have "
            "changed since); name another --workdir, or delete this one"
        )
    return found["complete"] and all(note(folder, shard) for shard in shards)


def _write_missing(
    write: WriteShard, shards: Sequence[Shard], config: ConfigDict
) -> None:
    folder = Path(write.folder)
    missing = [shard for shard in shards if note(folder, shard) is None]
    total = sum(shard.stop - shard.start for shard in shards)
    todo = sum(shard.stop - shard.start for shard in missing)
    with tqdm(
        total=total, initial=total - todo, unit="image", desc="preparing", disable=None
    ) as bar:
        if config.beam:
            from medssl_jax.data.shards.beam import write_by_beam

            write_by_beam(write, missing, config.beam_options)
            bar.update(todo)
        elif config.workers:
            for shard in _by_processes(write, missing, config.workers):
                bar.update(shard.stop - shard.start)
        else:
            for shard in missing:
                write(shard, bar.update)


def _by_processes(
    write: WriteShard, shards: Sequence[Shard], workers: int
) -> Iterator[Shard]:
    """Yield each shard when one of `workers` processes has written it."""
    spawn = multiprocessing.get_context("spawn")  # JAX has threads: no fork
    with ProcessPoolExecutor(
        workers, mp_context=spawn, initializer=begin_worker
    ) as pool:
        running = {pool.submit(write, shard): shard for shard in shards}
        try:
            for finished in as_completed(running):
                with workers_awaited():
                    finished.result()
                yield running[finished]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
