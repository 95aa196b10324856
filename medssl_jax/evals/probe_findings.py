"""Linear probe and kNN of several findings, each learnt on its own."""

from typing import Any

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.source import UNLABELLED
from medssl_jax.evals.base import ENCODERS, FrozenFeatures
from medssl_jax.evals.bootstrap import interval, paired_difference
from medssl_jax.evals.findings import left_out
from medssl_jax.evals.knn import weighted_knn
from medssl_jax.evals.linear import learnable, linear_probe
from medssl_jax.evals.metrics import auc_of, mean_auc, scorable

Scores = dict[str, dict[str, Float[np.ndarray, "m k"]]]  # by classifier and encoder


def tables(
    task: FrozenFeatures, *, neighbours: int, temperature: float
) -> dict[str, Any]:
    """Return the mean AUC over findings of both encoders, and each finding's.

    A finding that training patients or test examples do not support (learning takes
    two patients with and two without it, testing one example of each) is left out of
    the mean, and the note names it.
    """
    labels, names = np.asarray(task.train.labels), list(task.train.label_names)
    tested = np.asarray(task.test.labels)
    used = [j for j in scorable(tested) if _can_learn(task, labels[:, j])]
    if not used:
        text = "No probe: no finding has two patients with and without it to learn "
        return {"headline": f"{text}from and an example of each to test."}
    scores = _scores(task, labels[:, used], neighbours, temperature)
    tested = tested[:, used]
    counts = f"{len(labels)} labelled examples to learn from, {len(tested)} to test"
    note = f"{counts}; unknown labels are left out.{left_out(names, used)}"
    rows, lines = _mean_rows(scores, tested, task)
    mean = {
        "title": f"Test AUC of frozen features, mean of {len(used)} findings",
        "note": f"{note} 95 % intervals by bootstrap over patients; the difference is "
        "paired.",
        "columns": ["classifier", *ENCODERS, "pretrained - untrained"],
        "rows": rows,
    }
    each = {
        "title": "Test AUC of each finding",
        "note": note,
        "columns": ["finding", *(f"{c}, {e}" for c in scores for e in ENCODERS)],
        "rows": _rows(scores, tested, [names[j] for j in used]),
    }
    return {"tables": [mean, each], "roc": [], "headline": f"{'; '.join(lines)}."}


def _can_learn(task: FrozenFeatures, labels: Int[np.ndarray, "n"]) -> bool:
    known = np.flatnonzero(labels != UNLABELLED)
    groups = _patients(task, known)
    return bool(len(known)) and learnable(labels[known], groups, seed=task.seed)


def _patients(task, indices):
    patients = task.train.patients
    return None if patients is None else [patients[i] for i in indices]


def _scores(task: FrozenFeatures, labels, neighbours, temperature) -> Scores:
    """Score the test examples for each column of `labels`."""
    linear = {name: [] for name in ENCODERS}
    knn = {name: [] for name in ENCODERS}
    for column in labels.T:
        known = np.flatnonzero(column != UNLABELLED)
        for name in ENCODERS:
            bank = task.train_features[name][known], column[known]
            arrays = *bank, task.test_features[name]
            p = linear_probe(
                *arrays, groups=_patients(task, known), classes=2, seed=task.seed
            )
            linear[name].append(p[:, 1])
            k = min(neighbours, len(known))
            votes = weighted_knn(*arrays, classes=2, k=k, temperature=temperature)
            knn[name].append(votes[:, 1])
    by_classifier = {"linear probe": linear, "kNN": knn}
    return {
        classifier: {
            name: np.stack(columns, axis=1) for name, columns in scores.items()
        }
        for classifier, scores in by_classifier.items()
    }


def _mean_rows(scores: Scores, labels, task: FrozenFeatures):
    """Return the table's rows, and the headline's parts."""
    metric = mean_auc(range(labels.shape[1]))
    drawn = {"groups": task.test.patients, "seed": task.seed}
    rows, lines = [], []
    for classifier, by_encoder in scores.items():
        cells = [interval(metric, labels, by_encoder[e], **drawn) for e in ENCODERS]
        gain = paired_difference(
            metric, labels, by_encoder["pretrained"], by_encoder["untrained"], **drawn
        ).text(signed=True)
        rows.append([classifier, *(cell.text() for cell in cells), gain])
        lines.append(f"{classifier} mean AUC {gain} over untrained")
    return rows, lines


def _rows(scores: Scores, labels, names: list[str]) -> list[list[str]]:
    columns = [by_encoder[e] for by_encoder in scores.values() for e in ENCODERS]
    return [
        [name, *(f"{auc_of(j)(labels, column):.3f}" for column in columns)]
        for j, name in enumerate(names)
    ]
