"""The predictions of finished runs: read, set beside each other, measured."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.source import UNLABELLED
from medssl_jax.errors import DataError
from medssl_jax.evals.metrics import auc, binary_scores, metrics

FILE = "predictions.csv"

# the value of a metric on some of the examples, which a bootstrap draws
Measure = Callable[[Int[np.ndarray, "_"]], float]


class Predictions(NamedTuple):
    """A run's test examples, in the order of its file.

    patients: None where they are not known.
    labels: (n,) classes, or (n, findings) with 1, 0 and `UNLABELLED`.
    probabilities: (n, classes), or (n, findings) of each one's presence.
    findings: their names; none where each example has one class.
    """

    names: Sequence[str]
    patients: Sequence[str] | None
    labels: Int[np.ndarray, "n"] | Int[np.ndarray, "n findings"]
    probabilities: Float[np.ndarray, "n classes"]
    findings: Sequence[str]


def read(run: Path) -> Predictions:
    """Read predictions.csv of a run's folder.

    Raises:
      DataError: if it is not there or damaged, or names an example twice.
    """
    path = run / FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        return _parsed(rows)
    except FileNotFoundError as error:
        reason = f"holds no {FILE}: it is no finished run that was tested"
        raise DataError(run, reason) from error
    except KeyError as error:
        raise DataError(path, f"has no column {error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise DataError(path, f"cannot be read: {error}") from error


def aligned(runs: Mapping[str, Predictions]) -> dict[str, Predictions]:
    """Return all in the first one's order of examples.

    Raises:
      DataError: if they are not of the same examples, labels, patients and classes.
    """
    (first_name, first), *others = runs.items()
    found = {first_name: first}
    for name, other in others:
        different = set(first.names) ^ set(other.names)
        if different:
            example = min(different)
            has, lacks = (
                (first_name, name) if example in first.names else (name, first_name)
            )
            reason = f"lacks the example {example} of {has} ({len(different)} differ)"
            raise DataError(lacks, f"{reason}; compare runs on the same test examples")
        place = {example: i for i, example in enumerate(other.names)}
        order = np.array([place[example] for example in first.names])
        found[name] = _ordered(other, order)
        _check_alike(first_name, first, name, found[name])
    return found


def measures(run: Predictions) -> dict[str, Measure]:
    """Return the metrics that suit a run's labels, "AUC" among them.

    For findings, "AUC" is the mean over those which have both labels in the file.
    """
    if not run.findings:
        scores = binary_scores(run.probabilities)
        return {
            name: _on(metric, run.labels, scores)
            for name, metric in metrics(scores).items()
        }
    each = {
        name: _on(_auc_of_known, run.labels[:, k], run.probabilities[:, k])
        for k, name in enumerate(run.findings)
    }
    everyone = np.arange(len(run.names))
    known = [one for one in each.values() if not np.isnan(one(everyone))]
    named = {f"AUC {name}": one for name, one in each.items()}
    return {"AUC": mean_of(known), **named} if known else named


def main_metric(run: Predictions) -> str:
    """Return which of `measures` curves and headlines show."""
    names = list(measures(run))
    return "AUC" if "AUC" in names else names[0]


def mean_of(several: Sequence[Measure]) -> Measure:
    """Return the mean of metrics, as of runs with other seeds, on the same examples."""
    return lambda examples: float(np.mean([one(examples) for one in several]))


def difference_of(first: Measure, second: Measure) -> Measure:
    """Return first - second on the same examples."""
    return lambda examples: first(examples) - second(examples)


def _on(metric, labels, scores) -> Measure:
    return lambda examples: metric(labels[examples], scores[examples])


def _auc_of_known(labels, scores) -> float:
    known = labels != UNLABELLED
    return auc(labels[known], scores[known])


def _parsed(rows: Sequence[Mapping[str, str]]) -> Predictions:
    if not rows:
        raise ValueError("it has no rows")
    names = [row["name"] for row in rows]
    twice = len(names) - len(set(names))
    if twice:
        raise ValueError(f"{twice} examples are in it twice")
    patients = [row["patient"] for row in rows]
    findings = [c.removeprefix("label_") for c in rows[0] if c.startswith("label_")]
    classes = [c for c in rows[0] if c.startswith("probability_")]
    if findings:
        classes = [f"probability_{finding}" for finding in findings]
        labels = [[_label(row[f"label_{f}"]) for f in findings] for row in rows]
    else:
        labels = [_label(row["label"]) for row in rows]
    probabilities = np.array([[float(row[c]) for c in classes] for row in rows])
    if not probabilities.size:
        raise ValueError("it has no column probability_0")
    if not np.isfinite(probabilities).all():
        raise ValueError("a probability is not finite")
    known = patients if any(patients) else None
    return Predictions(names, known, np.array(labels), probabilities, findings)


def _label(text: str) -> int:
    return int(float(text)) if text else UNLABELLED


def _ordered(run: Predictions, order: np.ndarray) -> Predictions:
    return Predictions(
        [run.names[i] for i in order],
        None if run.patients is None else [run.patients[i] for i in order],
        run.labels[order],
        run.probabilities[order],
        run.findings,
    )


def _check_alike(first_name, first, name, other) -> None:
    shapes = first.probabilities.shape, other.probabilities.shape
    if shapes[0] != shapes[1] or list(first.findings) != list(other.findings):
        raise DataError(name, f"has other classes than {first_name}")
    unlike = (first.labels != other.labels).reshape(len(first.names), -1).any(axis=1)
    if unlike.any():
        example = first.names[int(unlike.argmax())]
        raise DataError(name, f"gives {example} another label than {first_name}")
    if first.patients != other.patients:
        raise DataError(name, f"gives its examples other patients than {first_name}")
