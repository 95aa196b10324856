"""The first epoch near a run's best, on curves written out by hand."""

import json

import pytest

from medssl_jax.protocols.convergence import first_epoch, table


def lines(values, name="validation_AUC"):
    logged = []
    for epoch, value in enumerate(values, 1):
        logged += [{"epoch": epoch - 0.5, "loss": 1.0}, {"epoch": epoch, name: value}]
    return logged


@pytest.mark.parametrize(
    "values, expected",
    [
        ([0.5, 0.9, 1.0, 0.99], 3),
        ([0.5, 0.979, 0.98, 1.0], 3),
        ([0.5, 0.98, 0.7, 1.0], 2),  # the first, also if it is lost again
        ([0.9], 1),
        ([None, 0.4, 0.5], 3),  # not finite: written as null
    ],
)
def test_it_is_the_first_epoch_at_98_percent_of_the_best(values, expected):
    assert first_epoch(lines(values), "validation_AUC") == expected


def test_what_was_never_measured_has_no_epoch():
    assert first_epoch(lines([0.5]), "validation_accuracy") is None


def run(folder, values):
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines(values))
    (folder / "metrics.jsonl").write_text(text)
    return folder


def test_seeds_are_meaned_for_each_share_and_initialisation(tmp_path):
    curves = {
        (1.0, "random"): [[0.2, 0.5, 1.0], [0.99, 1.0]],
        (1.0, "SimCLR"): [[1.0, 1.0], [0.99, 1.0]],
        (0.1, "random"): [[0.1, 0.2, 0.3, 1.0], [0.1, 1.0]],
        (0.1, "SimCLR"): [[0.5, 1.0], [0.5, 1.0]],
    }
    folders = {
        (share, name): [
            run(tmp_path / name / str(share) / str(seed), values)
            for seed, values in enumerate(seeds)
        ]
        for (share, name), seeds in curves.items()
    }
    found = table(folders, "AUC")
    assert found["columns"] == ["labels", "random", "SimCLR"]
    assert found["rows"] == [
        ["10 %", "3.0 ± 1.4", "2.0 ± 0.0"],
        ["100 %", "2.0 ± 1.4", "1.0 ± 0.0"],
    ]
    assert table(folders, "kappa") is None
