"""The door: flags, and what is said of errors that the user can mend."""

import errno
import threading
from pathlib import Path

from medssl_jax import main
from medssl_jax.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"


def test_of_a_flag_given_twice_the_last_counts():
    shape, other = "--config.data.shape=(4, 4)", "--config.data.shape=(8, 8)"
    given = [
        "main",
        shape,
        "--workdir",
        "a",
        "--config.seed=1",
        other,
        "--config.seed=2",
    ]
    assert main._last_of_each(given) == [
        "main",
        "--workdir",
        "a",
        other,
        "--config.seed=2",
    ]


def test_a_field_of_the_training_inside_a_protocol_is_pointed_to():
    said = "; those of the training are under config.experiment"
    assert main._in_experiment([f"--config={CONFIGS}/grid.py:segment:msd"]) == said
    assert main._in_experiment([f"--config={CONFIGS}/byol3d.py", "--x=1"]) == ""
    assert main._in_experiment(["--config"]) == ""


def test_a_full_disk_is_told_once_and_with_the_file(capsys):
    full = OSError(errno.ENOSPC, "No space left on device", "runs/a/metrics.jsonl")
    assert "no room for runs/a/metrics.jsonl" in main._text(full)
    assert main._text(ConfigError("x is 0")) == "x is 0"

    def arguments(error):
        return threading.ExceptHookArgs((type(error), error, None, None))

    main._in_a_thread(arguments(full))  # the run's own thread meets it too
    assert capsys.readouterr().err == ""
    main._in_a_thread(arguments(KeyError("bug")))
    assert "KeyError: 'bug'" in capsys.readouterr().err
