"""Where a training step's time goes: the views, the rest, and the wait for data.

python benchmarks/step_shares.py --config=configs/byol3d.py

Compiles the config's own step, and its views alone, and times the two in turn on the
same batch. The wait for data is that of the loop, over `--steps` steps that load, move
and train as train.py does.
"""

import statistics
import tempfile
import time
from pathlib import Path

import jax
from absl import app, flags
from in_turn import share, timed
from ml_collections import config_flags
from one_step import views_of

from medssl_jax.data.pipeline import Rows, for_device, train_batches
from medssl_jax.run.task import build
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import make_train_step

_CONFIG = config_flags.DEFINE_config_file("config", "configs/byol3d.py", "experiment")
_STEPS = flags.DEFINE_integer("steps", 48, "steps of the loop")
_ROUNDS = flags.DEFINE_integer("rounds", 11, "times that step and views are timed")


def main(_) -> None:
    config = _CONFIG.value
    with tempfile.TemporaryDirectory() as folder:
        task = build(config, Path(folder))
        rows = Rows(config.micro_batch_size, 0, 1)
        data = train_batches(
            task.sources["train"],
            task.draw,
            sampler=task.sampler,
            rows=rows,
            seed=config.seed,
            workers=config.data.workers,
        )
        on = parallel(config.parallel, jax.devices())
        step = on.compile(make_train_step(task.method, task.tx, axis_name=AXIS))
        state = on.replicate(task.init())
        batch = on.shard(for_device(next(data)))

        def train() -> None:
            nonlocal state
            state, _ = step(state, batch)
            jax.block_until_ready(state)

        steps = {"views": views_of(task.method, batch)}
        taken = timed(steps | {"step": train}, rounds=_ROUNDS.value)
        alone, whole = (1e3 * statistics.median(taken[k]) for k in ("views", "step"))
        part = share(taken["views"], taken["step"])
        print(f"step {whole:.0f} ms, its views alone {alone:.0f} ms: {part:.1%}")
        waited, began = 0.0, time.perf_counter()
        for _ in range(_STEPS.value):
            asked = time.perf_counter()
            arrays = for_device(next(data))
            waited += time.perf_counter() - asked
            state, _ = step(state, on.shard(arrays))
            jax.block_until_ready(state)
        seconds = time.perf_counter() - began
        print(
            f"{_STEPS.value} steps in {seconds:.1f} s, of which waiting for data "
            f"{waited:.2f} s: {waited / seconds:.1%}"
        )


if __name__ == "__main__":
    app.run(main)
