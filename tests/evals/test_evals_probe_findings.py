"""Probes of several findings: each learns from what is known of it, and is named."""

import numpy as np
import pytest

from medssl_jax.data.source import Examples
from medssl_jax.evals import linear
from medssl_jax.evals.base import ENCODERS, FrozenFeatures
from medssl_jax.evals.knn import weighted_knn
from medssl_jax.evals.linear import linear_probe
from medssl_jax.evals.metrics import auc
from medssl_jax.evals.probe_findings import tables

NAMES = ("edema", "pus", "gap")
SETTINGS = {"neighbours": 5, "temperature": 0.07}


@pytest.fixture(autouse=True)
def one_penalty(monkeypatch):
    monkeypatch.setattr(linear, "GRID", (0.1,))  # the choice among many takes seconds


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


def expected(task, encoder, j, classifier):
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
        p = linear_probe(*arrays, groups=groups, classes=2, seed=0)
    return auc(task.test.labels[tested, j], p[:, 1])


def test_each_finding_has_classifiers_of_its_own_and_the_table_their_mean():
    given = task()
    found = tables(given, **SETTINGS)
    mean, each = found["tables"]
    assert mean["title"].endswith("mean of 3 findings")
    assert [row[0] for row in each["rows"]] == list(NAMES)
    column = 0
    for row, classifier in zip(mean["rows"], ("linear probe", "kNN"), strict=True):
        assert row[0] == classifier
        means = []
        for encoder in ENCODERS:
            areas = [expected(given, encoder, j, classifier) for j in range(3)]
            column += 1
            written = [row[column] for row in each["rows"]]
            assert written == [f"{area:.3f}" for area in areas]
            means.append(np.mean(areas))
            assert row[len(means)].startswith(f"{np.mean(areas):.3f} (")
        assert row[3].startswith(f"{means[1] - means[0]:+.3f} (")
        assert means[1] > means[0] + 0.1  # or all of this would be noise
    assert "linear probe mean AUC +" in found["headline"]


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
