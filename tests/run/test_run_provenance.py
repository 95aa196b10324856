"""What is written down of a run's data."""

import json

import numpy as np
from ml_collections import ConfigDict

from medssl_jax.data.source import Examples
from medssl_jax.optim.durations import Durations
from medssl_jax.run import provenance
from medssl_jax.run.provenance import summary


def test_classes_are_counted_and_the_unlabelled_apart():
    source = Examples(list("abcd"), dict, np.array([1, -1, 0, 1]), list("ppqq"))
    found = summary(source)
    assert found["label_counts"] == {"0": 1, "1": 2, "none": 1}
    assert found["count"] == 4 and found["patients"] == 2


def test_findings_are_counted_by_what_is_known_of_each():
    labels = np.array([[1, 0], [1, 0], [-1, 0], [0, 0]])
    source = Examples(list("abcd"), dict, labels, label_names=("edema", "pus"))
    assert summary(source)["label_counts"] == {
        "edema present": 2,
        "edema absent": 1,
        "edema unknown": 1,
        "pus present": 0,
        "pus absent": 4,
    }
    assert summary(Examples(list("abcd"), dict))["label_counts"] is None


def test_what_ran_and_how_it_went_are_written_under_their_names(tmp_path):
    config = ConfigDict({"name": "a", "parallel": "shard_map", "running": {"x": 1}})
    source = Examples(list("abcd"), dict, np.array([1, 1, 0, 1]), list("ppqr"))
    run = Durations(examples=24, batch_size=8, micro_batch_size=4, epochs=2)
    path = tmp_path / "run.json"
    path.write_text(json.dumps(provenance.describe(config, {"train": source}, run)))
    params = {"a": np.zeros((2, 3)), "b": [np.zeros(4)]}
    provenance.finish(
        path, params, seconds=7.5, repeated_frames=3, skipped_micro_batches=2
    )
    found = json.loads(path.read_text())
    assert found["durations"] == {
        "epochs": 2,
        "updates": 6,
        "micro-batches": 12,
        "samples per update": 8,
        "samples per micro-batch": 4,
        "accumulation": 2,
        "micro-batches left out, not finite": 2,
    }
    assert (found["seconds"], found["parameters"]) == (7.5, 10)
    assert found["devices"]["parallel"] == "shard_map" and found["devices"]["x"] == 1
    train = found["data"]["train"]
    assert (train["count"], train["patients"], train["repeated_frames"]) == (4, 3, 3)


def test_a_table_for_a_terminal_has_its_columns_under_each_other_and_says_what_is_left():
    rows = [["a", 0.5], *([f"case {i}", i] for i in range(24))]
    table = {"title": "T", "note": "N.", "columns": ["case", "Dice"], "rows": rows}
    title, header, rule, first, *others, note = provenance.text_table(
        table
    ).splitlines()
    assert (title, note) == ("T", "N.") and rule.split() == ["-" * 7, "-" * 5]
    assert header.index("Dice") == first.index("0.500") == rule.index(" ") + 2
    assert len(others) == 20 and others[-1] == "... and 5 more: see report.html"
    short = provenance.text_table(table | {"rows": rows[:3]})
    assert "more" not in short and len(short.splitlines()) == 7
