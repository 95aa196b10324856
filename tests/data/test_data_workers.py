"""Nothing that a run has started outlives it, also when it is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

LOADING = """
import numpy as np
from absl import flags
from medssl_jax.data.draw import Draw
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.pipeline import Rows, train_batches
from medssl_jax.data.source import Examples

def read(name):
    return {"image": np.full((2, 2, 1), float(name))}

def main():
    flags.FLAGS.mark_as_parsed()  # as `main` has it, for Grain
    source = Examples([str(i) for i in range(10)], read)
    order = sampler("shuffled", source, batch_size=4, seed=0)
    rows = Rows(4, 0, 1)
    settings = dict(sampler=order, rows=rows, seed=0, workers=2)
    batches = train_batches(source, Draw((2, 2), "all"), **settings)
    next(batches)
    return batches
"""
PREPARING = """
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from medssl_jax.data.workers import begin

def main():
    spawn = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(2, mp_context=spawn, initializer=begin)
    list(pool.map(time.sleep, [0.1] * 8))
    return pool
"""
KILLED = """
if __name__ == "__main__":
    import multiprocessing
    from medssl_jax.data.workers import awaited
    kept = main()
    for worker in multiprocessing.active_children():
        worker.kill()
    with awaited():
        if hasattr(kept, "submit"):
            kept.submit(time.sleep, 0).result()
        while True:
            next(kept)
"""
ENDING = """
if __name__ == "__main__":
    kept = main()
    print("working", flush=True)
    time.sleep(60)
"""


def children(pid: int) -> list[int]:
    of_threads = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for one in of_threads for child in one.read_text().split()]


def runs(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("script", [LOADING, PREPARING], ids=["loading", "preparing"])
def test_workers_end_with_a_parent_that_is_killed(tmp_path, script):
    path = tmp_path / "work.py"
    path.write_text("import time\n" + script + ENDING)
    said = {"stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, str(path)], **said) as process:
        assert process.stdout.readline() == "working\n"
        started = children(process.pid)
        assert len(started) >= 2
        process.send_signal(signal.SIGKILL)
        process.stdout.close()
    until = time.monotonic() + 20
    while any(map(runs, started)) and time.monotonic() < until:
        time.sleep(0.1)
    left = [pid for pid in started if runs(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


@pytest.mark.parametrize("script", [LOADING, PREPARING], ids=["loading", "preparing"])
def test_a_worker_that_is_killed_is_told(tmp_path, script):
    path = tmp_path / "work.py"
    path.write_text("import time\n" + script + KILLED)
    command = [sys.executable, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "UserError: a worker process was killed" in done.stderr
