"""Two real processes over loopback, against one process with two devices."""

import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tiny_run

LAUNCHER = tiny_run.ROOT / "launch/local.sh"


def launch(workdir: Path, **settings) -> subprocess.Popen:
    """Start two processes of one device each."""
    return subprocess.Popen(
        [LAUNCHER, "2", *tiny_run.arguments(workdir, **settings)],
        cwd=tiny_run.ROOT,
        env=tiny_run.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="session")
def two_devices(tmp_path_factory) -> Path:
    """Return the folder of a run in one process with two devices."""
    workdir = tmp_path_factory.mktemp("two_devices")
    env = tiny_run.environment(devices=2)
    tiny_run.finish(tiny_run.start(tiny_run.arguments(workdir), env=env))
    return workdir


def assert_states_agree(workdir: Path, expected: Path) -> None:
    actual, _ = tiny_run.checkpoint(workdir)
    expected, _ = tiny_run.checkpoint(expected)
    assert actual.keys() == expected.keys()
    for name, leaf in expected.items():
        np.testing.assert_allclose(
            actual[name], leaf, rtol=1e-6, atol=1e-7, err_msg=name
        )


@pytest.mark.slow
def test_two_processes_equal_two_devices_though_stopped_on_the_way(
    two_devices, tmp_path
):
    """Stopped by SIGTERM, saved by both, started again by the same command."""
    process = launch(tmp_path)
    tiny_run.wait_for(tmp_path / "views.npz", process)
    process.terminate()
    said = tiny_run.finish(process, 128 + signal.SIGTERM)
    assert said.count("stopped after step") == 1  # one process speaks
    assert not (tmp_path / "results.json").exists()
    said = tiny_run.finish(launch(tmp_path))
    assert said.count("report: ") == 1
    assert_states_agree(tmp_path, two_devices)
    assert (tmp_path / "report.html").exists()


@pytest.mark.slow
def test_two_processes_equal_two_devices_by_pmap_too(two_devices, tmp_path):
    tiny_run.finish(launch(tmp_path, parallel="pmap"))
    assert_states_agree(tmp_path, two_devices)


def test_the_launcher_exits_with_the_first_failure(tmp_path):
    said = tiny_run.finish(launch(tmp_path, model__name="resnest"), 1)
    assert "error: config.model.name: unknown name 'resnest' in models" in said


def test_the_launcher_asks_for_a_number():
    done = subprocess.run(
        [LAUNCHER, "--config=x"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2 and done.stderr.startswith("usage: ")
