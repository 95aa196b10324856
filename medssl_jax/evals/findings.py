"""A classifier of several findings on its validation and test examples."""

from typing import Any

import numpy as np

from medssl_jax.data.source import UNLABELLED, Source
from medssl_jax.evals.bootstrap import interval
from medssl_jax.evals.metrics import (
    Findings,
    auc_of,
    masked_log_loss,
    mean_auc,
    scorable,
)


def validation(labels: Findings, p: np.ndarray) -> dict[str, float]:
    """Return the loss of training, on validation, and the mean AUC over findings."""
    areas = mean_auc(scorable(labels))(labels, p)
    return {"validation_loss": masked_log_loss(labels, p), "validation_AUC": areas}


def results(source: Source, p: np.ndarray, seed: int) -> dict[str, Any]:
    """Return AUC of each finding and their mean, with intervals, for results.json.

    Unknown labels are left out finding by finding. A finding without a positive or a
    negative has no AUC: it is NaN, left out of the mean, and named in the note.
    """
    labels, names = np.asarray(source.labels), list(source.label_names)
    scored = scorable(labels)
    drawn = {"groups": source.patients, "seed": seed}

    def measured(metric):
        return interval(metric, labels, p, **drawn)

    mean = measured(mean_auc(scored))
    each = {name: measured(auc_of(j)) for j, name in enumerate(names)}
    counts = [f"{np.sum(c == 1)} of {np.sum(c != UNLABELLED)}" for c in labels.T]
    rows = [[f"mean of {len(scored)}", "", mean.text()]]
    rows += [
        [name, count, value.text()]
        for (name, value), count in zip(each.items(), counts, strict=True)
    ]
    table = {
        "title": "Test",
        "note": f"{len(labels)} examples, at the lowest validation loss; 95 % "
        "intervals by bootstrap over patients. Labels that are not known are left out."
        + left_out(names, scored),
        "columns": ["finding", "positives of known", "AUC (95 % interval)"],
        "rows": rows,
    }
    values = {"AUC": mean, **{f"AUC {name}": value for name, value in each.items()}}
    return {
        "headline": f"Test AUC {mean.text()}, mean of {len(scored)} findings.",
        "tables": [table],
        "roc": [roc(names[j], labels[:, j], p[:, j]) for j in scored],
        "values": {name: value._asdict() for name, value in values.items()},
    }


def left_out(names: list[str], scored: list[int]) -> str:
    """Say which findings the mean lacks, and why."""
    lacking = [name for j, name in enumerate(names) if j not in scored]
    if not lacking:
        return ""
    return (
        f" Not in the mean, for want of a positive or a negative: {', '.join(lacking)}."
    )


def roc(name: str, labels: np.ndarray, scores: np.ndarray) -> dict[str, Any]:
    """Return what the report draws of one finding, where it is known."""
    known = labels != UNLABELLED
    drawn = labels[known].tolist(), scores[known].tolist()
    return {"name": name, "labels": drawn[0], "scores": drawn[1]}
