"""The door: flags, and what is said of errors that the user can mend."""

import errno
import threading
from pathlib import Path

import jax.numpy as jnp
import pytest
from absl import flags
from ml_collections import config_flags

from medssl_jax import main, optim, resolve
from medssl_jax.errors import ConfigError, Part
from medssl_jax.optim.durations import Durations
from medssl_jax.protocols import experiment
from medssl_jax.run import memory

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
    assert main._in_experiment(["--config", f"{CONFIGS}/grid.py"]) == said
    assert main._in_experiment([f"--config={CONFIGS}/byol3d.py", "--x=1"]) == ""
    assert main._in_experiment(["--config"]) == ""


@pytest.mark.parametrize(
    "part, flag, configs",
    [
        (
            Part("optimizer", "adam", ("b1", "b2")),
            """--config.optimizer='{"name": "adam", "b1": ..., "b2": ...}'""",
            "byol3d.py",  # the one that was given is told first
        ),
        (
            Part("experiment.method", "swav", tuple("abcde")),
            (
                "--config.experiment.method='{"
                '"name": "swav", "a": ..., "b": ..., "c": ..., "d": ..., ...'
                "}'"
            ),
            "swav.py",
        ),
        (Part("data", "nifti", ("root",)), None, "byol3d.py"),
        (Part("evaluation[0]", "segment", ("step",)), None, "segment.py"),
    ],
)
def test_a_part_of_another_name_is_stated_whole_or_a_config_has_it(part, flag, configs):
    said = main._another(part, CONFIGS / "byol3d.py")
    assert f"start from a config that has it: {CONFIGS / configs}" in said
    assert said.startswith(
        "; start" if flag is None else f"; state it whole, {flag} or"
    )


def test_nothing_is_told_of_a_part_where_there_is_nothing_to_tell():
    assert main._another(Part("data", "mine", ()), CONFIGS / "byol3d.py") == ""


def test_a_part_that_is_stated_whole_replaces_the_config_s():
    stated = """{"name": "adam", "b1": 0.9, "b2": 0.999}"""
    config = experiment.load(str(CONFIGS / "grid.py"), "byol3d:mrnet")
    given = [f"--config.optimizer={stated}"]
    known = flags.FlagValues()
    config_flags.DEFINE_config_dict("config", config, "", known, sys_argv=given)
    known(["main", *given])
    settings = known.config.optimizer.to_dict()
    durations = Durations(64, 8, 8, 4.0)
    optim.optimizer(durations, lambda update: 0.1, **settings)


def test_settings_of_an_unnamed_function_are_no_part():
    for part in ("", "adam"):
        with pytest.raises(ConfigError) as error:
            resolve.check("optimizer", lambda *, b1: b1, {"b3": 0.9}, part=part)
        known = Part("optimizer", "adam", ("b1",)) if part else None
        assert error.value.part == known


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


def test_a_device_without_memory_is_told_what_to_lower():
    with pytest.raises(Exception, match="RESOURCE_EXHAUSTED") as raised:
        jnp.zeros(10**15, jnp.uint8).block_until_ready()
    said = main._text(raised.value)
    assert said.startswith("too little memory on the device (RESOURCE_EXHAUSTED: Out")
    assert "config.micro_batch_size" in said and memory.is_exhausted(raised.value)
    assert not memory.is_exhausted(MemoryError("out of memory"))
