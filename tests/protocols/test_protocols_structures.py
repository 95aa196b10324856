"""Segmentations of runs, compared by Dice: tables by hand against NumPy and SciPy."""

import csv
import json
import math

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy import stats

from medssl_jax.errors import DataError
from medssl_jax.protocols import compare, label_efficiency
from medssl_jax.protocols.cases import aligned
from medssl_jax.protocols.outcome import Used
from medssl_jax.protocols.tested import read_cases

STRUCTURES = ("anterior", "left lung")
HEADER = ["name", "patient"] + [
    f"{kind} {name}" for name in STRUCTURES for kind in ("dice", "hd95_mm", "nsd")
]
# a structure is absent from truth and prediction ("") or from one of them (inf)
BY_HAND = [
    ["a", "p1", "0.8", "2.5", "0.9", "0.5", "4", "0.25"],
    ["b", "p1", "0.6", "1.5", "0.7", "", "", ""],
    ["c", "p2", "0", "inf", "0", "0.9", "1", "0.75"],
]
COUNT = 40


def write(folder, rows, header=HEADER):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "cases.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


def drawn(seed, skill, patients=COUNT):
    """Return Dice (n, structures) and rows of cases, some without the second one."""
    hard = np.random.default_rng(8).normal(0, 0.1, (COUNT, 1))  # for every run
    dice = skill - hard + np.random.default_rng(seed).normal(0, 0.03, (COUNT, 2))
    dice = np.clip(dice, 0, 1).round(4)
    dice[np.random.default_rng(9).random(COUNT) < 0.2, 1] = np.nan
    rows = [
        [f"case-{i}", f"p{i % patients}"]
        + [cell for d in two for cell in ([""] * 3 if math.isnan(d) else [d, 1, 1])]
        for i, two in enumerate(dice)
    ]
    return dice, rows


def mean_dice(dice):
    return np.nanmean(np.nanmean(dice, axis=0))


def test_metrics_are_means_over_cases_then_over_structures(tmp_path):
    run = read_cases(write(tmp_path, BY_HAND))
    assert run.names == ["a", "b", "c"] and run.patients == ["p1", "p1", "p2"]
    assert run.main == "Dice"
    whole = np.arange(3)
    found = {name: measure(whole) for name, measure in run.measures.items()}
    assert found == pytest.approx(
        {
            "Dice": ((0.8 + 0.6 + 0) / 3 + 0.7) / 2,
            "Dice anterior": 1.4 / 3,
            "Dice left lung": 0.7,
            "NSD": (1.6 / 3 + 0.5) / 2,
            "NSD anterior": 1.6 / 3,
            "NSD left lung": 0.5,
            "HD95 mm": (2 + 2.5) / 2,
            "HD95 mm anterior": 2,
            "HD95 mm left lung": 2.5,
            "HD95 infinite": (1 / 3 + 0) / 2,
            "HD95 infinite anterior": 1 / 3,
            "HD95 infinite left lung": 0,
        }
    )
    some = np.array([1, 1])  # neither has the second structure
    assert run.measures["Dice anterior"](some) == pytest.approx(0.6)
    assert math.isnan(run.measures["Dice"](some))


def test_a_structure_that_no_case_has_does_not_count(tmp_path):
    rows = [row[:5] + ["", "", ""] for row in BY_HAND]
    run = read_cases(write(tmp_path, rows))
    assert run.measures["Dice"](np.arange(3)) == pytest.approx(1.4 / 3)
    assert math.isnan(run.measures["Dice left lung"](np.arange(3)))


def test_the_paired_difference_of_dice_is_scipys(tmp_path):
    one, one_rows = drawn(1, 0.8)
    other, other_rows = drawn(2, 0.75)
    order = np.random.default_rng(3).permutation(COUNT)  # another order in the file
    folders = {
        "one": write(tmp_path / "one", one_rows),
        "other": write(tmp_path / "other", [other_rows[i] for i in order]),
    }
    runs = aligned({name: read_cases(folder) for name, folder in folders.items()})
    found = compare.compare(runs, seed=0)
    gain = found["values"]["Dice: one - other"]
    assert gain["value"] == pytest.approx(mean_dice(one) - mean_dice(other))
    reference = stats.bootstrap(
        (np.arange(COUNT),),
        lambda i: mean_dice(one[i]) - mean_dice(other[i]),
        n_resamples=2000,
        vectorized=False,
        method="percentile",
        rng=np.random.default_rng(5),
    ).confidence_interval
    assert gain["low"] == pytest.approx(reference.low, abs=0.005)
    assert gain["high"] == pytest.approx(reference.high, abs=0.005)
    assert found["headline"].startswith("Dice of one - other: ")
    assert found["roc"] == []


def test_intervals_draw_patients_with_all_their_cases(tmp_path):
    dice, rows = drawn(1, 0.8, patients=8)
    for i in range(COUNT):  # cases of one patient are alike: fewer than they seem
        dice[i, 0] = rows[i][2] = round(0.5 + 0.05 * (i % 8), 2)
    place = label_efficiency.Place(1.0, "random", 0)
    runs = {place: read_cases(write(tmp_path, rows))}
    found = label_efficiency.summarise(runs, {place: Used(9, None, 3)}, seed=0)
    random = np.random.default_rng(5)
    members = np.arange(COUNT).reshape(-1, 8).T
    means = [
        mean_dice(dice[np.concatenate(members[random.integers(8, size=8)])])
        for _ in range(2000)
    ]
    low, high = np.quantile(means, [0.025, 0.975])
    mean = found["values"]["Dice, random, 1"]
    assert mean["value"] == pytest.approx(mean_dice(dice))
    assert mean["low"] == pytest.approx(low, abs=0.01)
    assert mean["high"] == pytest.approx(high, abs=0.01)
    assert found["tables"][0]["title"] == "Test Dice by share of the labels"
    assert found["label_curves"]["metric"] == "Dice"


def test_the_command_compares_segmentations_and_reports(tmp_path):
    folders = [
        write(tmp_path / name, drawn(seed, 0.8)[1]) for seed, name in enumerate("ab")
    ]
    config = {"name": "compare", "seed": 0, "runs": tuple(map(str, folders))}
    out = tmp_path / "out"
    out.mkdir()
    compare.run(ConfigDict(config), out)
    results = json.loads((out / "results.json").read_text())
    assert "Dice left lung: a - b" in results["values"]
    page = (out / "report.html").read_text()
    assert "Paired differences" in page and "ROC curves" not in page
    facts = json.loads((out / "run.json").read_text())["data"]["test"]
    assert facts["count"] == COUNT and facts["label_counts"] is None


def _cell(row, column, text):
    def change(rows, header):
        rows[row][column] = text

    return change


def _without(name):
    def change(rows, header):
        column = header.index(name)
        for row in [header, *rows]:
            del row[column]

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_without("patient"), "has no column 'patient'"),
        (_without("name"), "has no column 'name'"),
        (_without("nsd left lung"), "has no column 'nsd left lung'"),
        (_cell(1, 0, "a"), "1 examples are in it twice"),
        (_cell(1, 2, "high"), "could not convert string to float: 'high'"),
        (_cell(1, 2, "1.5"), "1.5 is no Dice"),
        (_cell(1, 2, "nan"), "nan is no Dice"),
        (_cell(1, 2, "inf"), "inf is no Dice"),
        (_cell(1, 3, "-1"), "-1 is no HD95 mm"),
        (lambda rows, header: rows.clear(), "it has no rows"),
        (lambda rows, header: rows[2].pop(), "the row of c is not as long as"),
        (lambda rows, header: rows[2].append("1"), "the row of c is not as long as"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, change, said):
    rows, header = [list(row) for row in BY_HAND], list(HEADER)
    change(rows, header)
    with pytest.raises(DataError) as error:
        read_cases(write(tmp_path, rows, header))
    assert str(error.value).startswith(str(tmp_path / "cases.csv"))
    assert said in str(error.value)


def test_a_table_without_structures_is_named(tmp_path):
    rows = [row[:2] for row in BY_HAND]
    with pytest.raises(DataError, match="has no column 'dice CLASS'"):
        read_cases(write(tmp_path / "none", rows, HEADER[:2]))
    empty = [[*row, ""] for row in rows]
    with pytest.raises(DataError, match="no case has any structure"):
        read_cases(write(tmp_path / "empty", empty, [*HEADER[:2], "dice anterior"]))


def test_dice_alone_is_enough(tmp_path):
    rows = [row[:3] for row in BY_HAND]
    run = read_cases(write(tmp_path, rows, [*HEADER[:2], "dice anterior"]))
    assert list(run.measures) == ["Dice", "Dice anterior"]


def _turned(rows, header):
    for row in (*rows, header):
        row[2:5], row[5:] = row[5:], row[2:5]


def _renamed(rows, header):
    header[:] = [column.replace("left lung", "right lung") for column in header]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_renamed, "b: has other classes than a"),
        (_turned, "b: has other classes than a"),
        (_cell(2, 1, "p1"), "b: gives its examples other patients than a"),
        (_cell(2, 0, "d"), "b: lacks the example c of a"),
    ],
)
def test_runs_on_other_cases_are_refused_by_name(tmp_path, change, said):
    rows, header = [list(row) for row in BY_HAND], list(HEADER)
    change(rows, header)
    runs = {"a": read_cases(write(tmp_path / "a", BY_HAND))}
    runs["b"] = read_cases(write(tmp_path / "b", rows, header))
    with pytest.raises(DataError, match=said):
        aligned(runs)


def test_runs_that_were_measured_otherwise_are_refused_by_name(tmp_path):
    runs = {"a": read_cases(write(tmp_path / "a", BY_HAND))}
    dice = [0, 1, 2, 5]
    rows = [[row[i] for i in dice] for row in BY_HAND]
    header = [HEADER[i] for i in dice]
    runs["b"] = read_cases(write(tmp_path / "b", rows, header))
    more = {"b": runs["b"], "a": runs["a"]}
    with pytest.raises(DataError, match="a: has other metrics than b: HD95 infinite"):
        aligned(more)
    with pytest.raises(DataError, match="b: has other metrics than a: HD95 infinite"):
        aligned(runs)
