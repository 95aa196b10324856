"""The smallest run of configs/byol3d.py, started as its user starts it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

ROOT = Path(__file__).parents[1]
CACHE = os.environ.get("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache/jax"))
# 16 examples in micro-batches of 4, two to an update, for 6 epochs: 24 steps, and a
# checkpoint every 3, which is in mid-accumulation every other time.
STEPS, EVERY = 24, 3
SETTINGS = {
    "data.count": 16,
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
    "train_epochs": 6.0,
    "checkpoint.every_epochs": 0.75,
    "log_every_steps": 2,  # a checkpoint lies in mid-window every other time
}


def arguments(workdir: Path, **settings) -> list[str]:
    """Return the flags of a tiny run; a setting's `__` is a dot."""
    changed = {name.replace("__", "."): value for name, value in settings.items()}
    flags = [f"--config.{name}={value}" for name, value in (SETTINGS | changed).items()]
    return ["--config=configs/byol3d.py", f"--workdir={workdir}", *flags]


def environment(devices: int = 1, **variables) -> dict[str, str]:
    beside = os.path.dirname(sys.executable)  # launch/local.sh starts "python"
    unoptimized = str(int(os.environ.get("OPTIMIZED", "0") == "0"))
    usual = os.environ["XLA_FLAGS"]  # of the last of two flags the value counts
    return os.environ | {
        "PATH": os.pathsep.join([beside, os.environ["PATH"]]),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"{usual} --xla_force_host_platform_device_count={devices}",
        "JAX_COMPILATION_CACHE_DIR": CACHE,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": unoptimized,
        **variables,
    }


def start(arguments: list[str], *, env=None, **options) -> subprocess.Popen:
    """Start a run without waiting; both outputs go to one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "medssl_jax.main", *arguments],
        cwd=ROOT,
        env=env or environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finish(process: subprocess.Popen, expected: int = 0) -> str:
    """Wait for a run's end; return what it said."""
    try:
        said, _ = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == expected, said
    return said


def wait_for(path: Path, process: subprocess.Popen) -> None:
    """Wait until a running process has made `path`."""
    until = time.monotonic() + 300
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < until, f"no {path}"
        time.sleep(0.002)


def checkpoint(workdir: Path, step: int = STEPS) -> tuple[dict, dict]:
    """Return a checkpoint's state, leaf by leaf, and its data position."""
    folder = workdir / "checkpoints" / str(step)
    with ocp.StandardCheckpointer() as checkpointer:
        saved = checkpointer.metadata(folder / "state").item_metadata.tree
        # in NumPy: whatever devices and processes it was saved from
        wanted = jax.tree.map(lambda leaf: np.empty(leaf.shape, leaf.dtype), saved)
        state = checkpointer.restore(folder / "state", wanted)
    position = {
        path.name: path.read_text() for path in (folder / "data").glob("*.json")
    }
    return _flat(state), position


def _flat(tree, prefix="") -> dict[str, np.ndarray]:
    if isinstance(tree, dict):
        items = tree.items()
    elif isinstance(tree, list | tuple):
        items = enumerate(tree)
    else:
        return {} if tree is None else {prefix: np.asarray(tree)}
    return {
        name: leaf
        for key, value in items
        for name, leaf in _flat(value, f"{prefix}/{key}").items()
    }
