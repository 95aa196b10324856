"""Test cases that have labels: probabilities of classes, or of findings."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from medssl_jax.data.source import UNLABELLED, Labels
from medssl_jax.evals.metrics import auc, binary_scores, metrics
from medssl_jax.evals.predictions import CALLED
from medssl_jax.protocols.cases import Cases, Measure, mean_of


def parse(rows: Sequence[Mapping[str, str]]) -> Cases:
    """Return the cases of predictions.csv, which `evals.predictions` writes.

    Raises:
      KeyError: if a column is not there.
      ValueError: if a value is none that it can be.
    """
    findings = [c.removeprefix("label_") for c in rows[0] if c.startswith("label_")]
    classes = [c for c in rows[0] if c.startswith("probability_")]
    points = [c.removeprefix(CALLED) for c in rows[0] if c.startswith(CALLED)]
    if findings:
        classes = [f"probability_{finding}" for finding in findings]
        labels = [[_label(row[f"label_{f}"]) for f in findings] for row in rows]
    else:
        column = "grade" if "grade" in rows[0] else "label"
        labels = [_label(row[column]) for row in rows]
    patients = [row["patient"] for row in rows]
    p = np.array([[float(row[c]) for c in classes] for row in rows])
    if not p.size:
        raise ValueError("it has no column probability_0")
    if not np.isfinite(p).all():
        raise ValueError("a probability is not finite")
    return cases(
        [row["name"] for row in rows],
        patients if any(patients) else None,
        np.array(labels),
        p,
        findings,
        ordered="grade" in rows[0],
        threshold=next(map(float, points), None),
    )


def cases(
    names: Sequence[str],
    patients: Sequence[str] | None,
    labels: Labels,
    probabilities: Float[np.ndarray, "n classes"],
    findings: Sequence[str] = (),
    *,
    ordered: bool = False,
    threshold: float | None = None,
) -> Cases:
    """Return cases with the metrics that suit their labels, "AUC" among them.

    Of grades the main one is kappa. For findings, "AUC" is the mean over those which
    have both labels among all cases.

    Args:
      names, patients: of the cases; patients are None where they are not known.
      labels: (n,) classes, or (n, findings) with 1, 0 and `UNLABELLED`.
      probabilities: (n, classes), or (n, findings) of each one's presence.
      findings: their names; none where each case has one class.
      ordered: whether classes are grades.
      threshold: the operating point of two classes, as `metrics.metrics` takes it.
    """
    if findings:
        measures = _of_findings(labels, probabilities, findings)
        classes, scores = findings, None
    else:
        scores = binary_scores(probabilities)
        measures = {
            name: _on(metric, labels, scores)
            for name, metric in metrics(
                scores, ordered=ordered, threshold=threshold
            ).items()
        }
        classes = [str(k) for k in range(probabilities.shape[1])]
        scores = scores if scores.ndim == 1 else None
    known = [name for name in ("kappa", "AUC") if name in measures]
    main = known[0] if known else next(iter(measures))
    return Cases(names, patients, measures, main, classes, labels, scores)


def _of_findings(labels, probabilities, findings) -> dict[str, Measure]:
    each = {
        name: _on(_auc_of_known, labels[:, k], probabilities[:, k])
        for k, name in enumerate(findings)
    }
    everyone = np.arange(len(labels))
    known = [one for one in each.values() if not np.isnan(one(everyone))]
    named = {f"AUC {name}": one for name, one in each.items()}
    return {"AUC": mean_of(known), **named} if known else named


def _on(metric, labels, scores) -> Measure:
    return lambda drawn: metric(labels[drawn], scores[drawn])


def _auc_of_known(labels, scores) -> float:
    known = labels != UNLABELLED
    return auc(labels[known], scores[known])


def _label(text: str) -> int:
    return int(float(text)) if text else UNLABELLED
