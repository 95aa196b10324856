"""Damaged input is told in words: the short form of benchmarks/faults.py."""

import subprocess
import sys
from pathlib import Path

import pytest
import tiny_run

FAULTS = Path(__file__).parents[1] / "benchmarks/faults.py"


@pytest.mark.parametrize(
    "kind, count",
    [
        ("files", 60),
        pytest.param("saved", 16, marks=pytest.mark.slow),
        pytest.param("settings", 24, marks=pytest.mark.slow),
    ],
)
def test_nothing_is_raised_raw(kind, count):
    done = subprocess.run(
        # other tests have the cores too: what hangs for a minute hangs
        [sys.executable, FAULTS, f"--kind={kind}", f"--count={count}", "--hangs=60"],
        cwd=tiny_run.ROOT,
        env=tiny_run.environment(PYTHONPATH=str(tiny_run.ROOT)),
        capture_output=True,
        text=True,
        check=True,
    )
    *others, last = done.stdout.splitlines()
    words = last.replace(",", "").split()
    assert words[:2] == [str(count), "inputs:"], done.stderr
    assert set(words[3::2]) <= {"clean", "accepted"}, others
    assert "clean" in words
