"""Unusable files are set aside, reported, and stay so when a run goes on."""

import csv

import numpy as np
import pytest

from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.sources.npy import npy
from medssl_jax.errors import DataError


def tree(root, good="ac", bad="bd"):
    root.mkdir(parents=True)
    for name in good:
        np.save(root / f"{name}.npy", np.random.RandomState(0).rand(4, 5))
    for name in bad:
        np.save(root / f"{name}.npy", np.full((4, 5), np.nan))
    return npy(root=str(root))


def rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_unusable_examples_are_left_out_and_listed_with_their_reason(tmp_path):
    source = tree(tmp_path / "scans")
    usable = skip_unusable(source, tmp_path / "run/skipped.csv")
    assert [usable.name(i) for i in range(len(usable))] == ["a.npy", "c.npy"]
    listed = rows(tmp_path / "run/skipped.csv")
    assert [row["name"] for row in listed] == ["b.npy", "d.npy", ""]
    assert all("20 NaN" in row["reason"] for row in listed[:2])
    assert listed[2]["reason"] == "2 of 4 examples are usable"


def test_a_broken_file_that_is_called_like_a_formula_is_left_out_too(tmp_path):
    source = tree(tmp_path / "scans", good="a", bad=("=b", "-c"))
    for _ in range(2):
        usable = skip_unusable(source, tmp_path / "skipped.csv")
        assert [usable.name(i) for i in range(len(usable))] == ["a.npy"]


def test_a_resumed_run_keeps_its_examples_without_reading_them(tmp_path):
    source = tree(tmp_path / "scans")
    skip_unusable(source, tmp_path / "skipped.csv")
    np.save(tmp_path / "scans/c.npy", np.full((4, 5), np.nan))
    before = (tmp_path / "skipped.csv").read_bytes()
    usable = skip_unusable(source, tmp_path / "skipped.csv")
    assert usable.indices.tolist() == [0, 2]
    assert (tmp_path / "skipped.csv").read_bytes() == before


def test_sources_share_a_report_though_their_names_are_alike(tmp_path):
    train = tree(tmp_path / "train")
    test = tree(tmp_path / "test", good="abd", bad="c")
    report = tmp_path / "skipped.csv"
    for _ in range(2):
        assert skip_unusable(train, report).indices.tolist() == [0, 2]
        assert skip_unusable(test, report).indices.tolist() == [0, 1, 3]
    assert len(rows(report)) == 5


def test_a_source_without_faults_is_read_once_too(tmp_path, monkeypatch):
    source = tree(tmp_path / "scans", bad="")
    skip_unusable(source, tmp_path / "skipped.csv")
    np.save(tmp_path / "scans/c.npy", np.full((4, 5), np.nan))
    assert len(skip_unusable(source, tmp_path / "skipped.csv")) == 2


def test_a_source_without_any_usable_example_is_refused(tmp_path):
    source = tree(tmp_path / "scans", good="")
    for _ in range(2):
        with pytest.raises(DataError, match="skipped.csv: no example.*NaN"):
            skip_unusable(source, tmp_path / "skipped.csv")


def test_another_file_in_the_reports_place_is_not_overwritten(tmp_path):
    source = tree(tmp_path / "scans")
    (tmp_path / "skipped.csv").write_text("mine,own\n1,2\n")
    with pytest.raises(DataError, match="skipped.csv: is no report"):
        skip_unusable(source, tmp_path / "skipped.csv")


def test_other_errors_are_not_swallowed(tmp_path):
    source = tree(tmp_path / "scans")
    broken = type(source)(source.names, {}.__getitem__)
    with pytest.raises(KeyError):
        skip_unusable(broken, tmp_path / "skipped.csv")
    assert not (tmp_path / "skipped.csv").exists()
