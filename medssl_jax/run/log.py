"""What a run says while it trains: a progress bar, metrics.jsonl and TensorBoard."""

import json
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from time import monotonic
from typing import Any, SupportsFloat

from tensorboardX import SummaryWriter
from tqdm import tqdm

from medssl_jax.errors import DataError
from medssl_jax.files import write_text, writing

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"

_LINES = 20  # of progress, where there is no terminal to draw a bar on


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a metrics.jsonl, less a last one torn by a kill.

    Raises:
      DataError: if another line is no JSON object.
    """
    *lines, torn = path.read_text(encoding="utf-8").split("\n")
    del torn  # empty, unless the process died while it wrote
    return [_parse(path, number, line) for number, line in enumerate(lines, 1)]


class Logger:
    """Writes a run's metrics and shows its progress; a context manager.

    Args:
      workdir: run folder; gets metrics.jsonl and tensorboard/.
      total_steps: micro-batches of the whole run.
      start_step: micro-batches already trained. Lines after it are dropped, for the
        run writes them again; 0 starts afresh.
      unit: what progress is counted in, for people.
      quiet: no progress; the files are written all the same.
      active: False on all but the first process: nothing is written or shown.
    """

    def __init__(
        self,
        workdir: str | Path,
        *,
        total_steps: int,
        start_step: int,
        unit: str = "example",
        quiet: bool = False,
        active: bool = True,
    ):
        self._active = active
        if not active:
            return
        path = Path(workdir) / METRICS
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        _rewind(path, start_step)
        with writing(path):
            self._file = path.open("a", encoding="utf-8")
        self._events = _events(path.with_name(TENSORBOARD), start_step)
        self._progress = _progress(total_steps, start_step, unit, quiet)

    def log(self, step: int, mapping: Mapping[str, Any]) -> None:
        """Append one line: numbers as they are, not finite ones as null."""
        if not self._active:
            return
        values = {name: _plain(value) for name, value in mapping.items()}
        strict = {name: _finite(value) for name, value in values.items()}
        line = json.dumps({"step": step, **strict}, allow_nan=False)
        with writing(self._path):
            self._file.write(line + "\n")
            self._file.flush()
        for name, value in values.items():
            if isinstance(value, int | float):
                self._events.add_scalar(name, value, step)

    def progress(
        self, step: int, *, loss: SupportsFloat, examples_per_second: SupportsFloat
    ) -> None:
        """Show that `step` micro-batches are done."""
        if self._active:
            self._progress.show(step, float(loss), float(examples_per_second))

    def say(self, text: str) -> None:
        """Show a line of text beside the progress."""
        if self._active:
            self._progress.say(text)

    def close(self) -> None:
        """Close the files and the bar."""
        if self._active:
            self._progress.close()
            self._events.close()
            self._file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info) -> None:
        self.close()


class _Bar:
    """A bar on a terminal."""

    def __init__(self, total: int, start: int, unit: str):
        self._unit = unit
        self._bar = tqdm(
            total=total,
            initial=start,
            dynamic_ncols=True,
            bar_format="{percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} steps"
            "{postfix}, {remaining} left",
        )

    def show(self, step: int, loss: float, rate: float) -> None:
        self._bar.set_postfix_str(_state(loss, rate, self._unit), refresh=False)
        self._bar.update(step - self._bar.n)

    def say(self, text: str) -> None:
        self._bar.write(text, file=sys.stderr)

    def close(self) -> None:
        self._bar.close()


class _Lines:
    """A few lines in a log file or a notebook, where a bar would be a mess."""

    def __init__(self, total: int, start: int, unit: str):
        self._total, self._start, self._unit = total, start, unit
        self._shown = start * _LINES // total
        self._began = monotonic()

    def show(self, step: int, loss: float, rate: float) -> None:
        part = step * _LINES // self._total
        if part == self._shown or step == self._start:
            return
        self._shown = part
        per_step = (monotonic() - self._began) / (step - self._start)
        left = tqdm.format_interval(per_step * (self._total - step))
        state = f"{step}/{self._total} steps, {_state(loss, rate, self._unit)}"
        self.say(f"{state}, {left} left")

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        pass


class _Silent:
    """No progress."""

    def show(self, step: int, loss: float, rate: float) -> None:
        del step, loss, rate

    def say(self, text: str) -> None:
        del text

    def close(self) -> None:
        pass


def _events(folder: Path, start_step: int) -> SummaryWriter:
    return SummaryWriter(
        str(folder),
        # hides what a killed run wrote from this step on, itself included
        purge_step=start_step + 1 if start_step else 0,
        # its writer is asynchronous: a kill loses a second here, none of metrics.jsonl
        flush_secs=1,
        # names are times in seconds: a quick restart would overwrite the file
        filename_suffix=f".{start_step}",
    )


def _progress(total: int, start: int, unit: str, quiet: bool):
    if quiet:
        return _Silent()
    return (_Bar if sys.stderr.isatty() else _Lines)(total, start, unit)


def _state(loss: float, rate: float, unit: str) -> str:
    return f"loss {loss:.4f}, {rate:.1f} {unit}s/s"


def _rewind(path: Path, step: int) -> None:
    """Drop the lines after `step`, all of them at 0, at once or not at all."""
    if not path.exists():
        return
    kept = [line for line in read_metrics(path) if step and line["step"] <= step]
    write_text(path, "".join(json.dumps(line) + "\n" for line in kept))


def _parse(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        values = json.loads(line)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise DataError(path, f"line {number} is no JSON object; remove it to go on")
    return values


def _plain(value: Any) -> Any:
    """Turn NumPy's and JAX's scalars into Python's."""
    return value.item() if hasattr(value, "item") else value


def _finite(value: Any) -> Any:
    unknown = isinstance(value, float) and not math.isfinite(value)
    return None if unknown else value
