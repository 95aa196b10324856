"""The table of a classifier's predictions, example by example."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from medssl_jax.data.source import UNLABELLED, Source
from medssl_jax.files import write_csv

CALLED = "called_at_"  # of the column of what is called at an operating point


def write_predictions(
    path: Path,
    source: Source,
    p: Float[np.ndarray, "n k"],
    findings: Sequence[str] | None = None,
    *,
    ordered: bool = False,
    threshold: float | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a CSV with a row per example: name, patient, labels, probabilities.

    Of classes `label` and one probability for each, of ordered ones `grade` in its
    place, so that whoever reads the file knows; of findings `label_NAME` (empty
    where unknown) and `probability_NAME` for each. Without labels, or with those of
    other findings than the probabilities', there are no labels in it. Classes with
    names have two columns more: `class`, where labels are known, and `predicted`, the
    name of the most probable one.

    Args:
      findings: names of the probabilities', where they are findings; None is as the
        source has them.
      ordered: whether classes are grades.
      classes: names of the probabilities', where classes have some; None is as the
        source has them.
      threshold: an operating point of two classes: which is called at it is a column,
        whose name tells the point.
    """
    patients = source.patients or [""] * len(source)
    names = source.label_names if findings is None else findings
    known = ["grade" if ordered else "label"]
    scored = [f"probability_{k}" for k in range(p.shape[1])]
    if names:
        known = [f"label_{name}" for name in names]
        scored = [f"probability_{name}" for name in names]
    if source.labels is None or list(source.label_names or ()) != list(names or ()):
        known, labels = [], np.empty((len(source), 0), int)
    else:
        labels = np.asarray(source.labels).reshape(len(source), -1)
    point = [] if threshold is None else [f"{CALLED}{threshold:g}"]
    told = None if names else source.label_classes or classes
    classes = None if names else classes or source.label_classes
    named = [*["class"] * bool(known), "predicted"] if classes else []
    rows = []
    for i, row in enumerate(p):
        marks = ["" if mark == UNLABELLED else mark for mark in labels[i].tolist()]
        written = [f"{value:.6g}" for value in row]
        called = [int(row[1] >= threshold)] if point else []
        words = []
        if classes:
            words += [mark if mark == "" else told[mark] for mark in marks]
            words += [classes[int(row.argmax())]]
        rows.append([source.name(i), patients[i], *marks, *written, *called, *words])
    write_csv(path, ["name", "patient", *known, *scored, *point, *named], rows)
