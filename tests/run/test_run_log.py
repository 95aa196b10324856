"""The log: its lines, its events, what a resumed run drops, what a person sees."""

import io
import json
import math
import struct

import jax.numpy as jnp
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event

from medssl_jax.errors import DataError
from medssl_jax.run.log import Logger, read_metrics


def _logger(workdir, start_step=0, **options):
    options = {"total_steps": 100, "quiet": True} | options
    return Logger(workdir, start_step=start_step, **options)


def _lines(workdir):
    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def _events(workdir):
    """Return TensorBoard's events, file by file in the order they were opened."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir()):
        data = path.read_bytes()
        while data:  # TFRecord: length, its crc, the message, its crc
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def _scalars(workdir):
    return {
        (value.tag, event.step): value.simple_value
        for event in _events(workdir)
        for value in event.summary.value
    }


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_line_holds_the_step_first_and_plain_numbers(tmp_path):
    values = {
        "loss": jnp.float32(1.5),
        "epoch": np.int64(2),
        "lr": 0.25,
        "split": "valid",
    }
    with _logger(tmp_path) as logger:
        logger.log(3, values)
        text = (tmp_path / "metrics.jsonl").read_text()  # flushed before it closes
    assert (
        text == '{"step": 3, "loss": 1.5, "epoch": 2, "lr": 0.25, "split": "valid"}\n'
    )


def test_tensorboard_gets_the_numbers_of_a_line(tmp_path):
    with _logger(tmp_path) as logger:
        logger.log(3, {"loss": jnp.bfloat16(1.5), "epoch": 2, "split": "valid"})
    assert _scalars(tmp_path) == {("loss", 3): 1.5, ("epoch", 3): 2.0}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_is_null_in_strict_json(tmp_path, bad):
    with _logger(tmp_path) as logger:
        logger.log(1, {"loss": jnp.float32(bad)})
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "loss": null}\n'


def test_a_resumed_run_writes_no_step_twice(tmp_path):
    with _logger(tmp_path) as logger:
        for step in range(1, 8):
            logger.log(step, {"loss": float(step)})
    with _logger(tmp_path, start_step=4) as logger:
        for step in range(5, 11):
            logger.log(step, {"loss": -float(step)})
    assert [line["step"] for line in _lines(tmp_path)] == list(range(1, 11))
    assert [line["loss"] for line in _lines(tmp_path)[3:5]] == [4.0, -5.0]


def test_tensorboard_is_told_to_forget_the_steps_after_the_checkpoint(tmp_path):
    for start in (0, 4):
        with _logger(tmp_path, start_step=start) as logger:
            logger.log(start + 1, {"loss": 0.0})
    started = [e.step for e in _events(tmp_path) if e.HasField("session_log")]
    # TensorBoard hides what is at or after these steps in earlier files
    assert started == [0, 5]


def test_a_run_begun_again_from_nothing_keeps_no_line(tmp_path):
    for _ in range(2):
        with _logger(tmp_path) as logger:
            logger.log(0, {"auc": 0.5})
    assert _lines(tmp_path) == [{"step": 0, "auc": 0.5}]


@pytest.mark.parametrize("torn", ['{"step": 3, "lo', '{"step": 3, "loss": 3.0}', "{"])
def test_a_line_torn_by_a_kill_is_dropped(tmp_path, torn):
    with _logger(tmp_path) as logger:
        for step in (1, 2):
            logger.log(step, {"loss": float(step)})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + torn)
    assert [line["step"] for line in read_metrics(path)] == [1, 2]
    with _logger(tmp_path, start_step=3) as logger:
        logger.log(4, {"loss": 4.0})
    assert [line["step"] for line in _lines(tmp_path)] == [1, 2, 4]


@pytest.mark.parametrize("damaged", ["not json", "3", '["step"]'])
def test_a_damaged_line_within_is_named(tmp_path, damaged):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n' + damaged + '\n{"step": 3}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl: line 2 is no JSON object"):
        read_metrics(path)


def test_an_inactive_logger_writes_and_shows_nothing(tmp_path, capfd):
    with _logger(tmp_path / "run", active=False, quiet=False) as logger:
        logger.log(1, {"loss": 1.0})
        logger.progress(1, loss=1.0, examples_per_second=1.0)
    assert not (tmp_path / "run").exists()
    assert capfd.readouterr() == ("", "")


def test_a_quiet_logger_writes_and_shows_nothing(tmp_path, capfd):
    with _logger(tmp_path) as logger:
        logger.log(1, {"loss": 1.0})
        logger.progress(50, loss=1.0, examples_per_second=1.0)
    assert _lines(tmp_path) == [{"step": 1, "loss": 1.0}]
    assert capfd.readouterr() == ("", "")


def test_a_log_file_gets_few_lines_with_loss_rate_and_time_left(tmp_path, capfd):
    with _logger(tmp_path, total_steps=1000, quiet=False) as logger:
        for step in range(1, 1001):
            logger.progress(step, loss=jnp.float32(2.5), examples_per_second=31.25)
    out, err = capfd.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 20
    assert err.splitlines()[0].startswith(
        "50/1000 steps, loss 2.5000, 31.2 examples/s, 0"
    )
    assert err.splitlines()[-1].endswith("00:00 left")


def test_time_left_is_of_this_run_not_of_the_one_before(tmp_path, capfd, monkeypatch):
    clock = iter([1000.0, 1010.0])
    monkeypatch.setattr("medssl_jax.run.log.monotonic", lambda: next(clock))
    with _logger(tmp_path, start_step=40, quiet=False) as logger:
        logger.progress(50, loss=1.0, examples_per_second=1.0)  # ten steps, ten seconds
    assert capfd.readouterr().err.endswith("00:50 left\n")


def test_a_resumed_run_says_no_more_often_where_it_is(tmp_path, capfd):
    with _logger(tmp_path, start_step=42, quiet=False) as logger:
        for step in range(43, 51):
            logger.progress(step, loss=1.0, examples_per_second=1.0)
    said = capfd.readouterr().err.splitlines()
    assert [line.partition("/")[0] for line in said] == ["45", "50"]


def test_a_terminal_gets_a_bar_that_starts_where_the_run_does(tmp_path, monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with _logger(tmp_path, start_step=40, quiet=False, unit="image") as logger:
        logger.progress(70, loss=2.5, examples_per_second=31.25)
    first, *_, last = terminal.getvalue().strip().split("\r")
    assert "40/100 steps" in first
    assert "70%" in last
    assert "70/100 steps, loss 2.5000, 31.2 images/s, " in last
    assert last.endswith("left")
