"""The command "prepare": stopped and started again, on bad data, by many processes."""

import csv
import os
import signal
import subprocess
import sys
import time

import numpy as np
import prepared
import pytest
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image
from test_configs import load

from medssl_jax.commands import prepare as command
from medssl_jax.data.host import Prepare
from medssl_jax.data.shards import write
from medssl_jax.data.sources.shards import shards
from medssl_jax.errors import ConfigError, DataError, UserError

COUNT = 10  # images; in shards of four, four and two


@pytest.fixture
def raw(tmp_path):
    return prepared.images(tmp_path / "raw", COUNT)


def contents(folder):
    """Return the bytes of every file of a folder."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def times(folder):
    return {
        path.name: path.stat().st_mtime_ns for path in folder.glob("*array_record*")
    }


def break_image(raw, i):
    """Make image i constant; return what it was."""
    path = raw / f"{i:03d}.npy"
    before = path.read_bytes()
    np.save(path, np.zeros((9, 9), np.uint8))
    return path, before


def test_shards_depend_on_data_and_settings_alone(raw, tmp_path):
    first = contents(prepared.run(prepared.npy(raw), tmp_path / "first"))
    again = contents(prepared.run(prepared.npy(raw), tmp_path / "again"))
    assert first == again
    processes = prepared.npy(raw, workers=2)
    assert contents(prepared.run(processes, tmp_path / "processes")) == first


def test_no_path_of_the_raw_data_is_kept(raw, tmp_path):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    for name, content in contents(folder).items():
        assert str(tmp_path).encode() not in content, name
        assert b"table.csv" not in content, name
    data = {"masks": "../of/somebody", "labels": "x", "plane": "sagittal"}
    about = command._about(data, Prepare(2, None, "none"), 4, [])
    assert about["source"] == {"plane": "sagittal"}


def test_a_whole_folder_is_left_as_it_is(raw, tmp_path, capsys):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    prepared.run(prepared.npy(raw), folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert "is whole already" in capsys.readouterr().out


def start(folder, count):
    """Prepare phantoms as a user would, in shards of two."""
    flags = {"data.count": count, "data.size_voxels": (16, 64, 64)}
    flags["examples_per_shard"] = 2
    command = [sys.executable, "-m", "medssl_jax.main", "--config=configs/prepare.py"]
    command += [f"--config.{name}={value}" for name, value in flags.items()]
    return subprocess.Popen(
        [*command, f"--workdir={folder}"],
        cwd=prepared.ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_to_the_same_bytes(tmp_path):
    folder, count = tmp_path / "killed", 60
    process = start(folder, count)
    until = time.monotonic() + 120
    while len(list(folder.glob("done/*.json"))) < 3:
        assert process.poll() is None and time.monotonic() < until, (
            process.stdout.read()
        )
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = {path.stem for path in folder.glob("done/*.json")}
    before = times(folder)
    assert 3 <= len(done) < count // 2
    with pytest.raises(DataError, match="not finished"):
        shards(root=str(folder), split="train")

    said, _ = start(folder, count).communicate(timeout=200)
    after = times(folder)
    assert len(after) == count // 2, said
    assert all(after[name] == before[name] for name in done)
    found = prepared.config(
        data__count=count, data__size_voxels=(16, 64, 64), examples_per_shard=2
    )
    reference = prepared.run(found, tmp_path / "reference")
    assert contents(folder) == contents(reference)
    assert not list(folder.rglob("*.tmp"))


def test_a_shard_cut_off_later_is_made_again_and_no_other(raw, tmp_path):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    reference, before = contents(folder), times(folder)
    damaged = sorted(folder.glob("*array_record*"))[1]
    damaged.write_bytes(damaged.read_bytes()[:-1000])
    prepared.run(prepared.npy(raw), folder)
    after = times(folder)
    assert contents(folder) == reference
    assert [name for name in before if after[name] != before[name]] == [damaged.name]


def test_an_unusable_image_is_named_and_once_mended_the_rest_is_done(raw, tmp_path):
    folder = tmp_path / "shards"
    path, good = break_image(raw, 6)
    with pytest.raises(DataError, match="006.npy.*constant"):
        prepared.run(prepared.npy(raw), folder)
    before = times(folder)
    assert len(before) == 1  # the first; no half of the second
    path.write_bytes(good)
    prepared.run(prepared.npy(raw), folder)
    assert times(folder).items() >= before.items()
    assert len(shards(root=str(folder), split="train")) == COUNT


def test_unusable_images_are_left_out_as_training_leaves_them_out(raw, tmp_path):
    for i in (0, 4, 5, 6, 7):  # the first, and all of the second shard
        break_image(raw, i)
    found = prepared.npy(raw, data__on_error="skip")
    folder = prepared.run(found, tmp_path / "shards")
    with open(folder / "skipped.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == [f"{i:03d}.npy" for i in (0, 4, 5, 6, 7)]
    assert all("constant" in row["reason"] for row in rows)
    from_raw, draw = prepared.sources(found, prepared.raw(found), tmp_path / "a")
    source = {"name": "shards", "root": str(folder), "split": "train"}
    from_shards, _ = prepared.sources(found, source, tmp_path / "b")
    expected = prepared.batches(from_raw, draw, 3)
    for batch, reference in zip(
        prepared.batches(from_shards, draw, 3), expected, strict=True
    ):
        for name, array in reference.items():
            np.testing.assert_array_equal(batch[name], array)


def test_a_source_without_a_usable_image_is_refused(raw, tmp_path):
    for i in range(COUNT):
        break_image(raw, i)
    found = prepared.npy(raw, data__on_error="skip")
    with pytest.raises(DataError, match="009.npy.*no other example is usable"):
        prepared.run(found, tmp_path / "shards")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"data__window": "percentiles"}, "data.window is"),
        ({"examples_per_shard": 5}, "examples_per_shard is 5 here, 4 there"),
        ({"data__unlisted": "drop"}, "source is"),
    ],
)
def test_a_folder_begun_with_other_settings_is_refused(raw, tmp_path, change, field):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    before = contents(folder)
    with pytest.raises((ConfigError, DataError), match=field):
        prepared.run(prepared.npy(raw, **change), folder)
    assert contents(folder) == before


@pytest.mark.parametrize("change", ["image", "label", "patient"])
def test_a_whole_folder_is_not_overwritten_by_other_data(raw, tmp_path, change):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    before = contents(folder)
    table = (raw / "table.csv").read_text()
    if change == "image":
        np.save(raw / "003.npy", np.arange(99, dtype=np.uint8).reshape(9, 11))
    else:
        row = "003.npy,2,p0-1" if change == "label" else "003.npy,0,p0-7"
        (raw / "table.csv").write_text(table.replace("003.npy,0,p0-1", row))
        assert (raw / "table.csv").read_text() != table
    with pytest.raises(UserError, match="shards of other data"):
        prepared.run(prepared.npy(raw), folder)
    assert contents(folder) == before


def test_images_of_two_kinds_are_refused(tmp_path):
    raw = prepared.images(tmp_path / "raw", 3)
    np.save(raw / "001.npy", np.random.default_rng(0).random((9, 9)))
    with pytest.raises(DataError, match="001.npy.*float16 with 1.*uint8 with 1"):
        prepared.run(prepared.npy(raw), tmp_path / "shards")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"examples_per_shard": 0}, "examples_per_shard is 0"),
        ({"data__on_error": "ignore"}, "data.on_error"),
        ({"data__spacing_mm": (1.0, 1.0)}, "data.spacing_mm"),
        ({"data__root": ""}, "data.root"),
        ({"data__shape": (8, 8, 8)}, "3"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(raw, tmp_path, change, field):
    with pytest.raises((ConfigError, DataError), match=field):
        prepared.run(prepared.npy(raw, **change), tmp_path / "shards")


def test_a_shard_that_is_gone_from_a_whole_folder_is_made_again(raw, tmp_path, capsys):
    folder = prepared.run(prepared.npy(raw), tmp_path / "shards")
    reference = contents(folder)
    sorted(folder.glob("*array_record*"))[1].unlink()
    prepared.run(prepared.npy(raw), folder)
    assert contents(folder) == reference
    assert "is whole already" not in capsys.readouterr().out


def test_splits_that_share_a_patient_are_refused(raw, tmp_path):
    other = prepared.images(tmp_path / "other", 4, seed=1)
    found = prepared.npy(raw).unlock()
    found.splits.test = {"root": str(other), "labels": str(other / "table.csv")}
    folder = prepared.run(found, tmp_path / "apart")
    assert len(shards(root=str(folder), split="test")) == 4
    table = (other / "table.csv").read_text()
    (other / "table.csv").write_text(table.replace("p1-1", "p0-1"))
    with pytest.raises(DataError, match="patient p0-1.*is in both train and test"):
        prepared.run(found, tmp_path / "shared")
    assert not list((tmp_path / "shared").iterdir())


def test_a_fraction_to_hold_out_is_refused(raw, tmp_path):
    found = prepared.npy(raw).unlock()
    found.splits.test = {"fraction": 0.2}
    with pytest.raises(ConfigError, match="splits.test.fraction"):
        prepared.run(found, tmp_path / "shards")


def test_masks_of_some_images_are_refused(tmp_path):
    for name in ("images/a.png", "images/b.png", "masks/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.eye(4, dtype=np.uint8)).save(tmp_path / name)
    config = load("prepare", "images")
    config.data.root, config.data.masks = (
        str(tmp_path / name) for name in ("images", "masks")
    )
    config.data.unmasked = "keep"
    with pytest.raises(ConfigError, match=r"data\.unmasked is 'keep'.*every image"):
        command.run(config, tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


def test_too_many_files_are_refused_with_a_number_that_fits(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("medssl_jax.commands.prepare._MOST_SHARDS", 3)
    with pytest.raises(ConfigError, match="10 examples need 4 or more"):
        prepared.run(prepared.npy(raw, examples_per_shard=3), tmp_path / "shards")


def test_a_full_disk_is_named_and_leaves_no_half_of_a_shard(raw, tmp_path, monkeypatch):
    def full(path, options):
        return ArrayRecordWriter("/dev/full", options)

    monkeypatch.setattr(write, "ArrayRecordWriter", full)
    folder = tmp_path / "shards"
    with pytest.raises(UserError, match="00000-of-00003: cannot be written.*No space"):
        prepared.run(prepared.npy(raw), folder)
    assert not list(folder.rglob("*array_record*"))


def test_beam_writes_the_same_bytes(raw, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam (extra [beam]) is missing")
    reference = prepared.run(prepared.npy(raw), tmp_path / "reference")
    folder = prepared.run(prepared.npy(raw, beam=True), tmp_path / "beam")
    assert contents(folder) == contents(reference)
    break_image(raw, 6)
    with pytest.raises(UserError, match="006.npy.*constant"):
        prepared.run(prepared.npy(raw, beam=True), tmp_path / "broken")


def test_without_beam_it_says_what_to_install(raw, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(ConfigError, match=r"pip install 'medssl_jax\[beam\]'"):
        prepared.run(prepared.npy(raw, beam=True), tmp_path / "shards")
