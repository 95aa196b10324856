"""What protocols tell of runs that they did not make themselves."""

import json

from ml_collections import ConfigDict

from medssl_jax.protocols import outcome, transfer


def write(folder, name, content):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))


def test_labels_that_are_fed_again_are_counted_once(tmp_path):
    train = {"count": 40, "distinct": 9, "patients": 5}
    write(tmp_path, "run.json", {"data": {"train": train, "test": {"count": 7}}})
    assert outcome.labels_used(tmp_path) == (9, 5, 0)
    validation = {"distinct": 8, "label_counts": {"0": 3, "1": 2, "none": 3}}
    data = {"train": train, "validation": validation}
    write(tmp_path, "run.json", {"data": data})
    assert outcome.labels_used(tmp_path) == (9, 5, 5)


def test_facts_are_of_the_last_run_and_seconds_of_all(tmp_path):
    for i in range(3):
        about = {"data": {"train": {"count": i}}, "durations": {"updates": 10 + i}}
        about |= {"parameters": 100, "seconds": 1.5 + i}
        write(tmp_path / str(i), "run.json", about)
    found = outcome.facts_of([tmp_path / str(i) for i in range(3)])
    assert found["durations"]["runs"] == 3
    assert found["durations"]["updates, each"] == 12
    assert found["durations"]["seconds of all runs"] == round(1.5 + 2.5 + 3.5)
    assert found["data"] == {"train": {"count": 2}} and found["parameters"] == 100


def test_home_and_here_are_told_apart(tmp_path):
    own = {"AUC": {"value": 0.9}, "accuracy": {"value": 0.8}}
    write(tmp_path, "results.json", {"values": own})
    here = {"values": {"AUC": {"value": 0.7}, "sensitivity": {"value": 0.1}}}
    (table,) = transfer._at_home(ConfigDict({"init_from": str(tmp_path)}), here)
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    assert rows == [{"metric": "AUC", "at home": 0.9, "here": 0.7}]
