"""The first epoch near a run's best, on curves written out by hand."""

import json

import pytest

from medssl_jax.protocols.convergence import curves, first_epoch, table


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


def logged(folder, *lines):
    folder.mkdir(parents=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text)
    return folder


def at(epoch, **metrics):
    return {"epoch": epoch} | {f"validation_{k}": v for k, v in metrics.items()}


def test_curves_are_means_and_deviations_over_seeds_of_each_metric(tmp_path):
    folders = {
        (1.0, "random"): [
            logged(
                tmp_path / "a",
                {"epoch": 0.5, "loss": 3.0, "lr": 0.1},
                at(1, loss=2.0, AUC=0.5, FROC=0.1),
                at(2, loss=1.0, AUC=0.7, FROC=0.3),
            ),
            logged(tmp_path / "b", at(1, AUC=0.6, FROC=0.2), at(2, AUC=0.9, FROC=0.3)),
        ],
        (0.1, "random"): [logged(tmp_path / "c", at(1, AUC=0.4), at(2, AUC=0.45))],
        (1.0, "SwAV"): [logged(tmp_path / "d", at(1, AUC=0.8), at(2, AUC=0.95))],
    }
    first, second = curves(folders, "FROC")
    assert (first["metric"], second["metric"]) == ("FROC", "AUC")
    (froc,) = first["curves"]
    assert froc["mean"] == pytest.approx([0.15, 0.3])
    # sqrt((.05 ** 2 + .05 ** 2) / 1), and two values that are one
    assert froc["deviation"] == pytest.approx([0.0707107, 0])
    few, random, swav = second["curves"]
    places = [(one["fraction"], one["name"]) for one in second["curves"]]
    assert places == [(0.1, "random"), (1.0, "random"), (1.0, "SwAV")]
    assert few["mean"] == [0.4, 0.45] and swav["mean"] == [0.8, 0.95]
    assert few["deviation"] is None and few["seeds"] == 1
    assert random["epochs"] == [1, 2] and random["seeds"] == 2
    assert random["mean"] == pytest.approx([0.55, 0.8])
    assert random["deviation"] == pytest.approx([0.0707107, 0.1414214])


def test_a_mean_is_of_all_seeds_at_every_epoch(tmp_path):
    # the second stopped early, the third was saved in between and has no value at 3
    values = (
        [(1, 0.2), (2, 0.4), (3, 0.5), (4, 0.6)],
        [(1, 0.3), (2, 0.5), (3, 0.7)],
        [(1, 0.4), (1.5, 0.9), (2, 0.9), (3, None), (4, 0.9)],
    )
    runs = [
        logged(tmp_path / str(i), *(at(epoch, AUC=value) for epoch, value in one))
        for i, one in enumerate(values)
    ]
    ((curve,),) = [one["curves"] for one in curves({(1.0, "a"): runs}, "AUC")]
    assert curve["epochs"] == [1, 2]
    assert curve["mean"] == pytest.approx([0.3, 0.6])
    runs.append(logged(tmp_path / "without", at(1, accuracy=0.9)))
    both = curves({(1.0, "a"): runs}, "AUC")
    assert both[0]["curves"] == [curve] and curve["seeds"] == 3
    assert both[1]["curves"][0]["seeds"] == 1


def test_runs_without_an_epoch_in_common_or_without_a_metric_have_no_curve(tmp_path):
    apart = [logged(tmp_path / f"{n}", at(n, AUC=0.5)) for n in (1, 2)]
    ((curve,),) = [one["curves"] for one in curves({(1.0, "a"): apart}, "AUC")]
    assert curve["epochs"] == [] == curve["mean"]
    nothing = [logged(tmp_path / "none", {"epoch": 1, "loss": 0.5})]
    assert curves({(1.0, "a"): nothing}, "AUC") == []
