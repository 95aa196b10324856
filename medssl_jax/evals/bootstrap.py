"""How sure a metric is: bootstrap intervals over patients.

The unit that is drawn again is the patient, with all its examples, because two scans
of one patient are no two independent observations (Rutter 2000, Academic Radiology
7:413, for ROC areas). Bounds are percentiles of the bootstrap distribution (Efron and
Tibshirani 1993, ch. 13) rather than BCa's: BCa is undefined where the resamples or
the jackknife all agree (a perfect classifier, two equal classifiers, few patients),
and a percentile interval never leaves the metric's range.
"""

import warnings
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int
from scipy import stats

from medssl_jax.evals.metrics import Groups, Labels, Metric, Scores


class Interval(NamedTuple):
    """A metric's value and its bounds; NaN bounds where they cannot be known."""

    value: float
    low: float
    high: float

    def text(self, *, signed: bool = False) -> str:
        """Write it as `.812 (.701 to .905)` is written in tables; signed: +0.051."""
        spec = "+.3f" if signed else ".3f"
        value, low, high = (format(number, spec) for number in self)
        return f"{value} ({low} to {high})"


def interval(
    metric: Metric,
    labels: Labels,
    scores: Scores,
    *,
    groups: Groups | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
) -> Interval:
    """Return the metric with its bootstrap interval.

    `groups` is each example's patient; None takes every example for a patient.
    Resamples that lack a class which the metric needs are left out. Where they are
    more than 1 - confidence, what is left out could hold a whole tail: bounds are NaN.
    """

    def on(examples):
        return metric(labels[examples], scores[examples])

    members = _members(groups, len(labels))
    return _bootstrap(on, members, confidence, resamples, seed)


def paired_difference(
    metric: Metric,
    labels: Labels,
    first: Scores,
    second: Scores,
    *,
    groups: Groups | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
) -> Interval:
    """Return metric(first) - metric(second) with its bootstrap interval.

    Both are scored on the same resampled patients, so what makes a patient hard for
    both cancels. Otherwise as `interval`.
    """

    def on(examples):
        drawn = labels[examples]
        return metric(drawn, first[examples]) - metric(drawn, second[examples])

    members = _members(groups, len(labels))
    return _bootstrap(on, members, confidence, resamples, seed)


def resampled(
    statistic: Callable[[Int[np.ndarray, "_"]], float],
    count: int,
    *,
    groups: Groups | None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int,
) -> Interval:
    """Return any statistic of some of `count` examples with its bootstrap interval.

    It gets the indices of the examples that were drawn. Otherwise as `interval`.
    """
    members = _members(groups, count)
    return _bootstrap(statistic, members, confidence, resamples, seed)


def _members(groups, count: int) -> list[Int[np.ndarray, "_"]]:
    """Return the examples of each group."""
    if groups is None:
        return [np.array([i]) for i in range(count)]
    # ids of any kind, strings and numbers alike: no sorting, no casting
    members: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return [np.array(examples) for examples in members.values()]


def _bootstrap(
    on: Callable[[np.ndarray], float],
    members: Sequence[np.ndarray],
    confidence: float,
    resamples: int,
    seed: int,
) -> Interval:
    value = on(np.concatenate(members))
    unknown = Interval(value, float("nan"), float("nan"))
    if len(members) < 2 or np.isnan(value):
        return unknown

    def statistic(drawn):
        return on(np.concatenate([members[g] for g in drawn]))

    with warnings.catch_warnings():  # of NaN bounds: we have our own policy below
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        values = stats.bootstrap(
            (np.arange(len(members)),),
            statistic,
            n_resamples=resamples,
            vectorized=False,
            method="percentile",
            rng=np.random.default_rng(seed),
        ).bootstrap_distribution
    defined = values[~np.isnan(values)]
    if len(defined) < confidence * len(values):
        return unknown
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(value, float(low), float(high))
