"""Predictions of runs, set beside each other and compared in pairs."""

import csv
import json

import numpy as np
import pytest
from ml_collections import ConfigDict
from scipy.stats import mannwhitneyu
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from medssl_jax.errors import ConfigError, DataError
from medssl_jax.evals.bootstrap import Interval
from medssl_jax.protocols import compare, grid
from medssl_jax.protocols.cases import aligned
from medssl_jax.protocols.tested import read_cases

COUNT = 60


def write(folder, rows, header):
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "predictions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder


def binary(folder, seed, *, skill=1.0, order=None, change=None):
    """Write predictions on 60 scans of 20 patients."""
    rng = np.random.default_rng(7)
    labels = rng.integers(0, 2, COUNT)
    p = 1 / (
        1 + np.exp(-(skill * labels + np.random.default_rng(seed).normal(size=COUNT)))
    )
    rows = [
        [f"scan-{i}", f"p{i % 20}", labels[i], f"{1 - p[i]:.6g}", f"{p[i]:.6g}"]
        for i in (range(COUNT) if order is None else order)
    ]
    if change is not None:
        change(rows)
    header = ["name", "patient", "label", "probability_0", "probability_1"]
    return write(folder, rows, header)


def read_both(*folders):
    return aligned({folder.name: read_cases(folder) for folder in folders})


def test_the_paired_difference_is_that_of_a_plain_bootstrap(tmp_path):
    order = np.random.default_rng(1).permutation(COUNT)
    runs = read_both(
        binary(tmp_path / "a", 1, skill=2.0), binary(tmp_path / "b", 2, order=order)
    )
    found = compare.compare(runs, seed=0)["values"]["AUC: a - b"]

    a, b = runs["a"], runs["b"]
    labels, patients = np.array(a.labels), np.array(a.patients)

    def area(run, drawn):
        s, y = run.scores[drawn], labels[drawn]
        u = mannwhitneyu(s[y == 1], s[y == 0]).statistic
        return u / ((y == 1).sum() * (y == 0).sum())

    def gain(drawn):
        return area(a, drawn) - area(b, drawn)

    rng = np.random.default_rng(5)
    members = [np.flatnonzero(patients == p) for p in np.unique(patients)]
    draws = [
        gain(np.concatenate([members[g] for g in rng.integers(20, size=20)]))
        for _ in range(2000)
    ]
    assert found["value"] == pytest.approx(gain(np.arange(COUNT)), abs=1e-12)
    low, high = np.quantile(draws, [0.025, 0.975])
    assert found["low"] == pytest.approx(low, abs=0.012)
    assert found["high"] == pytest.approx(high, abs=0.012)


def test_a_run_that_calls_every_example_one_class_is_told_where_it_is_compared(
    tmp_path,
):
    def none(rows):
        for row in rows:
            row[3:] = [0.75, 0.25 - 1e-3 * (int(row[1][1:]) % 7)]

    runs = read_both(binary(tmp_path / "a", 1), binary(tmp_path / "b", 2, change=none))
    (table,) = compare.compare(runs, seed=0)["tables"]
    assert table["note"].endswith("leaves out 0. b called every example class 0.")
    cells, outcomes = [{"peak": 0.1}], [{"validation_loss": 0.5}]
    (test, _) = grid.summarise(cells, outcomes, 0, runs, seed=0)["tables"]
    assert test["note"].endswith("over patients. seed b called every example class 0.")


def test_a_run_does_not_differ_from_itself_in_another_order(tmp_path):
    order = np.random.default_rng(1).permutation(COUNT)
    runs = read_both(binary(tmp_path / "a", 1), binary(tmp_path / "b", 1, order=order))
    for value in compare.compare(runs, seed=0)["values"].values():
        assert value == {"value": 0.0, "low": 0.0, "high": 0.0}


def test_a_row_tells_both_runs_and_the_first_less_the_second(tmp_path):
    runs = read_both(
        binary(tmp_path / "a", 1, skill=3.0), binary(tmp_path / "b", 2, skill=0.5)
    )
    found = compare.compare(runs, seed=0)
    whole, (table,) = np.arange(COUNT), found["tables"]
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
    for row in rows:
        name = row["metric"]
        values = {run: each.measures[name](whole) for run, each in runs.items()}
        assert (row["first"], row["second"]) == ("a", "b")
        assert (row["of first"], row["of second"]) == (values["a"], values["b"])
        gain = found["values"][f"{name}: a - b"]
        assert gain["value"] == pytest.approx(values["a"] - values["b"], abs=1e-12)
        assert row["difference"].startswith(f"{gain['value']:+.3f} (")
        apart = gain["low"] > 0 or gain["high"] < 0
        assert row["difference"].endswith(" *") == apart
    gain = found["values"]["AUC: a - b"]["value"]
    assert gain > 0.1 and found["headline"].startswith(f"AUC of a - b: {gain:+.3f} (")
    assert {curve["name"]: curve["scores"] for curve in found["roc"]} == {
        name: each.scores.tolist() for name, each in runs.items()
    }


@pytest.mark.parametrize(
    "low, high, apart",
    [(0.01, 0.2, True), (-0.2, -0.01, True), (-0.01, 0.2, False), (0.0, 0.2, False)],
)
def test_a_star_says_that_the_interval_leaves_out_0(low, high, apart):
    assert compare.shown(Interval(0.1, low, high)).endswith(" *") == apart


def test_copies_of_patients_scans_do_not_narrow_a_difference(tmp_path):
    def copied(rows):
        rows += [[f"{row[0]} again", *row[1:]] for row in rows]

    found = []
    for change in (None, copied):
        folder = tmp_path / str(change is None)
        runs = [binary(folder / n, s, change=change) for s, n in enumerate("ab")]
        found.append(compare.compare(read_both(*runs), seed=0)["values"]["AUC: a - b"])
    assert found[0] == pytest.approx(found[1])


def _rename(rows):
    rows[3][0] = "scan-else"


def _relabel(rows):
    rows[3][2] = 1 - rows[3][2]


def _move(rows):
    rows[3][1] = "p19"


def _drop(rows):
    del rows[3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            _rename,
            r"b: lacks the example scan-3 of a \(2 differ\); compare runs on the",
        ),
        (_drop, r"b: lacks the example scan-3 of a \(1 differ\)"),
        (_relabel, "b: gives scan-3 another label than a"),
        (_move, "b: gives its examples other patients than a"),
    ],
)
def test_other_examples_are_refused_by_name(tmp_path, change, message):
    a = binary(tmp_path / "a", 1)
    b = binary(tmp_path / "b", 2, change=change)
    with pytest.raises(DataError, match=message):
        read_both(a, b)


def _twice(rows):
    rows[1][0] = rows[0][0]


def _text(rows):
    rows[1][4] = "high"


def _nan(rows):
    rows[1][4] = "nan"


def _cut(rows):
    rows[-1] = rows[-1][:3]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_twice, "1 examples are in it twice"),
        (_text, "could not convert string to float: 'high'"),
        (_nan, "a probability is not finite"),
        (_cut, "the row of scan-59 is not as long as the header"),
        (lambda rows: rows.clear(), "it has no rows"),
    ],
)
def test_a_damaged_file_is_named(tmp_path, change, message):
    folder = binary(tmp_path / "a", 1, change=change)
    with pytest.raises(DataError, match=rf"a/predictions\.csv: .*{message}"):
        read_cases(folder)


def test_a_folder_without_predictions_and_a_file_without_a_column_are_named(tmp_path):
    with pytest.raises(DataError, match=r"holds no predictions\.csv"):
        read_cases(tmp_path)
    write(tmp_path, [["a", 0, 0.1]], ["name", "label", "probability_0"])
    with pytest.raises(DataError, match="has no column 'patient'"):
        read_cases(tmp_path)


def findings(folder):
    rng = np.random.default_rng(3)
    labels = rng.integers(0, 2, (COUNT, 3)).astype(object)
    labels[rng.random((COUNT, 3)) < 0.2] = ""
    labels[:10, 1] = -1
    labels[:, 2] = 0  # no positive: no area
    p = rng.random((COUNT, 3)).round(6)
    names = ("edema", "effusion", "hernia")
    header = ["name", "patient"]
    header += [f"label_{name}" for name in names]
    header += [f"probability_{name}" for name in names]
    rows = [[f"s{i}", "", *labels[i], *p[i]] for i in range(COUNT)]
    return write(folder, rows, header), labels, p


def test_findings_are_measured_one_by_one_and_by_their_mean(tmp_path):
    folder, labels, p = findings(tmp_path)
    run = read_cases(folder)
    assert run.patients is None
    whole = np.arange(COUNT)
    found = {name: one(whole) for name, one in run.measures.items()}
    expected = []
    for k in (0, 1):
        known = np.array([label in (0, 1) for label in labels[:, k]])
        area = roc_auc_score(labels[known, k].astype(int), p[known, k])
        expected.append(area)
    assert found["AUC edema"] == pytest.approx(expected[0])
    assert found["AUC effusion"] == pytest.approx(expected[1])
    assert np.isnan(found["AUC hernia"])
    assert found["AUC"] == pytest.approx(np.mean(expected))


def test_several_classes_have_the_metrics_of_several_classes(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(3), COUNT)
    labels = rng.integers(0, 3, COUNT)
    rows = [[f"s{i}", f"p{i}", labels[i], *p[i]] for i in range(COUNT)]
    columns = [f"probability_{k}" for k in range(3)]
    run = read_cases(write(tmp_path, rows, ["name", "patient", "label", *columns]))
    area = run.measures["AUC"](np.arange(COUNT))
    assert area == pytest.approx(roc_auc_score(labels, p, multi_class="ovr"))


def test_grades_are_measured_by_kappa_first_and_not_beside_other_classes(tmp_path):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), COUNT)
    grades = np.clip(p.argmax(axis=1) + rng.integers(-1, 2, COUNT), 0, 3)
    rows = [[f"s{i}", f"p{i}", grades[i], *p[i]] for i in range(COUNT)]
    columns = [f"probability_{k}" for k in range(4)]
    graded, other = (
        write(tmp_path / name, rows, ["name", "patient", name, *columns])
        for name in ("grade", "label")
    )
    run = read_cases(graded)
    assert run.main == "kappa"
    guess = p.argmax(axis=1)
    expected = cohen_kappa_score(grades, guess, labels=range(4), weights="quadratic")
    assert run.measures["kappa"](np.arange(COUNT)) == pytest.approx(expected)
    np.testing.assert_array_equal(run.labels, grades)
    with pytest.raises(DataError, match="label: has other metrics than grade: kappa"):
        read_both(graded, other)


@pytest.mark.slow
def test_the_command_compares_each_two_runs_and_reports(tmp_path, capsys):
    runs = [binary(tmp_path / "runs" / name, i) for i, name in enumerate("abc")]
    config = ConfigDict({"name": "compare", "seed": 0, "runs": tuple(map(str, runs))})
    out = tmp_path / "out"
    out.mkdir()
    compare.run(config, out)
    results = json.loads((out / "results.json").read_text())
    pairs = [name for name in results["values"] if name.startswith("AUC")]
    assert pairs == ["AUC: a - b", "AUC: a - c", "AUC: b - c"]
    page = (out / "report.html").read_text()
    assert "Paired differences" in page and "ROC curves" in page
    assert results["headline"] in capsys.readouterr().out
    lone = ConfigDict({"name": "compare", "seed": 0, "runs": (str(runs[0]),)})
    with pytest.raises(ConfigError, match=r"config\.runs names .*two different"):
        compare.run(lone, out)
