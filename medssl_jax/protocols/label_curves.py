"""What runs on shares of the labels say: means, differences, curves."""

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.protocols import outcome
from medssl_jax.protocols.cases import Cases, Measure, mean_of
from medssl_jax.protocols.compare import difference, shown

_TOLD = 4  # fractions, at most, in the headline


class Place(NamedTuple):
    """Where a run stands among those of the protocol."""

    fraction: float
    initialisation: str
    seed: int


def summarise(
    runs: Mapping[Place, Cases],
    used: Mapping[Place, outcome.Used],
    *,
    seed: int,
    against: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return what results.json holds.

    Differences that are told are `against` what an initialisation is measured by: the
    last one, where it does not say.

    Validation labels are not among those of which a fraction is taken: they are counted
    beside it.

    Intervals speak of other test patients, with the training runs as they are: the
    mean over seeds of the metric (or of its paired difference) is taken anew on each
    bootstrap resample. Deviations speak of other seeds and subsets.
    """
    study = _study(runs, seed, against)
    means, gains, values = [], [], {}
    for fraction in study.fractions:
        share = f"{100 * fraction:g} %"
        here = [each for place, each in used.items() if place.fraction == fraction]
        row = [
            share,
            _range(each.examples for each in here),
            _range(each.validation for each in here),
        ]
        for name in study.names:
            mean = _mean(study, fraction, name)
            each = _of(study.scores, fraction, name)
            spread = outcome.mean_and_deviation(each)
            row.append(f"{spread} ({mean.low:.3f} to {mean.high:.3f})")
            values[f"{study.metric}, {name}, {fraction:g}"] = mean._asdict()
        means.append(row)
        differences, told = _gains(study, fraction)
        values |= differences
        gains += told
    return {
        "headline": _headline(study, gains, means, used.values()),
        "tables": [
            _means_table(study, means),
            *([_gains_table(study, gains)] if gains else []),
        ],
        "roc": [],
        "values": values,
        "label_curves": {
            "metric": study.metric,
            "curves": [_curve(study, name) for name in study.names],
        },
    }


class _Study(NamedTuple):
    """Runs on the same test examples, measured by one metric.

    measured: by place, the metric on any of the examples; scores: on all of them.
    """

    first: Cases
    metric: str
    fractions: Sequence[float]
    names: Sequence[str]
    measured: Mapping[Place, Measure]
    scores: Mapping[Place, float]
    seed: int
    against: Mapping[str, str]

    @property
    def last(self) -> str:
        """What differences are of, in words: one for all, or one of each."""
        others = set(self.against.values())
        return next(iter(others)) if len(others) == 1 else "its own random weights"


class _Gain(NamedTuple):
    """What an initialisation is ahead of `other`, with a fraction of the labels."""

    fraction: float
    name: str
    other: str
    difference: Interval


def _study(
    runs: Mapping[Place, Cases], seed: int, against: Mapping[str, str]
) -> _Study:
    first = next(iter(runs.values()))
    names = list(dict.fromkeys(place.initialisation for place in runs))
    against = {n: names[-1] for n in names[:-1] if n not in against} | dict(against)
    measured = {place: each.measures[first.main] for place, each in runs.items()}
    whole = np.arange(len(first.names))
    return _Study(
        first,
        first.main,
        sorted({place.fraction for place in runs}),
        names,
        measured,
        {place: one(whole) for place, one in measured.items()},
        seed,
        {name: other for name, other in against.items() if name != other},
    )


def _mean(study: _Study, fraction: float, name: str) -> Interval:
    return resampled(
        mean_of(_of(study.measured, fraction, name)),
        len(study.first.names),
        groups=study.first.patients,
        seed=study.seed,
    )


def _gains(
    study: _Study, fraction: float
) -> tuple[dict[str, dict[str, float]], list[_Gain]]:
    """Return the difference of each pair, by name, and those that are told.

    These are of each against what it is measured by, the largest first: all pairs of
    seven are too many to read.
    """
    values, told = {}, []
    for one, other in itertools.combinations(study.names, 2):
        pair = (mean_of(_of(study.measured, fraction, name)) for name in (one, other))
        gain = difference(*pair, study.first, seed=study.seed)
        values[f"{study.metric}, {one} - {other}, {fraction:g}"] = gain._asdict()
        if study.against.get(one) == other:
            told.append(_Gain(fraction, one, other, gain))
    return values, sorted(told, key=lambda found: -found.difference.value)


def _gain_row(study: _Study, gain: _Gain) -> list[str]:
    by_seed = np.subtract(
        _of(study.scores, gain.fraction, gain.name),
        _of(study.scores, gain.fraction, gain.other),
    )
    return [
        f"{100 * gain.fraction:g} %",
        f"{gain.name} - {gain.other}",
        outcome.mean_and_deviation(by_seed.tolist()),
        f"{int((by_seed > 0).sum())} of {len(by_seed)}",
        shown(gain.difference),
    ]


def _curve(study: _Study, name: str) -> dict[str, Any]:
    scores = [_of(study.scores, fraction, name) for fraction in study.fractions]
    curve = {"name": name, "fractions": study.fractions, "scores": scores}
    return curve | {"against": study.against.get(name, name)}


def _of(by_place: Mapping[Place, Any], fraction: float, name: str) -> list[Any]:
    """Return the seeds' values of one fraction and initialisation, in one order."""
    return [v for p, v in by_place.items() if p[:2] == (fraction, name)]


def _range(counts) -> str:
    counts = list(counts)
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def _headline(study, gains, means, used) -> str:
    beside = _range(each.validation for each in used)
    of_labels = (
        f"of the training labels; each run chose its checkpoint by {beside} validation "
        "labels beside these."
    )
    if not gains:
        share, _, _, mean, *_ = means[0]
        return f"{study.metric} of {study.names[0]}: {mean} with {share} {of_labels}"
    if len(study.names) > 2:
        ends = dict.fromkeys((study.fractions[0], study.fractions[-1]))
        each = [f"with {100 * end:g} % {_apart(gains, end)}" for end in ends]
        return (
            f"{study.metric} against {study.last}: {'; '.join(each)}. Percentages "
            f"are {of_labels}"
        )
    told = gains if len(gains) <= _TOLD else [gains[0], gains[-1]]
    each = [
        f"{one.difference.text(signed=True)} with {100 * one.fraction:g} %"
        for one in told
    ]
    of = " - ".join(study.names)
    return f"{study.metric} of {of}: {', '.join(each)} {of_labels}"


def _apart(gains: Sequence[_Gain], fraction: float) -> str:
    """Say whose differences have intervals above 0, below it, and around it."""
    found: dict[str, list[str]] = {"ahead": [], "behind": [], "not told apart": []}
    for gain in gains:
        if gain.fraction == fraction:
            ahead, behind = gain.difference.low > 0, gain.difference.high < 0
            word = "ahead" if ahead else "behind" if behind else "not told apart"
            found[word].append(f"{gain.name} {gain.difference.value:+.3f}")
    return ", ".join(f"{word} {', '.join(of)}" for word, of in found.items() if of)


def _means_table(study, rows) -> dict[str, Any]:
    seeds = len({place.seed for place in study.scores})
    return {
        "title": f"Test {study.metric} by share of the labels",
        "note": f"{len(study.first.names)} test examples; mean and deviation over "
        f"{seeds} seed{'s' * (seeds > 1)}, each with its own subset of the training labels; in brackets "
        "the 95 % interval of that mean, by bootstrap over test patients. Whatever the "
        "share, all validation examples choose the checkpoint.",
        "columns": ["labels", "training examples", "validation examples"]
        + list(study.names),
        "rows": rows,
    }


def _gains_table(study, gains) -> dict[str, Any]:
    others = (
        f" Each against {study.last}, the largest first; results.json has every pair."
        if len(study.names) > 2
        else ""
    )
    return {
        "title": f"Paired differences of test {study.metric}",
        "note": "The same subset and seed on both sides. The interval is of the mean "
        "difference over seeds, by bootstrap over test patients; * leaves out 0."
        f"{others}",
        "columns": [
            "labels",
            "of",
            "mean ± deviation over seeds",
            "seeds above 0",
            "difference (95 % interval)",
        ],
        "rows": [_gain_row(study, one) for one in gains],
    }
