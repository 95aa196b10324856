"""Two runs in one folder: the second one is refused, until the first one ends."""

import signal
import subprocess
import sys

import pytest

from medssl_jax.errors import UserError
from medssl_jax.run.alone import alone_in

HOLDS = """
import sys, time
from pathlib import Path
from medssl_jax.run.alone import alone_in
with alone_in(Path(sys.argv[1])):
    print("there", flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_and_one_that_is_killed_leaves_no_lock(tmp_path):
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "there\n"
        said = "in use by a run that has not ended"
        with pytest.raises(UserError, match=said), alone_in(tmp_path):
            pass
        first.send_signal(signal.SIGKILL)
    with alone_in(tmp_path):
        pass


def test_a_run_that_ended_or_failed_leaves_the_folder_free(tmp_path):
    with pytest.raises(ZeroDivisionError), alone_in(tmp_path):
        _ = 1 / 0
    assert not list(tmp_path.iterdir())
    with alone_in(tmp_path):
        pass
