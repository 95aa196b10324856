"""Prepared images on disk: when they are used, made anew, and made by many at once."""

import os
import subprocess
import sys

import numpy as np
import pytest

from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Examples, Source, Subset
from medssl_jax.data.sources.npy import npy
from medssl_jax.errors import UserError

PREPARE = Prepare(3, None, "percentiles")


class Counting:
    """A reader of `npy` that counts."""

    def __init__(self, root):
        self.source = npy(root=str(root))
        self.read = 0

    def __call__(self, name):
        self.read += 1
        return self.source.read(name)


@pytest.fixture
def scans(tmp_path):
    root = tmp_path / "scans"
    root.mkdir()
    for name in "abc":
        np.save(root / f"{name}.npy", np.random.RandomState(0).rand(4, 5, 6))
    return root


def counted(root, folder, prepare=PREPARE):
    reader = Counting(root)
    names, stamp_of = reader.source.names, reader.source.stamp_of
    source = Examples(names, reader, np.arange(3), list("xyz"), stamp_of)
    return Cached(source, prepare, str(folder) if folder else ""), reader


def test_an_example_is_decoded_once(scans, tmp_path):
    cached, reader = counted(scans, tmp_path / "cache")
    reference = PREPARE(reader.source[1])["image"]
    for _ in range(3):
        record = cached[1]
        np.testing.assert_array_equal(record["image"], reference)
        assert record["image"].dtype == np.float16
    again, second_reader = counted(scans, tmp_path / "cache")
    again[1]
    assert (reader.read, second_reader.read) == (1, 0)
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npy"]


def test_a_changed_file_or_setting_is_prepared_anew(scans, tmp_path):
    cached, reader = counted(scans, tmp_path / "cache")
    cached[0]
    np.save(scans / "a.npy", np.arange(120.0).reshape(4, 5, 6))
    os.utime(scans / "a.npy", ns=(0, 12345))
    expected = PREPARE(reader.source[0])["image"]
    np.testing.assert_array_equal(cached[0]["image"], expected)
    wider = Prepare(3, None, "percentiles", (10.0, 90.0))
    other, _ = counted(scans, tmp_path / "cache", wider)
    expected = wider(reader.source[0])["image"]
    np.testing.assert_array_equal(other[0]["image"], expected)


def test_the_same_name_below_another_root_is_another_example(scans, tmp_path):
    cached, _ = counted(scans, tmp_path / "cache")
    cached[0]
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stat = (scans / "a.npy").stat()
    for name in "abc":
        np.save(elsewhere / f"{name}.npy", np.random.RandomState(1).rand(4, 5, 6))
        os.utime(elsewhere / f"{name}.npy", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other, reader = counted(elsewhere, tmp_path / "cache")
    expected = PREPARE(reader.source[0])["image"]
    np.testing.assert_array_equal(other[0]["image"], expected)


def test_a_damaged_cache_is_made_anew(scans, tmp_path):
    cached, reader = counted(scans, tmp_path / "cache")
    reference = np.array(cached[0]["image"])
    (kept,) = (tmp_path / "cache").iterdir()
    for damaged in (kept.read_bytes()[:-7], b""):
        kept.write_bytes(damaged)
        np.testing.assert_array_equal(cached[0]["image"], reference)
    assert reader.read == 3


@pytest.mark.parametrize("without", ["folder", "stamps"])
def test_nothing_is_kept_without_a_folder_or_stamps(scans, tmp_path, without):
    cached, reader = counted(scans, "" if without == "folder" else tmp_path / "cache")
    if without == "stamps":
        source = Examples(cached.source.names, reader)
        cached = Cached(source, PREPARE, str(tmp_path / "cache"))
    cached[0], cached[0]
    assert reader.read == 2
    assert not (tmp_path / "cache").exists()


def test_what_is_known_of_examples_passes_through(scans, tmp_path):
    cached, _ = counted(scans, tmp_path / "cache")
    for source in (cached, Subset(cached, np.array([2, 0]))):
        assert isinstance(source, Source)
    subset = Subset(cached, np.array([2, 0]))
    assert len(cached) == 3 and len(subset) == 2
    assert subset.name(0) == "c.npy" and subset.stamp(0) == cached.stamp(2)
    assert subset.labels.tolist() == [2, 0] and subset.patients == ["z", "x"]
    assert subset.label_names is None


def test_findings_and_their_names_pass_through(scans, tmp_path):
    read = npy(root=str(scans)).read
    labels = np.array([[0, 1], [1, -1], [1, 1]])
    source = Examples(list("abc"), read, labels, label_names=("edema", "pus"))
    subset = Subset(Cached(source, PREPARE, ""), np.array([1, 1, 0]))
    assert subset.labels.tolist() == [[1, -1], [1, -1], [0, 1]]
    assert subset.label_names == ("edema", "pus")


ROUNDS = """
import sys, time
from pathlib import Path
import numpy as np
from medssl_jax.data.cache import Cached
from medssl_jax.data.host import Prepare
from medssl_jax.data.sources.npy import npy

root, folder = sys.argv[1:]
prepare = Prepare(3, None, "percentiles")
source = npy(root=root)
cached = Cached(source, prepare, folder)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(50):
    for i in range(3):
        assert np.array_equal(cached[i]["image"], prepare(source[i])["image"]), i
    for path in Path(folder).glob("*.npy"):
        path.unlink(missing_ok=True)  # so that every round writes
"""


def test_processes_that_share_a_cache_read_whole_arrays(scans, tmp_path):
    command = [sys.executable, "-c", ROUNDS, str(scans), str(tmp_path / "cache")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(3)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    assert not list((tmp_path / "cache").glob("*.tmp"))


def test_a_full_disk_is_named_and_leaves_nothing_half_written(
    scans, tmp_path, monkeypatch
):
    cached, _ = counted(scans, tmp_path / "cache")

    def full(*args, **kwargs):
        args[0].write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    with pytest.raises(UserError, match="cache/.*No space left.*data.cache"):
        cached[0]
    assert not list((tmp_path / "cache").iterdir())
