"""Test cases that were segmented: Dice and surface measures of each structure."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from medssl_jax.protocols.cases import Cases, Measure, mean_of

# what a column of cases.csv begins with -> what the metric is called
_METRICS = {"dice": "Dice", "nsd": "NSD", "hd95_mm": "HD95 mm"}
_LARGEST = {"dice": 1.0, "nsd": 1.0, "hd95_mm": math.inf}


def parse(rows: Sequence[Mapping[str, str]]) -> Cases:
    """Return the cases of cases.csv: name, patient, and `KIND CLASS` of each structure.

    KIND is dice, and nsd and hd95_mm where they were measured. An empty cell is a
    structure that neither truth nor prediction has: it does not count. A metric is the
    mean over cases for each structure, then over the structures that any case has. The
    Hausdorff distance of a structure that one of the two lacks is infinite: it is left
    out of the mean, and "HD95 infinite" is the share of such cases.

    Raises:
      KeyError: if a column is not there.
      ValueError: if a value is none that it can be, or nothing counts.
    """
    columns = [column.partition(" ") for column in rows[0]]
    kinds = [kind for kind in _METRICS if any(kind == one for one, _, _ in columns)]
    structures = [name for kind, _, name in columns if kind == "dice" and name]
    if not structures:
        raise KeyError("dice CLASS")
    measures = {}
    for kind in kinds:
        values = {
            name: np.array([_number(row[f"{kind} {name}"], kind) for row in rows])
            for name in structures
        }
        measures |= _measures(_METRICS[kind], values, _mean_of_finite)
        if kind == "hd95_mm":
            measures |= _measures("HD95 infinite", values, _share_infinite)
    patients = [row["patient"] for row in rows]
    return Cases(
        [row["name"] for row in rows],
        patients if any(patients) else None,
        measures,
        _METRICS["dice"],
        structures,
    )


def _measures(
    metric: str,
    values: Mapping[str, Float[np.ndarray, "n"]],
    mean: Callable[[np.ndarray], float],
) -> dict[str, Measure]:
    """Return the metric over all structures, and of each."""
    each = {name: _on_counted(mean, of_one) for name, of_one in values.items()}
    found = [one for name, one in each.items() if not np.isnan(values[name]).all()]
    if not found:
        raise ValueError("no case has any structure")
    return {metric: mean_of(found)} | {f"{metric} {n}": one for n, one in each.items()}


def _on_counted(mean, values: Float[np.ndarray, "n"]) -> Measure:
    """Return the mean over those drawn cases that count; NaN if there is none."""

    def measure(cases):
        drawn = values[cases]
        drawn = drawn[~np.isnan(drawn)]
        return float(mean(drawn)) if len(drawn) else math.nan

    return measure


def _mean_of_finite(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    return finite.mean() if len(finite) else math.nan


def _share_infinite(values: np.ndarray) -> float:
    return np.isinf(values).mean()


def _number(text: str, kind: str) -> float:
    if not text:
        return math.nan
    number = float(text)
    if not 0 <= number <= _LARGEST[kind]:
        raise ValueError(f"{text} is no {_METRICS[kind]}")
    return number
