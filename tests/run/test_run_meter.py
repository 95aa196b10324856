"""What a line of the log holds of the schedules, and what is told of the data."""

import json
import re
import time

import numpy as np
import psutil
import pytest
import tiny

from medssl_jax.data.source import Examples
from medssl_jax.optim.durations import Durations
from medssl_jax.run.log import METRICS, Logger, read_metrics
from medssl_jax.run.meter import Meter
from medssl_jax.run.task import Task

TASK = Task(**dict.fromkeys(Task._fields))._replace(
    sources={"train": Examples(["a", "b"], dict)},
    durations=tiny.durations(),
    method=tiny.method("supervised", axis_name=None),
)
METRICS_OF = {"loss": 1.0, "gradient_norm": 1.0, "skipped": False, "update": 0}


def batch(padding=(0.0, 0.0)):
    count = len(padding)
    zeros = {"repeated_frames": np.zeros(count, int), "padding": np.array(padding)}
    return {"index": np.arange(count), **zeros}


def test_a_line_tells_the_schedules_of_the_last_update_made(tmp_path):
    scheduled = {"lr": lambda update: 0.5**update, "weight_decay": lambda u: 0.1 * u}
    task = TASK._replace(scheduled=scheduled)
    with Logger(tmp_path, total_steps=64, start_step=0, quiet=True) as logger:
        meter = Meter(task, logger, first_step=0, every_steps=1)
        for step in range(5):  # two micro-batches make an update
            meter.take(step, METRICS_OF | {"update": (step + 1) // 2}, batch(), 0.0)
        meter.drain()
    lines = read_metrics(tmp_path / METRICS)
    found = [(line["lr"], line["weight_decay"]) for line in lines]
    assert found == [(1.0, 0.0)] * 3 + [(0.5, 0.1)] * 2


def test_an_example_that_is_mostly_padding_is_told_once(tmp_path, capsys):
    with Logger(tmp_path, total_steps=64, start_step=0, quiet=True) as logger:
        meter = Meter(TASK, logger, first_step=0, every_steps=8)
        for step, padding in enumerate([(0.5, 0.0), (0.1, 0.75), (0.9, 0.9)]):
            meter.take(step, METRICS_OF, batch(padding), 0.0)
    said = capsys.readouterr().err
    assert said.count("warning") == 1 and "b fills 25% of the shape" in said


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, []),
        ({"padding": [0.0, 0.9]}, []),
        ({"padding": [0.1, 0.3]}, ["smaller than data.shape, and 20% of what is"]),
        ({"repeated_frames": [2, 0]}, []),
        ({"repeated_frames": [2, 1]}, ["has fewer frames than data.shape"]),
    ],
)
def test_a_shape_that_no_image_of_the_first_batch_fills_is_told(
    tmp_path, capsys, fields, said
):
    first = batch() | {name: np.array(value) for name, value in fields.items()}
    with Logger(tmp_path, total_steps=64, start_step=0, quiet=True) as logger:
        Meter(TASK, logger, first_step=0, every_steps=8).meet(first)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(said)
    for line, text in zip(lines, said, strict=True):
        assert (
            line.startswith("warning: every image of the first batch") and text in line
        )


def test_padding_of_all_is_not_told_of_one_again(tmp_path, capsys):
    with Logger(tmp_path, total_steps=64, start_step=0, quiet=True) as logger:
        meter = Meter(TASK, logger, first_step=0, every_steps=8)
        meter.meet(batch((0.75, 0.25)))
        meter.take(0, METRICS_OF, batch((0.75, 0.25)), 0.0)
    assert capsys.readouterr().err.count("warning") == 1


def test_the_first_steps_tell_how_long_the_others_take(tmp_path, capsys, monkeypatch):
    times = iter([0.0, 40.0, 42.5, 99.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    with Logger(tmp_path, total_steps=64, start_step=0) as logger:
        meter = Meter(TASK, logger, first_step=8, every_steps=100)
        for step in (8, 9, 10):
            meter.take(step, METRICS_OF, batch(), 0.0)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "first step after 40.0 s, compilation included"
    left = 64 - 10  # of `tiny.durations`
    pace, _, memory = second.partition("; ")
    assert pace == f"2.5 s a step: about 02:15 for the {left} others"
    total = psutil.virtual_memory().total / 2**30
    taken, there = re.fullmatch(r"(\S+) of (\S+) GiB of memory", memory).groups()
    assert 0.05 < float(taken) < float(there) == pytest.approx(total, rel=0.01)


@pytest.mark.parametrize(("waited", "said"), [(0.9, 0), (1.0, 1), (1.5, 1)])
def test_a_loader_that_keeps_the_device_waiting_is_told_once_after_the_first_epoch(
    tmp_path, monkeypatch, capsys, waited, said
):
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    run = Durations(examples=16, batch_size=8, micro_batch_size=4, epochs=4)
    task = TASK._replace(scheduled={}, durations=run, workers=3)
    with Logger(tmp_path, total_steps=16, start_step=0, quiet=True) as logger:
        meter = Meter(task, logger, 0, every_steps=1)
        for step in range(16):  # four an epoch, of two seconds each
            now[0] += 2
            metrics = METRICS_OF | {"update": (step + 1) // 2}
            meter.take(step, metrics, batch(), waited if step >= 3 else 2.0)
            meter.drain()
            if step == 3:
                assert "waits" not in capsys.readouterr().err
    found = capsys.readouterr().err
    told = f"training waits for data {waited / 2:.0%} of the time: raise data.workers (it is 3)"
    assert found.count("waits for data") == found.count(told) == said


def test_rate_wait_and_epoch_are_of_the_lines_own_steps(tmp_path, monkeypatch):
    """Two seconds a step of four samples, half of one waited; a pause after the third."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    run = Durations(examples=20, batch_size=8, micro_batch_size=4, epochs=1)
    task = TASK._replace(scheduled={}, durations=run)
    with Logger(tmp_path, total_steps=4, start_step=0, quiet=True) as logger:
        meter = Meter(task, logger, 0, every_steps=3, progress={"seconds": 30.0})
        for step in range(4):
            now[0] += 2
            metrics = METRICS_OF | {"loss": float(step), "update": (step + 1) // 2}
            meter.take(step, metrics, batch(), waited=0.5)
            if step == 2:
                paused = meter.pause()
                now[0] += 100
                meter.resume(paused)
        meter.drain()
    first, last = read_metrics(tmp_path / METRICS)  # the last step has its line too
    assert (first["step"], last["step"]) == (3, 4)
    assert (first["loss"], last["loss"]) == (1.0, 3.0)
    assert (first["epoch"], last["epoch"]) == (0.6, 0.8)
    for line in (first, last):
        assert (line["examples_per_second"], line["data_wait"]) == (2.0, 0.25)
    assert meter.outcome()["seconds"] == 30 + 108


def test_a_run_that_goes_on_reports_as_one_that_never_stopped(tmp_path):
    """Losses 0, 1, 2, ... in lines of four, stopped in the middle of one."""

    task = TASK._replace(scheduled={})

    def take(meter, steps):
        for step in steps:
            of_step = METRICS_OF | {"loss": float(step), "skipped": step == 1}
            meter.take(step, of_step, batch() | {"repeated_frames": [step > 4, 1]}, 0.0)
        meter.drain()

    def run(folder, *parts):
        progress = {}
        for steps in parts:
            first = steps[0]
            with Logger(folder, total_steps=64, start_step=first, quiet=True) as logger:
                meter = Meter(task, logger, first, 4, progress)
                take(meter, steps)
                progress = json.loads(json.dumps(meter.progress()))
        lines = read_metrics(folder / METRICS)
        timed = {"examples_per_second", "data_wait"}
        told = [{k: v for k, v in line.items() if k not in timed} for line in lines]
        return told, meter.outcome()

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole, at_once = run(tmp_path / "a", range(8))
    resumed, in_parts = run(tmp_path / "b", range(3), range(3, 6), range(6, 8))
    assert resumed == whole and [line["loss"] for line in whole] == [1.5, 5.5]
    assert in_parts.pop("seconds") > 0 and at_once.pop("seconds") > 0
    assert in_parts == at_once == {"repeated_frames": 2, "skipped_micro_batches": 1}
