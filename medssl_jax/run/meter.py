"""Steps become log lines: losses averaged, throughput, the wait for data, the guard."""

import sys
import time
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from medssl_jax.data.order.roles import TRAIN
from medssl_jax.run import memory
from medssl_jax.run.guard import Guard
from medssl_jax.run.log import Logger
from medssl_jax.run.task import Task

_IN_FLIGHT = 2  # steps that the host may be ahead of the device
_MOSTLY = 0.5  # of an example
_SETTLED = 0.1  # of the run; before, what looks stuck may only be slow
_SLOW = 0.5  # of the time, waited for data


class Meter:
    """Take each step's metrics as they arrive, and log every `every_steps`.

    Metrics are read two steps late, so the device always has work; `drain` reads the
    rest. A run that waits for data shows it in `data_wait`, a share of the time.

    A run that goes on takes up the `progress` of the one that stopped: its averages and
    counts are those of a run that did not.
    """

    def __init__(
        self,
        task: Task,
        logger: Logger,
        first_step: int,
        every_steps: int,
        progress: Mapping[str, Any] = MappingProxyType({}),
    ):
        self._task = task
        self._logger = logger
        self._every = every_steps
        self._guard = Guard(progress.get("skipped", 0))
        self._pending = deque()
        self._repeated = set(progress.get("repeated", ()))  # examples without frames
        self._window = list(progress.get("window", ()))
        self._before = progress.get("seconds", 0.0)
        self._told = ""
        self._padding_told = self._wait_told = False
        self._waited = 0.0
        self._opened = self._began = self._started = time.perf_counter()
        self._from_step = self._first_step = first_step

    def meet(self, batch: Mapping) -> None:
        """Say before the first step if no image of the first batch fills data.shape."""
        if min(batch["padding"]) > 0:
            _warn(
                "every image of the first batch is smaller than data.shape, and "
                f"{np.mean(batch['padding']):.0%} of what is trained on is padding: make "
                "data.shape smaller, unless other images are larger"
            )
            self._padding_told = True
        if min(batch["repeated_frames"]) > 0:
            _warn(
                "every image of the first batch has fewer frames than data.shape, and "
                "repeats some: make its first number smaller, unless others have more"
            )

    def take(self, step: int, metrics: Mapping, batch: Mapping, waited: float) -> None:
        """Take the metrics, still on the device, of micro-batch `step` (from 0)."""
        for index, count in zip(batch["index"], batch["repeated_frames"], strict=True):
            if count:
                self._repeated.add(int(index))
        if not self._padding_told and max(batch["padding"]) > _MOSTLY:
            self._tell_padding(batch)
        self._waited += waited
        self._pending.append((step, metrics, batch["index"]))
        if step - self._first_step < 2:
            self._tell_pace(step, metrics)
        if len(self._pending) > _IN_FLIGHT:
            self._read(*self._pending.popleft())

    def drain(self) -> None:
        """Wait for the steps under way."""
        while self._pending:
            self._read(*self._pending.popleft())

    def pause(self) -> float:
        """Return now: time until `resume(now)` is not training's."""
        self.drain()
        return time.perf_counter()

    def resume(self, paused_at: float) -> None:
        """Leave out the time since `pause`."""
        self._began += time.perf_counter() - paused_at

    def progress(self) -> dict[str, Any]:
        """Return what a run that goes on has to know; nothing may be under way."""
        return {
            "skipped": self._guard.total,
            "repeated": sorted(self._repeated),
            "window": self._window,
            "seconds": self._seconds(),
        }

    def outcome(self) -> dict[str, Any]:
        """Return how the run went, with those before it that it went on from.

        Its seconds, and how many examples repeated frames or steps were skipped.
        """
        return {
            "repeated_frames": len(self._repeated),
            "skipped_micro_batches": self._guard.total,
            "seconds": self._seconds(),
        }

    def _seconds(self) -> float:
        return self._before + time.perf_counter() - self._opened

    def _tell_pace(self, step: int, metrics: Mapping) -> None:
        """Say that the first step is done, and after the second how long all take."""
        jax.block_until_ready(metrics)
        now = time.perf_counter()
        took, self._started = now - self._started, now
        if step == self._first_step:
            self._logger.say(f"first step after {took:.1f} s, compilation included")
            return
        left = self._task.durations.steps - step - 1
        interval = tqdm.format_interval(left * took)
        pace = f"{took:.2g} s a step: about {interval} for the {left} others"
        self._logger.say(f"{pace}; {memory.taken()}")

    def _tell(self, verdict: str) -> None:
        if verdict != self._told:
            _warn(verdict)
            self._told = verdict

    def _tell_padding(self, batch: Mapping) -> None:
        """Say once that the first such example is mostly padding: it may be a mistake."""
        most = int(np.argmax(batch["padding"]))
        name = self._task.sources[TRAIN].name(int(batch["index"][most]))
        _warn(
            f"{name} fills {1 - batch['padding'][most]:.0%} of the shape that "
            "is trained on, and the rest is padding: if other examples are no larger, "
            "make data.shape smaller"
        )
        self._padding_told = True

    def _flows(self, line: Mapping) -> bool:
        """Say whether the loader is past its start, and past filling a cache."""
        half = line["epoch"] >= self._task.durations.epochs / 2
        return self._from_step > self._first_step and (line["epoch"] > 1 or half)

    def _tell_wait(self, share: float) -> None:
        """Say once that the loader keeps the device waiting, and what can be done."""
        _warn(
            f"training waits for data {share:.0%} of the time: raise data.workers (it is "
            f"{self._task.workers}), or keep prepared images with data.cache or as shards"
        )
        self._wait_told = True

    def _read(self, step: int, metrics: Mapping, indices: np.ndarray) -> None:
        metrics = jax.device_get(metrics)
        source = self._task.sources[TRAIN]
        self._guard.see(metrics, step, [source.name(int(i)) for i in indices])
        self._window.append({k: np.asarray(x).item() for k, x in metrics.items()})
        done = step + 1
        if done % self._every == 0 or done == self._task.durations.steps:
            self._log(done)

    def _log(self, done: int) -> None:
        now = time.perf_counter()
        seconds, steps = now - self._began, done - self._from_step
        durations = self._task.durations
        update = int(self._window[-1]["update"])
        last = max(update - 1, 0)  # updates are numbered from 0
        means = {
            name: float(np.mean([metrics[name] for metrics in self._window]))
            for name in sorted(self._window[0].keys() - {"update", "skipped"})
        }
        rate = steps * durations.micro_batch_size / seconds
        line = {
            "update": update,
            "epoch": durations.epoch(done),
            **{name: float(at(last)) for name, at in self._task.scheduled.items()},
            **means,
            "skipped": int(sum(metrics["skipped"] for metrics in self._window)),
            "examples_per_second": rate,
            "data_wait": self._waited / seconds,
        }
        if line["epoch"] <= 1 and (early := self._task.method.early(means)):
            line["early"] = early
            self._tell(early)
        if verdict := self._task.method.verdict(means):
            line["verdict"] = verdict
            if done >= _SETTLED * durations.steps:
                self._tell(verdict)
        if not self._wait_told and line["data_wait"] >= _SLOW and self._flows(line):
            self._tell_wait(line["data_wait"])
        self._logger.log(done, line)
        self._logger.progress(done, loss=means["loss"], examples_per_second=rate)
        self._window, self._waited = [], 0.0
        self._began, self._from_step = now, done


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)
