"""Probes of several findings: each learns from what is known of it, and is named."""

import functools

import numpy as np
import pytest

from medssl_jax.data.source import Examples
from medssl_jax.evals import linear, probe_findings
from medssl_jax.evals.base import ENCODERS, FrozenFeatures
from medssl_jax.evals.knn import weighted_knn
from medssl_jax.evals.linear import linear_probe
from medssl_jax.evals.metrics import auc
from medssl_jax.evals.probe_findings import tables

NAMES = ("edema", "pus", "gap")
SETTINGS = {"neighbours": 5, "temperature": 0.07}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(linear, "GRID", (0.1,))  # the choice among many takes seconds
    for name in ("interval", "paired_difference"):
        few = functools.partial(getattr(probe_findings, name), resamples=50)
        monkeypatch.setattr(probe_findings, name, few)


def draw(seed, n):
    """Return labels, a fifth unknown, and features of both encoders."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2, (n, 3))
    signal = np.pad(2.0 * labels, ((0, 0), (0, 5)))
    labels[rng.random((n, 3)) < 0.2] = -1
    noise = rng.normal(size=(2, n, 8))
    features = noise[0], noise[1] + signal
    arrays = {
        name: each.astype(np.float32)
        for name, each in zip(ENCODERS, features, strict=True)
    }
    return labels, arrays


def task(change=lambda train, test: None):
    (labels, features), (tested, test_features) = draw(0, 90), draw(1, 60)
    change(labels, tested)

    def source(labels):
        names = [str(i) for i in range(len(labels))]
        patients = [f"p{i // 2}" for i in range(len(labels))]
        return Examples(names, dict, labels, patients, None, NAMES)

    return FrozenFeatures(source(labels), source(tested), features, test_features, 0)


def expected(task, encoder, j, classifier, by_patient=True):
    known, tested = task.train.labels[:, j] >= 0, task.test.labels[:, j] >= 0
    arrays = (
        task.train_features[encoder][known],
        task.train.labels[known, j],
        task.test_features[encoder][tested],
    )
    if classifier == "kNN":
        p = weighted_knn(*arrays, classes=2, k=5, temperature=0.07)
    else:
        groups = [p for p, k in zip(task.train.patients, known, strict=True) if k]
        groups = groups if by_patient else None
        p = linear_probe(*arrays, groups=groups, classes=2, seed=0)
    return auc(task.test.labels[tested, j], p[:, 1])


def test_each_finding_has_classifiers_of_its_own_and_the_table_their_mean():
    given = task()
    found = tables(given, **SETTINGS)
    mean, each = found["tables"]
    assert mean["title"].endswith("mean of 3 findings")
    assert list(by_column(each)) == list(NAMES)
    for classifier, row in by_column(mean).items():
        means = {}
        for encoder in ENCODERS:
            areas = [expected(given, encoder, j, classifier) for j in range(3)]
            column = f"{classifier}, {encoder}"
            written = [row[column] for row in by_column(each).values()]
            assert written == [f"{area:.3f}" for area in areas]
            means[encoder] = np.mean(areas)
            assert row[encoder].startswith(f"{np.mean(areas):.3f} (")
        gain = means["pretrained"] - means["untrained"]
        assert row["pretrained - untrained"].startswith(f"{gain:+.3f} (")
        assert gain > 0.1  # or all of this would be noise
    assert "linear probe mean AUC +" in found["headline"]


def by_column(table):
    """Return a table's rows by their first cell, each cell by its column's name."""
    return {
        row[0]: dict(zip(table["columns"], row, strict=True)) for row in table["rows"]
    }


def repeated(task, role, copies):
    """Give each patient of a role as many copies of its scans."""
    source = getattr(task, role)
    labels, patients = np.tile(source.labels, (copies, 1)), source.patients * copies
    names = [str(i) for i in range(len(labels))]
    more = Examples(names, dict, labels, patients, None, NAMES)
    of_role = getattr(task, f"{role}_features")
    features = {name: np.tile(array, (copies, 1)) for name, array in of_role.items()}
    return task._replace(**{role: more, f"{role}_features": features})


def test_copies_of_a_patients_scans_do_not_narrow_the_intervals_of_findings():
    once, copied = (
        tables(repeated(task(), "test", n), **SETTINGS)["tables"][0] for n in (1, 4)
    )
    assert copied["rows"] == once["rows"]


def test_no_patient_of_a_finding_is_on_both_sides_when_the_penalty_is_chosen(
    monkeypatch,
):
    """Without a signal, copies in the other part give their label away."""
    monkeypatch.setattr(linear, "GRID", (1e-4, 100.0))
    given = repeated(task(), "train", 3)
    _, each = tables(given, **SETTINGS)["tables"]
    column = "linear probe, untrained"
    written = [row[column] for row in by_column(each).values()]
    areas = [
        [f"{expected(given, 'untrained', j, 'linear probe', p):.3f}" for j in range(3)]
        for p in (True, False)
    ]
    assert written == areas[0] != areas[1]


def untested(train, test):
    test[test[:, 1] == 1, 1] = -1


def unlearnt(train, test):
    train[:, 1] = np.where(np.arange(len(train)) < 2, 1, 0)  # one patient's


def unknown(train, test):
    train[:, 1] = -1


@pytest.mark.parametrize("change", [untested, unlearnt, unknown])
def test_a_finding_without_support_is_named_and_left_out(change):
    mean, each = tables(task(change), **SETTINGS)["tables"]
    assert mean["title"].endswith("mean of 2 findings")
    assert "for want of a positive or a negative: pus." in mean["note"]
    assert [row[0] for row in each["rows"]] == ["edema", "gap"]


def test_without_any_supported_finding_the_headline_says_so():
    def nothing(train, test):
        train[:] = 1

    found = tables(task(nothing), **SETTINGS)
    assert found["headline"].startswith("No probe: no finding has two patients")
    assert "tables" not in found
