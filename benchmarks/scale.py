"""Time to the first batch and memory, as a source pretends to have more images.

python benchmarks/scale.py
python benchmarks/scale.py --kinds=run --counts=10000,100000000
python benchmarks/scale.py --kinds=shards  (2 GB of temporary files)

Images are 64 x 64, made from their index. Every count has a process of its own, which
does the same with 10,000 images first: imports, threads and compilation are no source's
doing. What it reports is since then.

single      one source, data.sampler "shuffled"
modalities  four, 72, 25, 1 and 2 % of the images, in equal parts of each batch
shards      what `prepare` writes, with labels, patients and names: 10,000 images in a
            shard, which is there as often as it takes by links
task        a SwAV config on the four: `task.build`, what run.json says, first batch
run         the same config by `train.run`, of two updates: from there to the report

Memory is what the process holds after 50 batches, files that it has mapped apart (the
system takes those back when it needs to), and the most it held at any time.
"""

import contextlib
import functools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from unittest import mock

import jax
import numpy as np
from absl import app, flags
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.commands import prepare, train
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.data.order.sampler import Sampler, sampler
from medssl_jax.data.pipeline import DrawRecord, Rows, train_batches
from medssl_jax.data.shards import layout
from medssl_jax.data.source import Record, Source
from medssl_jax.protocols import experiment
from medssl_jax.run import provenance, task

_COUNTS = flags.DEFINE_list("counts", ["10000", "1000000", "100000000"], "images")
_KINDS = flags.DEFINE_list("kinds", ["single", "modalities", "task"], "what to measure")
_BATCH = flags.DEFINE_integer("batch", 64, "images of a batch")
_FOLDER = flags.DEFINE_string("folder", None, "measure in this process and folder")

SHARES = {"ct": 0.72, "mr": 0.25, "xray": 0.01, "us": 0.02}  # arXiv:2201.01283
PER_SHARD = 10_000
CONFIGS = Path(__file__).parents[1] / "configs" / "swav.py"
HOST = {"spacing_mm": None, "resize": None, "window": "none", "frames": "all"}


class Pretend(Source):
    """As many images as are asked for, and nothing that is listed of them."""

    labels = patients = label_names = None

    def __init__(self, *, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Record:
        if not 0 <= i < self.count:
            raise IndexError(f"no image {i} among {self.count}")
        noise = np.random.default_rng(i).integers(0, 256, (64, 64, 1), np.uint8)
        return {"image": noise}

    def name(self, i: int) -> str:
        return f"pretended-{i:09d}"

    def stamp(self, i: int) -> str:
        return f"pretended {i}"


class Known(Pretend):
    """The same for `prepare`, with a label and a patient each."""

    def __init__(self, *, count: int):
        super().__init__(count=count)
        self.labels = np.arange(count) % 2
        self.patients = [f"{i // 4:04d}" for i in range(count)]

    def name(self, i: int) -> str:
        return f"{i:04d}"


def settings(kind: str, count: int, folder: Path) -> dict:
    """Return `config.data`'s part that names the source."""
    if kind == "single":
        return {"name": "pretend", "count": count}
    if kind == "shards":
        return {"name": "shards", "root": str(folder / str(count)), "split": "train"}
    parts = [
        {"name": "pretend", "count": round(share * count), "modality": modality}
        for modality, share in SHARES.items()
    ]
    return {"sources": tuple(map(ConfigDict, parts))}


def to_first_batch(kind: str, count: int, folder: Path) -> float:
    """Open, shuffle and take 50 batches; return the seconds to the first."""
    began = time.perf_counter()
    host = HostTransform(shape=(64, 64), **HOST)
    source = roles.sources(
        provenance.plain(settings(kind, count, folder)),
        {},
        prepare=host.prepare,
        cache="",
        on_error="raise",
        balance="",
        seed=0,
        folder=folder,
    )[roles.TRAIN]
    order = "modalities" if kind == "modalities" else "shuffled"
    rows = sampler(order, source, batch_size=_BATCH.value, seed=0)
    return take(began, source, host.draw, rows)


def take(began: float, source: Source, draw: DrawRecord, rows: Sampler) -> float:
    """Take 50 batches as the loop does; return the seconds from `began` to the first."""
    size = _BATCH.value
    batches = train_batches(
        source, draw, sampler=rows, rows=Rows(size, 0, 1), seed=0, workers=0
    )
    next(batches)
    seconds = time.perf_counter() - began
    for _ in range(49):
        for i in next(batches)["index"]:
            source.name(int(i))
    batches.close()
    return seconds


def swav(count: int, folder: Path) -> ConfigDict:
    """Return the demo of SwAV on four pretended modalities, of two updates."""
    config = experiment.load(str(CONFIGS), "swav:demo")
    with config.unlocked():
        config.data.sources = settings("run", count, folder)["sources"]
        config.splits = {}
    config.data.known_labels = 1.0
    config.batch_size = config.micro_batch_size = _BATCH.value
    config.method.modalities = tuple(SHARES)
    config.method.update(beta=0.0, queue_length=_BATCH.value, queue_from_epoch=0.0)
    config.model.update(layers=(1, 1), width=4)
    config.schedule.warmup_epochs = 0.0
    config.train_epochs = config.checkpoint.every_epochs = 2 * _BATCH.value / count
    return config


def built(count: int, folder: Path) -> float:
    """Build the task of a config, take 50 batches; return the seconds to the first."""
    config = swav(count, folder)
    began = time.perf_counter()
    made = task.build(config, folder)
    provenance.describe(config, made.sources, made.durations)
    return take(began, made.sources[roles.TRAIN], made.draw, made.sampler)


def whole_run(count: int, folder: Path) -> float:
    """Train for two updates and write the report; return the seconds."""
    workdir = Path(tempfile.mkdtemp(dir=folder))
    began = time.perf_counter()
    train.run(swav(count, folder), workdir)
    return time.perf_counter() - began


def write_shards(count: int, folder: Path) -> None:
    """Write a shard; by links and repeats, it becomes a folder of `count` examples."""
    if folder.exists():
        return
    config = experiment.load(str(CONFIGS), "prepare:demo")
    with config.unlocked():
        config.data = {"name": "pretend", "count": PER_SHARD, **HOST}
        config.data.update(shape=(64, 64), on_error="raise")
        config.splits = {}
        config.examples_per_shard = PER_SHARD
    folder.mkdir()
    with (
        mock.patch.object(resolve, "factory", lambda *_: Known),
        contextlib.redirect_stdout(sys.stderr),
    ):
        prepare.run(config, folder)
    times = count // PER_SHARD
    (one,) = folder.glob("*array_record*")
    path = folder / layout.PREPARED
    about = json.loads(path.read_text())
    (shard,) = about["splits"]["train"]["shards"]
    names = [layout.shard_name("train", i, times) for i in range(times)]
    for name in names:
        if name != one.name:
            os.link(one, folder / name)
    about["splits"]["train"]["shards"] = [shard | {"file": name} for name in names]
    path.write_text(json.dumps(about))
    for path in folder.glob("train.*.npy"):
        rows = np.load(path)
        many = np.lib.format.open_memmap(
            path, "w+", rows.dtype, (times * PER_SHARD, *rows.shape[1:])
        )
        many.reshape(times, *rows.shape)[:] = rows
        many.flush()


def held_mib() -> tuple[float, float]:
    """Return what this process holds, and what it has of mapped files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {line.split(":")[0]: line.split()[1] for line in lines if "kB" in line}
    return int(kib["RssAnon"]) / 1024, int(kib["RssFile"]) / 1024


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(kind: str, count: int, folder: Path) -> str:
    """Return a row of the table."""
    real = resolve.factory

    def factory(package: str, name: str):
        return Pretend if name == "pretend" else real(package, name)

    with mock.patch.object(resolve, "factory", factory):
        # what is imported late, threads that stay: no source's size has a part in it,
        # nor in what compiling leaves behind
        jax.config.update("jax_compilation_cache_dir", f"{folder}/compiled")
        MAKE[kind](PER_SHARD, folder)
        held, mapped = held_mib()
        peak = peak_mib()
        seconds = MAKE[kind](count, folder)
    now, now_mapped = held_mib()
    row = (
        f"{seconds:.2f} s",
        f"{now - held:+.1f} MiB",
        f"{now_mapped - mapped:+.1f} MiB",
        f"{peak_mib() - peak:+.1f} MiB",
    )
    return " | ".join(("", kind, f"{count:,}", *row, "")).strip()


MAKE = {
    **{
        kind: functools.partial(to_first_batch, kind)
        for kind in ("single", "modalities", "shards")
    },
    "task": built,
    "run": whole_run,
}


def main(_) -> None:
    if _FOLDER.value:
        (kind,), (count,) = _KINDS.value, map(int, _COUNTS.value)
        with contextlib.redirect_stdout(sys.stderr):
            row = measure(kind, count, Path(_FOLDER.value))
        print(row)
        return
    print(
        "| kind | images | seconds | held | mapped | peak |\n|---|---|---|---|---|---|"
    )
    for kind in _KINDS.value:
        for count in map(int, _COUNTS.value):
            with tempfile.TemporaryDirectory() as folder:
                if kind == "shards":  # not in the process that is measured
                    for size in (PER_SHARD, count):
                        write_shards(size, Path(folder) / str(size))
                one = [f"--kinds={kind}", f"--counts={count}", f"--folder={folder}"]
                subprocess.run([sys.executable, *sys.argv, *one], check=True)


if __name__ == "__main__":
    app.run(main)
