"""What a line of the log holds of the schedules."""

import numpy as np
import tiny

from medssl_jax.data.source import Examples
from medssl_jax.run.log import METRICS, Logger, read_metrics
from medssl_jax.run.meter import Meter
from medssl_jax.run.task import Task


def test_a_line_tells_the_schedules_of_the_last_update_made(tmp_path):
    scheduled = {"lr": lambda update: 0.5**update, "weight_decay": lambda u: 0.1 * u}
    task = Task(**dict.fromkeys(Task._fields))._replace(
        sources={"train": Examples(["a"], dict)},
        durations=tiny.durations(),
        scheduled=scheduled,
        method=tiny.method("supervised", axis_name=None),
    )
    batch = {"index": np.array([0]), "repeated_frames": np.array([0])}
    with Logger(tmp_path, total_steps=64, start_step=0, quiet=True) as logger:
        meter = Meter(task, logger, first_step=0, every_steps=1)
        for step in range(5):  # two micro-batches make an update
            metrics = {"loss": 1.0, "update": (step + 1) // 2, "skipped": False}
            metrics["gradient_norm"] = 1.0
            meter.take(step, metrics, batch, 0.0)
        meter.drain()
    lines = read_metrics(tmp_path / METRICS)
    found = [(line["lr"], line["weight_decay"]) for line in lines]
    assert found == [(1.0, 0.0)] * 3 + [(0.5, 0.1)] * 2
