"""Files that the package writes: whole, inert, and read with a clear error."""

import csv
import errno
import os

import numpy as np
import pytest

from medssl_jax import files
from medssl_jax.errors import DataError, UserError


def full(draft):
    draft.write_bytes(b"half of")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_cannot_be_written_whole_leaves_what_was_there(tmp_path):
    path = tmp_path / "results.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(UserError, match=r"results\.json: .*No space.*make room"):
        files.write_whole(path, full)
    assert files.read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["results.json"]


def test_a_folder_that_is_a_file_is_named(tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match=r"run/a\.csv: cannot be written \(File exists"):
        files.write_csv(tmp_path / "run/a.csv", ["name"], [])


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"[" * 10**5])
def test_what_is_no_json_object_is_named(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.json: .*; prepare again"):
        files.read_json(path, "prepare again")


def test_no_cell_is_a_formula_and_every_number_is_a_number(tmp_path):
    texts = ["=cmd|' /C calc'!A0", "+1+1", "-x.png", "@SUM(A1)", "\tx", "scan, 1"]
    numbers = ["-0.5", "1e-7", -3, 0.25]
    files.write_csv(tmp_path / "a.csv", ["name", "value"], [texts, numbers])
    with open(tmp_path / "a.csv", newline="", encoding="utf-8") as file:
        _, found, same = csv.reader(file)
    assert found == [*(f"'{text}" for text in texts[:-1]), texts[-1]]
    assert same == [str(number) for number in numbers]


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3), "mask/b": np.array(["x"])}
    files.write_arrays(tmp_path / "a.npz", arrays)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert list(found) == list(arrays)
        np.testing.assert_array_equal(found["a"], arrays["a"])


def test_a_full_disk_is_known_by_number_words_and_cause():
    caused = RuntimeError("writing failed")
    caused.__cause__ = OSError(errno.EDQUOT, "x")
    assert all(
        files.is_full(error)
        for error in (
            OSError(errno.EFBIG, "x"),
            ValueError("RESOURCE_EXHAUSTED: Error writing"),
            caused,
        )
    )
    assert not files.is_full(OSError(errno.EACCES, "x"))
    of_a_gpu = "RESOURCE_EXHAUSTED: Out of memory while trying to allocate 9 bytes."
    assert not files.is_full(RuntimeError(of_a_gpu))
