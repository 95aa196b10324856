"""How far probabilities move when their images are transformed, set side by side."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from medssl_jax.errors import ConfigError
from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.protocols.cases import Measure, difference_of
from medssl_jax.protocols.compare import shown

PERCENTILES = (5, 25, 50, 75, 95)  # of a box plot
_TOLD = 4  # differences, at most, in the headline


class Moved(NamedTuple):
    """A model's probabilities of n images, and of m transforms of each.

    before (n, k), after (n, m, k); k is 1, or how many findings are told.
    """

    before: Float[np.ndarray, "n k"]
    after: Float[np.ndarray, "n m k"]

    @property
    def deviation(self) -> Float[np.ndarray, "n m k"]:
        """(p' - p) / p, signed, in float64; NaN where p is 0."""
        p = np.where(self.before > 0, self.before, np.nan)[:, None].astype(np.float64)
        return (self.after - p) / p


class Images(NamedTuple):
    """What was transformed: names, and patients where they are known."""

    names: Sequence[str]
    patients: Sequence[str] | None


def summarise(
    moved: Mapping[str, Mapping[str, Moved]], images: Images, *, of: str, seed: int
) -> dict[str, Any]:
    """Return what results.json holds of each model under each view.

    Intervals are of other patients, with all transforms of their images; a difference
    is of the images where both models have a ratio.

    Args:
      moved: by view and model, of the same images and transforms.
      of: what the probabilities are of, in words.

    Raises:
      ConfigError: if a model has no probability above 0.
    """
    values, rows, boxes, gains = {}, [], {}, {}
    drawn = {"groups": images.patients, "seed": seed}
    for view, by_model in moved.items():
        deviations = {name: one.deviation for name, one in by_model.items()}
        (first, of_first), *_ = deviations.items()
        for name, deviation in deviations.items():
            known = deviation[~np.isnan(deviation)]
            if not len(known):
                raise ConfigError(
                    f"config.models: {name} gives no image a {of} above 0, and (p' - p) / "
                    "p has no meaning"
                )
            box = np.percentile(known, PERCENTILES).tolist()
            boxes.setdefault(view, {})[name] = box
            mean = resampled(mean_absolute(deviation), len(deviation), **drawn)
            values[f"{view}, {name}"] = mean._asdict()
            row = [view, name, *(f"{x:+.3f}" for x in box[1:4]), mean.text()]
            if name != first:
                gain = resampled(_apart(deviation, of_first), len(deviation), **drawn)
                values[f"{view}, {name} - {first}"] = gain._asdict()
                gains.setdefault(view, {})[name] = gain
                row.append(shown(gain))
            elif len(deviations) > 1:
                row.append("")
            rows.append(row)
    return {
        "headline": _headline(values, gains, [*moved], first),
        "tables": [_table(rows, moved, images, of, first)],
        "roc": [],
        "values": values,
        "robustness": {"of": of, "boxes": boxes},
    }


def mean_absolute(deviation: Float[np.ndarray, "n m k"]) -> Measure:
    """Return the mean of |deviation| over any of the images, where it is known."""
    known = ~np.isnan(deviation)
    sums = np.abs(np.where(known, deviation, 0)).sum(axis=(1, 2))
    counts = known.sum(axis=(1, 2))

    def measure(images):
        count = counts[images].sum()
        return float(sums[images].sum() / count) if count else math.nan

    return measure


def _apart(one, other) -> Measure:
    """Return one's mean absolute deviation less the other's, where both are known."""
    known = ~(np.isnan(one) | np.isnan(other))
    pair = (mean_absolute(np.where(known, each, np.nan)) for each in (one, other))
    return difference_of(*pair)


def _table(rows, moved, images: Images, of: str, first: str) -> dict[str, Any]:
    by_model = next(iter(moved.values()))
    draws = by_model[first].after.shape[1]
    lacking = {name: int((one.before <= 0).sum()) for name, one in by_model.items()}
    left_out = "".join(
        f" {name} gives {count} of {by_model[name].before.size} a p of 0, of which "
        "there is no ratio: they are left out."
        for name, count in lacking.items()
        if count
    )
    several = len(by_model) > 1
    paired = " The difference is paired; * leaves out 0." if several else ""
    return {
        "title": "Relative deviation of the probability",
        "note": f"(p' - p) / p: p is the {of}, p' that of the transformed image; "
        f"{len(images.names)} images, {draws} transforms of each, the same for every "
        "model. 95 % intervals of the mean of its absolute value by bootstrap over "
        f"patients.{paired}{left_out}",
        "columns": ["view", "of", "lower quartile", "median", "upper quartile"]
        + ["mean absolute (95 % interval)"]
        + [f"less that of {first}"] * several,
        "rows": rows,
    }


def _headline(values, gains: Mapping[str, Mapping[str, Interval]], views, first) -> str:
    if not gains:
        each = (
            f"{Interval(**values[f'{view}, {first}']).text()} under {view}"
            for view in views
        )
        return f"Mean absolute deviation of {first}: {', '.join(each)}."
    count = sum(map(len, gains.values()))
    told = gains if count <= _TOLD else {views[0]: gains[views[0]]}
    each = [
        f"under {view} "
        + ", ".join(f"{name} {shown(gain)}" for name, gain in by_model.items())
        for view, by_model in told.items()
    ]
    return f"Mean absolute deviation less that of {first}: {'; '.join(each)}."
