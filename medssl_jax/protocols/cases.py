"""Test cases of finished runs, set beside each other, whatever was asked of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.source import Labels
from medssl_jax.errors import DataError

# the value of a metric on some of the cases, which a bootstrap draws
Measure = Callable[[Int[np.ndarray, "_"]], float]


class Cases(NamedTuple):
    """A run's test cases, in the order of its file, and what is measured on them.

    patients: None where they are not known.
    measures: by the metric's name, its value on any of the cases, by their indices.
    main: which of them curves and headlines show; it is better when higher.
    classes: names of what was told apart: classes, findings or structures.
    labels: (n,) classes, or (n, findings); None of a task without.
    scores: (n,) of the second of two classes; None of other tasks.
    """

    names: Sequence[str]
    patients: Sequence[str] | None
    measures: Mapping[str, Measure]
    main: str
    classes: Sequence[str]
    labels: Labels | None = None
    scores: Float[np.ndarray, "n"] | None = None


def aligned(runs: Mapping[str, Cases]) -> dict[str, Cases]:
    """Return all in the first one's order of cases.

    Raises:
      DataError: if they are not of the same cases, patients, classes, labels and
        metrics.
    """
    (first_name, first), *others = runs.items()
    found = {first_name: first}
    for name, other in others:
        different = set(first.names) ^ set(other.names)
        if different:
            case = min(different)
            has, lacks = (
                (first_name, name) if case in first.names else (name, first_name)
            )
            reason = f"lacks the example {case} of {has} ({len(different)} differ)"
            raise DataError(lacks, f"{reason}; compare runs on the same test examples")
        place = {case: i for i, case in enumerate(other.names)}
        found[name] = _ordered(other, np.array([place[case] for case in first.names]))
        _check_alike(first_name, first, name, found[name])
    return found


def mean_of(several: Sequence[Measure]) -> Measure:
    """Return the mean of metrics, as of runs with other seeds, on the same cases."""
    return lambda cases: float(np.mean([one(cases) for one in several]))


def difference_of(first: Measure, second: Measure) -> Measure:
    """Return first - second on the same cases."""
    return lambda cases: first(cases) - second(cases)


def _ordered(run: Cases, order: Int[np.ndarray, "_"]) -> Cases:
    def ordered(measure):
        return lambda cases: measure(order[cases])

    return run._replace(
        names=[run.names[i] for i in order],
        patients=None if run.patients is None else [run.patients[i] for i in order],
        measures={name: ordered(measure) for name, measure in run.measures.items()},
        labels=None if run.labels is None else run.labels[order],
        scores=None if run.scores is None else run.scores[order],
    )


def _check_alike(first_name: str, first: Cases, name: str, other: Cases) -> None:
    if list(first.classes) != list(other.classes):
        raise DataError(name, f"has other classes than {first_name}")
    unlike = first.measures.keys() ^ other.measures.keys()
    if unlike:
        metrics = ", ".join(sorted(unlike))
        raise DataError(name, f"has other metrics than {first_name}: {metrics}")
    if first.labels is not None:
        unlike = (first.labels != other.labels).reshape(len(first.names), -1).any(1)
        if unlike.any():
            case = first.names[int(unlike.argmax())]
            raise DataError(name, f"gives {case} another label than {first_name}")
    if first.patients != other.patients:
        raise DataError(name, f"gives its examples other patients than {first_name}")
