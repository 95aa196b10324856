"""The evaluator of classifiers: its tables, its files, and what it refuses."""

import csv
import dataclasses
import functools
import json
import math

import numpy as np
import pytest
import tiny
from sklearn.metrics import (
    average_precision_score,
    cohen_kappa_score,
    log_loss,
    roc_auc_score,
)

from medssl_jax.data.draw import Draw
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.evals import classify as module
from medssl_jax.evals import findings as of_findings
from medssl_jax.evals import floor
from medssl_jax.evals.base import Context
from medssl_jax.evals.classify import classify
from medssl_jax.evals.label_checks import check_classes
from medssl_jax.protocols.tested import read_cases

N = 60
NAMES = ("edema", "pus", "gap")
TOLD = ("during", "final")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for part in (module, of_findings):
        few = functools.partial(part.interval, resamples=100)
        monkeypatch.setattr(part, "interval", few)


def read(name):
    return {"image": np.full((2, 2, 1), float(name), np.float32)}


def findings(seed=0, n=N):
    return np.random.default_rng(seed).integers(-1, 2, (n, 3))


def source(labels, names=NAMES, patients=None, first=0):
    numbers = [str(i) for i in range(first, first + len(labels))]
    names = names if labels.ndim == 2 else None
    return Examples(numbers, read, labels, patients, None, names)


def context(workdir, labels, probabilities, learns=(0, 3), ordered=False, **others):
    """Return a run whose classifier says `probabilities` of its examples, in order."""

    def predict(params, aux, images):
        del params, aux
        return {"probability": probabilities[images[:, 0, 0, 0].astype(int)]}

    roles = {"train": labels, "validation": labels, "test": labels} | others
    sources = {
        role: known if isinstance(known, Examples) else source(known)
        for role, known in roles.items()
        if known is not None
    }
    draw = Draw((2, 2), "all")
    method = tiny.method("supervised")._replace(learns=learns, ordered=ordered)
    return Context(method, predict, sources, None, draw, 16, {}, dict, workdir, 0)


def scores(labels, seed=1):
    rng = np.random.default_rng(seed)
    noise = rng.random(labels.shape)
    return (0.6 * noise + 0.3 * (labels == 1)).astype(np.float32)


def run(tmp_path, labels, p, **others):
    evaluator = classify(context(tmp_path, labels, p, **others))
    return evaluator.during(None, None), evaluator.final(None, None)


def expected_aucs(labels, p):
    pairs = zip(labels.T, p.T, strict=True)
    return [roc_auc_score(y[y >= 0], scores[y >= 0]) for y, scores in pairs]


def test_findings_are_scored_one_by_one_and_by_their_mean(tmp_path):
    labels = findings()
    p = scores(labels)
    during, final = run(tmp_path, labels, p)
    areas = expected_aucs(labels, p)
    assert during["validation_AUC"] == pytest.approx(np.mean(areas))
    values = {name: value["value"] for name, value in final["values"].items()}
    each = {f"AUC {n}": area for n, area in zip(NAMES, areas, strict=True)}
    assert values == pytest.approx({"AUC": np.mean(areas), **each})
    for value in final["values"].values():
        assert value["low"] < value["value"] < value["high"]
    (table,) = final["tables"]
    rows = by_column(table)
    assert list(rows) == ["mean of 3", *NAMES]
    for j, name in enumerate(NAMES):
        y, row = labels[:, j], rows[name]
        assert row["positives of known"] == f"{(y == 1).sum()} of {(y >= 0).sum()}"
        assert row["AUC (95 % interval)"].startswith(f"{areas[j]:.3f} (")
    assert "Not in the mean" not in table["note"]
    assert f"Test AUC {np.mean(areas):.3f}" in final["headline"]
    json.dumps(final)


def test_a_finding_that_the_test_cannot_score_is_named_and_left_out(tmp_path):
    labels = findings()
    p, tested = scores(labels), labels.copy()
    tested[tested[:, 1] == 1, 1] = 0
    _, final = run(tmp_path, labels, p, test=tested)
    areas = expected_aucs(labels[:, ::2], p[:, ::2])
    assert final["values"]["AUC"]["value"] == pytest.approx(np.mean(areas))
    assert math.isnan(final["values"]["AUC pus"]["value"])
    note = final["tables"][0]["note"]
    assert "Not in the mean, for want of a positive or a negative: pus." in note
    (line,) = classify(context(tmp_path, labels, p, test=tested)).lacking
    assert line.startswith("test has no positive, or no negative, of pus: no AUC of it")
    assert [curve["name"] for curve in final["roc"]] == ["edema", "gap"]
    for curve, j in zip(final["roc"], (0, 2), strict=True):
        known = labels[:, j] >= 0
        assert curve["labels"] == labels[known, j].tolist()
        assert curve["scores"] == p[known, j].tolist()


def test_predictions_of_findings_have_a_column_each_and_gaps_where_unknown(tmp_path):
    labels = findings()
    labels[5] = -1  # an example without any label is no test example
    p = scores(labels)
    patients = [f"p{i // 2}" for i in range(N)]
    run(tmp_path, labels, p, test=source(labels, patients=patients))
    with open(tmp_path / "predictions.csv", newline="") as file:
        header, *rows = csv.reader(file)
    columns = [f"{kind}_{name}" for kind in ("label", "probability") for name in NAMES]
    assert header == ["name", "patient", *columns]
    assert len(rows) == (labels >= 0).any(axis=1).sum()
    assert "5" not in [row[0] for row in rows]
    for name, patient, *cells in rows:
        i = int(name)
        assert patient == f"p{i // 2}"
        marks = ["" if mark < 0 else str(mark) for mark in labels[i]]
        assert cells[:3] == marks
        np.testing.assert_allclose(np.array(cells[3:], float), p[i], rtol=1e-5)


def test_classes_are_scored_by_first_guess_and_macro_auc(tmp_path):
    labels = np.random.default_rng(0).integers(0, 4, N)
    p = np.random.default_rng(1).random((N, 4)) + np.eye(4)[labels]
    p = (p / p.sum(axis=1, keepdims=True)).astype(np.float32)
    evaluator = classify(context(tmp_path, labels, p, learns=(4, 0)))
    values = evaluator.final(None, None)["values"]
    assert values["accuracy"]["value"] == pytest.approx(np.mean(p.argmax(1) == labels))
    macro = roc_auc_score(labels, p, multi_class="ovr")
    assert values["AUC"]["value"] == pytest.approx(macro)
    assert evaluator.during(None, None)["validation_AUC"] == pytest.approx(macro)
    with open(tmp_path / "predictions.csv", newline="") as file:
        header, first, *_ = csv.reader(file)
    assert header[:4] == ["name", "patient", "label", "probability_0"]
    assert first[2] == str(labels[0])


def two_classes():
    labels = np.random.default_rng(0).integers(0, 2, N)
    second = 0.6 * np.random.default_rng(1).random(N) + 0.3 * labels
    return labels, np.stack([1 - second, second], axis=1).astype(np.float32)


def test_an_operating_point_names_what_depends_on_it_and_brings_average_precision(
    tmp_path,
):
    labels, p = two_classes()
    evaluator = classify(context(tmp_path, labels, p, learns=(2, 0)), threshold=0.6)
    during, final = evaluator.during(None, None), evaluator.final(None, None)
    accuracy = np.mean((p[:, 1] >= 0.6) == labels)
    precision = average_precision_score(labels, p[:, 1])
    assert during["validation_AP"] == pytest.approx(precision)
    values = {name: value["value"] for name, value in final["values"].items()}
    assert values["accuracy_at_0.6"] == pytest.approx(accuracy)
    assert "accuracy" not in values and accuracy != np.mean((p[:, 1] >= 0.5) == labels)
    told = [f"AP {precision:.3f}", f"accuracy_at_0.6 {accuracy:.3f}"]
    assert all(text in final["headline"] for text in told)
    # protocols have the same from the table of predictions
    cases = read_cases(tmp_path)
    found = {name: one(np.arange(N)) for name, one in cases.measures.items()}
    assert found == pytest.approx(values)
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    called = [int(row["called_at_0.6"]) for row in rows]
    assert called == (p[:, 1] >= 0.6).astype(int).tolist()


def test_without_an_operating_point_the_names_are_those_of_ever(tmp_path):
    labels, p = two_classes()
    _, final = run(tmp_path, labels, p, learns=(2, 0))
    names = ["accuracy", "AUC", "sensitivity", "specificity"]
    assert list(final["values"]) == list(read_cases(tmp_path).measures) == names
    header, *_ = (tmp_path / "predictions.csv").read_text().splitlines()
    assert header == "name,patient,label,probability_0,probability_1"


@pytest.mark.parametrize("learns", [(4, 0), (0, 3)])
def test_an_operating_point_is_of_two_classes(tmp_path, learns):
    with pytest.raises(ConfigError, match=r"evaluation\.threshold is 0\.6, of two cl"):
        classify(context(tmp_path, *grades(), learns=learns), threshold=0.6)


def grades(seed=0):
    """Return grades, and probabilities that are near them."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, N)
    p = random.random((N, 4)) + np.exp(-np.abs(labels[:, None] - np.arange(4)))
    return labels, (p / p.sum(axis=1, keepdims=True)).astype(np.float32)


def test_grades_are_scored_by_kappa_first_and_counted_against_each_other(tmp_path):
    labels, p = grades()
    patients = [f"p{i // 3}" for i in range(N)]
    given = {"learns": (4, 0), "ordered": True}
    test = source(labels, patients=patients)
    during, final = run(tmp_path, labels, p, test=test, **given)
    guess = p.argmax(axis=1)
    expected = cohen_kappa_score(labels, guess, labels=range(4), weights="quadratic")
    assert during["validation_kappa"] == pytest.approx(expected)
    value = final["values"]["kappa"]
    assert value["value"] == pytest.approx(expected)
    assert value["low"] < expected < value["high"]
    table, confused = final["tables"]
    assert [row[0] for row in table["rows"]] == ["kappa", "accuracy", "AUC"]
    assert " Kappa: of the first guess, with quadratic weights." in table["note"]
    assert final["headline"].startswith(f"Test kappa {expected:.3f} (")
    counts = [
        [int(np.sum((labels == i) & (guess == j))) for j in range(4)] for i in range(4)
    ]
    assert [row[1:] for row in confused["rows"]] == counts
    assert [row[0] for row in confused["rows"]] == list("0123")
    alone = run(tmp_path, labels, p, test=source(labels), **given)[1]
    assert alone["values"]["kappa"]["low"] != value["low"]  # not by patient
    with open(tmp_path / "predictions.csv", newline="") as file:
        assert next(csv.reader(file))[:4] == [
            "name",
            "patient",
            "grade",
            "probability_0",
        ]
    json.dumps(final)


def test_a_test_without_a_grade_has_kappa_and_says_what_it_has_not(tmp_path):
    labels, p = grades()
    given = {"learns": (4, 0), "ordered": True}
    tested = np.where(labels == 2, 1, labels)
    evaluator = classify(context(tmp_path, labels, p, test=tested, **given))
    (line,) = evaluator.lacking
    assert line.startswith(
        "test has no example of class 2, so it has kappa, but no AUC"
    )
    values = evaluator.final(None, None)["values"]
    guess = p.argmax(axis=1)
    expected = cohen_kappa_score(tested, guess, labels=range(4), weights="quadratic")
    assert values["kappa"]["value"] == pytest.approx(expected)
    assert values["kappa"]["low"] < expected < values["kappa"]["high"]
    assert math.isnan(values["AUC"]["value"])


def test_a_class_that_the_test_lacks_is_named(tmp_path):
    labels, p = np.arange(N) % 3, np.full((N, 3), 1 / 3, np.float32)
    evaluator = classify(
        context(tmp_path, labels, p, learns=(3, 0), test=labels[labels < 2])
    )
    (table,) = evaluator.final(None, None)["tables"]
    assert "no test example is of class 2" in table["note"]
    (line,) = evaluator.lacking  # before training too
    assert line.startswith("test has no example of class 2, so it has no AUC; label ")
    whole = classify(context(tmp_path, labels, p, learns=(3, 0)))
    assert whole.lacking == ()


@pytest.mark.parametrize(
    ("p", "said"),
    [
        (np.linspace(0.1, 0.4, N), " Every example was called class 0."),
        (np.linspace(0.5, 0.9, N), " Every example was called class 1."),
        (np.linspace(0.1, 0.9, N), ""),
    ],
)
def test_a_test_in_which_all_are_called_one_class_says_so(tmp_path, p, said):
    labels = np.arange(N) % 2
    p = np.stack([1 - p, p], axis=1).astype(np.float32)
    evaluator = classify(context(tmp_path, labels, p, learns=(2, 0)))
    final = evaluator.final(None, None)
    (table,) = final["tables"]
    assert table["note"].endswith(f"by bootstrap over patients.{said}")
    rates = [final["values"][name]["value"] for name in ("sensitivity", "specificity")]
    assert (sorted(rates) == [0, 1]) == bool(said)


def test_of_several_classes_too_one_guess_for_all_is_told(tmp_path):
    labels, p = np.arange(N) % 3, np.tile(np.float32([0.2, 0.5, 0.3]), (N, 1))
    evaluator = classify(context(tmp_path, labels, p, learns=(3, 0)))
    (table,) = evaluator.final(None, None)["tables"]
    assert table["note"].endswith(" Every example was called class 1.")


def named(labels, *classes):
    return dataclasses.replace(source(labels), label_classes=classes)


def test_classes_with_names_are_called_by_them(tmp_path):
    labels, p = np.arange(N) % 2, np.tile(np.float32([0.2, 0.8]), (N, 1))
    roles = dict.fromkeys(("train", "validation", "test"), named(labels, "fit", "torn"))
    of_all = context(tmp_path, labels, p, learns=(2, 0), **roles)
    (table,) = classify(of_all).final(None, None)["tables"]
    assert table["note"].endswith(" Every example was called class torn.")
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows[:3]] == ["fit", "torn", "fit"]
    assert {row["predicted"] for row in rows} == {"torn"}
    assert read_cases(tmp_path).labels.tolist() == labels.tolist()


@pytest.mark.parametrize(
    ("test", "said"),
    [
        (("a", "b", "c"), "method.classes is 2, and the labels of test are 3: a, b, c"),
        (("torn", "fit"), "roles have classes of other names: .*set data.classes"),
    ],
)
def test_classes_of_other_names_or_number_are_refused(tmp_path, test, said):
    labels = np.arange(N) % 2
    p = np.full((N, 2), 0.5, np.float32)
    known = named(labels, "fit", "torn") if len(test) == 2 else source(labels)
    roles = {"train": known, "validation": known, "test": named(labels, *test)}
    with pytest.raises(ConfigError, match=said):
        classify(context(tmp_path, labels, p, learns=(2, 0), **roles))


def test_a_classifier_is_set_beside_its_floor(tmp_path):
    labels = np.arange(N) % 2
    p = np.stack([1 - labels, labels], axis=1).astype(np.float32)
    of_all = context(tmp_path, labels, p, learns=(2, 0))
    found = classify(of_all, floor=True).final(None, None)
    *_, table = found["tables"]
    assert table["title"] == floor.TITLE
    assert table["rows"][0][1].startswith(f"{found['floor']:.3f} (")
    assert table["rows"][1][:2] == ["the model", "1.000 (1.000 to 1.000)"]


def by_column(table):
    """Return a table's rows by their first cell, each cell by its column's name."""
    return {
        row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]
    }


def roles_apart(kind):
    """Return a role's labels each, and what is predicted of all examples in turn."""
    rng = np.random.default_rng(3)
    counts, k = {"train": 40, "validation": 36, "test": 44}, 3 if kind else 2
    shapes = {role: (n, 3) if kind else n for role, n in counts.items()}
    low = -1 if kind else 0
    labels = {role: rng.integers(low, 2, shape) for role, shape in shapes.items()}
    if kind:  # an example without any label is none of its role
        labels = {role: np.maximum(y, [0, -1, -1]) for role, y in labels.items()}
    every = np.concatenate([*labels.values()])
    p = rng.random((len(every), k)) + 0.5 * (every == 1 if kind else np.eye(2)[every])
    p /= 1.6 if kind else p.sum(axis=1, keepdims=True)
    firsts = dict(zip(counts, np.cumsum([0, *counts.values()]).tolist(), strict=False))
    sources = {
        role: source(labels[role], first=first) for role, first in firsts.items()
    }
    parts = {role: p[first : first + counts[role]] for role, first in firsts.items()}
    return labels, parts, sources, p


@pytest.mark.parametrize("kind", ["", "findings"])
def test_selection_sees_the_validation_examples_and_results_the_test(tmp_path, kind):
    labels, parts, sources, p = roles_apart(kind)
    learns = (0, 3) if kind else (2, 0)
    run = context(tmp_path, labels["test"], p, learns=learns, **sources)
    during, final = (getattr(classify(run), name)(None, None) for name in TOLD)
    y, q = labels["validation"], parts["validation"]
    if kind:
        known = y >= 0
        loss = log_loss(y[known], q[known]) * known.mean()
    else:
        loss = log_loss(y, q)
    assert during["validation_loss"] == pytest.approx(loss, rel=1e-5)

    def area(y, q):
        return np.mean(expected_aucs(y, q)) if kind else roc_auc_score(y, q[:, 1])

    assert during["validation_AUC"] == pytest.approx(area(y, q))
    expected = area(labels["test"], parts["test"])
    assert abs(expected - area(y, q)) > 0.005
    assert final["values"]["AUC"]["value"] == pytest.approx(expected)
    with open(tmp_path / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(sources["test"].names)
    if not kind:
        (curve,) = final["roc"]
        assert curve["labels"] == labels["test"].tolist()
        np.testing.assert_allclose(curve["scores"], parts["test"][:, 1])
        shown = by_column(final["tables"][0])["AUC"]["value (95 % interval)"]
        assert shown.startswith(f"{expected:.3f} (")


@pytest.mark.parametrize("kind", ["", "findings"])
def test_copies_of_a_patients_scans_do_not_narrow_the_intervals(tmp_path, kind):
    labels, parts, sources, p = roles_apart(kind)
    learns, tested = ((0, 3) if kind else (2, 0)), labels["test"]
    values = []
    for copies in (1, 4):
        repeats = [copies] + [1] * (tested.ndim - 1)
        patients = [f"p{i}" for i in range(len(tested))] * copies
        test = source(np.tile(tested, repeats), patients=patients, first=76)
        predicted = np.concatenate([p[:76], np.tile(parts["test"], (copies, 1))])
        given = context(tmp_path, tested, predicted, learns, **sources | {"test": test})
        values.append(classify(given).final(None, None)["values"])
    once, copied = values
    for name, value in once.items():
        assert value["low"] < value["value"] < value["high"]
        assert copied[name] == pytest.approx(value)


def absent(role, mark):
    labels = findings()
    labels[labels[:, 2] == mark, 2] = -1
    return {role: labels}


@pytest.mark.parametrize(
    ("others", "message"),
    [
        (absent("train", 1), "train has no positive of the finding 'gap'"),
        (absent("train", 0), "train has no negative of the finding 'gap'"),
        (absent("validation", 1), "validation has no positive of the finding 'gap'"),
        ({"test": findings()[:, :2]}, r"test have the shape \(\d+, 2\), not \(n, 3\)"),
        ({"train": np.zeros(N, int)}, r"train have the shape \(60,\)"),
        ({"train": source(findings(), ("a", "b", "c"))}, "findings edema, pus, gap"),
        ({"test": np.full((N, 3), -1)}, "labelled examples for test"),
        ({"validation": None}, "labelled examples for validation"),
    ],
)
def test_findings_that_cannot_be_learnt_or_scored_are_named_at_the_start(
    tmp_path, others, message
):
    with pytest.raises(ConfigError, match=message):
        classify(context(tmp_path, findings(), np.zeros((N, 3)), **others))


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"train": np.arange(N) % 2}, "train has no example of class 2"),
        ({"validation": np.arange(N) % 2}, "validation has no example of class 2"),
        ({"train": np.arange(N) % 4}, "15 training examples .* first is 3 .3."),
        ({"train": np.arange(N) % 4 - 1}, "15 training examples .* first is 0 .-1."),
        ({"test": np.arange(N) % 4}, "15 test examples have no label in 0 to 2"),
        ({"test": findings()}, "labels of test are 3 findings.*method.findings"),
    ],
)
def test_classes_that_cannot_be_learnt_or_scored_are_named_at_the_start(
    tmp_path, others, message
):
    labels = np.arange(N) % 3
    with pytest.raises(ConfigError, match=message):
        classify(context(tmp_path, labels, np.zeros((N, 3)), **others, learns=(3, 0)))


def test_a_classifier_that_is_only_tested_needs_no_other_role(tmp_path):
    labels = absent("test", 1)["test"]
    p = scores(labels)
    only = context(tmp_path, labels, p, train=None, validation=None)
    final = classify(only).final(None, None)
    assert "gap" in final["tables"][0]["note"]


def test_a_method_that_tells_no_classes_is_refused(tmp_path):
    pretext = context(tmp_path, findings(), np.zeros((N, 3)), learns=(0, 0))
    with pytest.raises(ConfigError, match="'classify' needs a method with classes"):
        classify(pretext)


def test_classes_without_end_are_refused_as_fast_as_few():
    source = Examples(["a", "b"], dict, labels=np.array([0, 1]))
    with pytest.raises(ConfigError, match="train has no example of class 2"):
        check_classes({"train": source}, 10**20)
