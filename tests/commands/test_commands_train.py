"""Runs from their command line: killed, stopped, damaged, short of room, misled."""

import json
import re
import resource
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import tiny_run

from medssl_jax.commands import train
from medssl_jax.protocols import experiment


@pytest.fixture(scope="session")
def reference(tmp_path_factory) -> Path:
    """Return the folder of a run that nothing has disturbed."""
    workdir = tmp_path_factory.mktemp("reference")
    tiny_run.finish(tiny_run.start(tiny_run.arguments(workdir)))
    return workdir


@pytest.fixture
def copied(reference, tmp_path) -> Path:
    return Path(shutil.copytree(reference, tmp_path / "run"))


def steps(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").glob("*[0-9]"))


def forget_after(workdir: Path, step: int) -> None:
    for newer in steps(workdir):
        if newer > step:
            shutil.rmtree(workdir / "checkpoints" / str(newer))


def largest_file(workdir: Path, step: int) -> Path:
    folder = workdir / "checkpoints" / str(step) / "state"
    data = [path for path in folder.rglob("d/*") if path.is_file()]
    return max(data, key=lambda path: path.stat().st_size)


def logged(workdir: Path) -> list[dict]:
    """Return what was logged, but for times."""
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    times = ("examples_per_second", "data_wait")
    return [
        {name: x for name, x in line.items() if name not in times}
        for line in map(json.loads, lines)
    ]


def told(workdir: Path) -> dict:
    """Return what run.json tells of the run but for times and folders."""
    run = json.loads((workdir / "run.json").read_text())
    return {name: run[name] for name in ("data", "durations", "parameters", "versions")}


def assert_ends_alike(workdir: Path, reference: Path) -> None:
    """Compare all that the last checkpoints hold, and all that was logged."""
    state, position = tiny_run.checkpoint(workdir)
    expected, expected_position = tiny_run.checkpoint(reference)
    assert state.keys() == expected.keys()
    for part in ("params", "aux/target", "opt_state/acc_grads", "opt_state/mini_step"):
        assert any(name.startswith(f"/{part}") for name in state), part
    for name, leaf in expected.items():
        np.testing.assert_array_equal(state[name], leaf, err_msg=name)
    assert position == expected_position
    assert logged(workdir) == logged(reference)
    assert told(workdir) == told(reference)


def test_a_run_killed_in_mid_accumulation_ends_with_the_same_bits(reference, tmp_path):
    command = tiny_run.arguments(tmp_path)
    process = tiny_run.start(command)
    tiny_run.wait_for(tmp_path / "checkpoints/3", process)
    process.kill()
    tiny_run.finish(process, -signal.SIGKILL)
    forget_after(tmp_path, 3)  # it may have come further before the kill reached it
    accumulated, _ = tiny_run.checkpoint(tmp_path, 3)
    assert accumulated["/opt_state/mini_step"] == 1
    tiny_run.finish(tiny_run.start(command))
    assert_ends_alike(tmp_path, reference)


@pytest.mark.slow
def test_a_finished_run_that_is_started_again_tells_the_same(reference, copied):
    began = json.loads((copied / "run.json").read_text())
    said = tiny_run.finish(tiny_run.start(tiny_run.arguments(copied)))
    assert_ends_alike(copied, reference)
    now = json.loads((copied / "run.json").read_text())
    assert (
        now["started"] == began["started"] and now["seconds"] >= 0.8 * began["seconds"]
    )
    assert "compiling" not in said
    shown = (copied / "report.html").read_text() + (copied / "run.json").read_text()
    assert str(copied.parent) not in shown


@pytest.mark.slow
def test_a_finished_run_leaves_no_memory_of_its_workers_behind(tmp_path):
    command = tiny_run.arguments(tmp_path, data__workers=2, train_epochs=1.5)
    assert "leaked" not in tiny_run.finish(tiny_run.start(command))


@pytest.mark.slow
def test_nor_does_one_whose_data_are_damaged(tmp_path):
    (tmp_path / "scans").mkdir()
    scan = np.random.default_rng(0).integers(0, 255, (4, 16, 16), np.uint8)
    for i in range(16):
        np.save(tmp_path / f"scans/{i}.npy", scan)
    damaged = tmp_path / "scans/9.npy"
    damaged.write_bytes(damaged.read_bytes()[:-9])
    phantoms = ("data.count", "data.size_voxels", "splits.probe", "splits.test")
    given = {"data__root": tmp_path / "scans", "data__workers": 2}
    command = tiny_run.arguments(tmp_path / "run", **given)
    command = [f for f in command if not any(name in f for name in phantoms)]
    command[0] = "--config=configs/byol3d.py:npy"
    said = tiny_run.finish(tiny_run.start(command), 1)
    assert "9.npy: is no readable .npy" in said
    assert "leaked" not in said


@pytest.mark.slow
def test_one_scan_without_labels_is_enough_to_pretrain(tmp_path):
    (tmp_path / "scans").mkdir()
    scan = np.random.default_rng(0).integers(0, 255, (6, 20, 20), np.uint8)
    np.save(tmp_path / "scans/only.npy", scan)
    command = tiny_run.arguments(
        tmp_path / "run", data__root=tmp_path / "scans", data__workers=0
    )
    phantoms = ("data.count", "data.size_voxels", "splits.probe", "splits.test")
    command = [f for f in command if not any(name in f for name in phantoms)]
    command[0] = "--config=configs/byol3d.py:npy"
    said = tiny_run.finish(tiny_run.start(command))
    assert "it takes 3 examples, and there are 1" in said
    assert "nothing is projected" in (tmp_path / "run/report.html").read_text()


@pytest.mark.slow
def test_sigterm_saves_first_and_the_run_ends_with_the_same_bits(reference, tmp_path):
    command = tiny_run.arguments(tmp_path)
    process = tiny_run.start(command)
    tiny_run.wait_for(tmp_path / "views.npz", process)
    process.terminate()
    said = tiny_run.finish(process, 128 + signal.SIGTERM)
    (saved,) = steps(tmp_path)[-1:]
    assert f"stopped after step {saved}, saved" in said
    *_, last = [0, *(line["step"] for line in logged(tmp_path))]
    assert saved < tiny_run.STEPS and saved - last in (0, 1)
    tiny_run.finish(tiny_run.start(command))
    assert_ends_alike(tmp_path, reference)


@pytest.mark.slow
def test_damaged_checkpoints_are_named_and_the_one_before_is_used(reference, copied):
    before, flipped, cut = steps(copied)
    path = largest_file(copied, cut)
    path.write_bytes(path.read_bytes()[:1000])
    path = largest_file(copied, flipped)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)

    said = tiny_run.finish(tiny_run.start(tiny_run.arguments(copied)))
    for step in (flipped, cut):
        assert f"checkpoints/{step} is damaged and not used" in said
    assert f"checkpoints/{before} is damaged" not in said
    assert_ends_alike(copied, reference)


@pytest.mark.slow
def test_a_full_disk_names_the_folder_and_leaves_older_checkpoints_whole(copied):
    oldest = steps(copied)[0]
    forget_after(copied, oldest)
    expected = tiny_run.checkpoint(copied, oldest)
    process = tiny_run.start(tiny_run.arguments(copied))
    # no file can grow beyond this; a checkpoint's largest are 50 KiB
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (2**15, 2**15))
    said = tiny_run.finish(process, 1)
    assert f"error: no room for a checkpoint in {copied}/checkpoints" in said
    assert "Traceback" not in said
    assert steps(copied) == [oldest]
    np.testing.assert_equal(tiny_run.checkpoint(copied, oldest), expected)


def test_another_config_in_the_same_folder_is_refused_by_field(copied):
    # one that changes no shape, and one that does
    changed = {"method__base_tau": 0.5, "model__width": 8}
    said = tiny_run.finish(tiny_run.start(tiny_run.arguments(copied, **changed)), 1)
    named = r"\(method.base_tau: 0.\d+ there, 0.5 now; model.width: 4 there, 8 now\)"
    assert re.search(named, said), said
    assert "--workdir" in said and "Traceback" not in said


@pytest.mark.slow
def test_ten_broken_gradients_stop_the_run_and_name_the_files(tmp_path):
    command = tiny_run.arguments(tmp_path, schedule__peak=1e30)
    said = tiny_run.finish(tiny_run.start(command), 1)
    assert "error: the gradient was not finite in 10 micro-batches in a row" in said
    assert said.count("phantom-0000") == 4 and "Traceback" not in said
    state, _ = tiny_run.checkpoint(tmp_path, steps(tmp_path)[-1])
    assert all(np.isfinite(leaf).all() for leaf in state.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"splits.probe.count": 1}, "there will be no probe: the linear probe learns"),
        ({"data.shape": (4, 16, 20)}, "every image of the first batch is smaller than"),
    ],
)
def test_what_does_not_suit_the_data_is_said_before_the_first_step(
    tmp_path, monkeypatch, capsys, changes, said
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "make_train_step", lambda *_, **__: stop)
    config = experiment.load(str(tiny_run.ROOT / "configs/grid.py"), "byol3d:demo")
    settings = tiny_run.SETTINGS | {"micro_batch_size": 8} | changes
    with pytest.raises(KeyboardInterrupt):
        train.run(experiment.vary(config, settings), tmp_path)
    told = capsys.readouterr().err.splitlines()
    (line,) = [line for line in told if "warning" in line]
    assert line.startswith(f"warning: {said}")
