"""A run killed at random moments, again and again: does it end as one that was not?

python benchmarks/kills.py --kills=50 --seed=0 --workers=2

Runs of BYOL on phantoms, short ones, with `kill -9` of the main process at a random moment
of each start, until one comes to its end; then the next, until there were as many kills.
Compares encoder and results to the bit, the last checkpoint's checksums, metrics.jsonl but
for its times, and counts what the killed ones left running.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

_KILLS = flags.DEFINE_integer("kills", 50, "how many")
_SEED = flags.DEFINE_integer("seed", 0, "of their moments")
_WORKERS = flags.DEFINE_integer("workers", 2, "processes that load examples")

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "data.count": 64,
    "data.size_voxels": (4, 16, 16),
    "data.shape": (4, 16, 16),
    "splits.probe.count": 16,
    "splits.test.count": 16,
    "views.first.random_resized_crop.size": (16, 16),
    "views.second.random_resized_crop.size": (16, 16),
    "model.layers": (1, 1),
    "model.width": 4,
    "method.hidden_size": 8,
    "method.output_size": 8,
    "batch_size": 8,
    "micro_batch_size": 4,
    "train_epochs": 4.0,
    "checkpoint.every_epochs": 0.2,
    "log_every_steps": 5,
}
TIMES = ("examples_per_second", "data_wait")


def start(workdir: Path, cache: Path) -> subprocess.Popen:
    stated = SETTINGS | {"data.workers": _WORKERS.value}
    settings = [f"--config.{name}={value}" for name, value in stated.items()]
    config = "--config=configs/byol3d.py"
    with open(workdir.with_suffix(".log"), "a") as log:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "medssl_jax.main",
                config,
                f"--workdir={workdir}",
                *settings,
            ],
            cwd=ROOT,
            env=os.environ
            | {"JAX_COMPILATION_CACHE_DIR": str(cache), "KILLED": str(workdir)},
            stdout=log,
            stderr=log,
        )


def left_running(workdir: Path) -> list[int]:
    """Return the processes that a run of this folder has started, by their environment."""
    mark, found = f"KILLED={workdir}\0".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def ended(workdir: Path) -> dict[str, object]:
    """Return what a run has come to, but for times."""
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    last = max(
        (workdir / "checkpoints").glob("*[0-9]"), key=lambda path: int(path.name)
    )
    return {
        "encoder": (workdir / "encoder/weights.safetensors").read_bytes(),
        "results": (workdir / "results.json").read_bytes(),
        "checkpoint": json.loads((last / "checksums/metadata").read_text()),
        "logged": [{k: x for k, x in line.items() if k not in TIMES} for line in lines],
    }


def main(_) -> None:
    rng, killed, runs, different, orphans = random.Random(_SEED.value), 0, 0, 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch, "compiled")
        for name in ("warm", "undisturbed"):  # the first one compiles
            began = time.monotonic()
            if start(Path(scratch, name), cache).wait():
                raise RuntimeError(Path(scratch, f"{name}.log").read_text()[-2000:])
            took = time.monotonic() - began
        expected = ended(Path(scratch, "undisturbed"))
        while killed < _KILLS.value:
            workdir = Path(scratch, f"run-{runs}")
            runs += 1
            while True:
                run = start(workdir, cache)
                try:
                    run.wait(rng.uniform(0, took) if killed < _KILLS.value else None)
                    break
                except subprocess.TimeoutExpired:
                    run.kill()
                    run.wait()
                    killed += 1
                    until = time.monotonic() + 15
                    while (still := left_running(workdir)) and time.monotonic() < until:
                        time.sleep(0.2)
                    orphans += len(still)
            found = ended(workdir)
            wrong = [part for part in expected if found[part] != expected[part]]
            different += bool(wrong)
            print(
                f"{workdir.name}: {killed} kills so far; differs in {wrong or 'nothing'}",
                flush=True,
            )
    print(
        f"{killed} kills of {runs} runs: {different} end differently, {orphans} processes left"
    )


if __name__ == "__main__":
    app.run(main)
