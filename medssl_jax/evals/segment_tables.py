"""What the test of a segmentation comes to: tables with intervals over patients."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.evals.case import Case
from medssl_jax.evals.overlap import dice_of, mean_dice

_MOST_ROWS = 200


def results(
    cases: Sequence[Case], names: Sequence[str], *, tolerance_mm: float, seed: int
) -> dict[str, Any]:
    """Return headline, tables and values of results.json.

    Intervals are by bootstrap over patients. Pooled Dice, over the voxels of all cases
    together, stands beside the mean over cases because some publish it.
    """
    dice, hd95_mm, nsd = (
        np.stack([getattr(case, kind) for case in cases])
        for kind in ("dice", "hd95_mm", "nsd")
    )
    pooled = dice_of(np.sum([case.overlaps for case in cases], axis=0))
    groups = [case.patient for case in cases]
    groups = groups if any(groups) else None  # as protocols.structures has it

    def interval(statistic: Callable[[np.ndarray], float]) -> Interval:
        return resampled(statistic, len(cases), groups=groups, seed=seed)

    counted = dice[:, ~np.isnan(dice).all(axis=0)]  # as protocols.structures has it
    values = {"Dice": interval(lambda drawn: mean_dice(counted[drawn]))}
    rows = []
    for k, name in enumerate(names):
        of_dice, of_nsd, of_hd95 = (
            interval(lambda drawn, of=of: _mean(of[drawn]))
            for of in (dice[:, k], nsd[:, k], _finite(hd95_mm[:, k]))
        )
        values |= {
            f"Dice {name}": of_dice,
            f"NSD {name}": of_nsd,
            f"HD95 mm {name}": of_hd95,
        }
        missed = int(np.isinf(hd95_mm[:, k]).sum())
        count = int((~np.isnan(dice[:, k])).sum())
        rows.append(
            [name, count, of_dice.text(), pooled[k], of_nsd.text(), of_hd95.text()]
            + [missed]
        )
    empty = int(np.isnan(dice).all(axis=1).sum())
    mean = values["Dice"]
    of = f"mean of {counted.shape[1]} structures over {len(cases)} cases"
    return {
        "headline": f"Test Dice {mean.text()}, {of}.",
        "tables": [
            _table(rows, cases, empty, tolerance_mm),
            _case_table(cases, names, dice, hd95_mm),
        ],
        "roc": [],
        "values": {name: value._asdict() for name, value in values.items()},
    }


def _table(rows, cases, empty, tolerance_mm) -> dict[str, Any]:
    said = f" {empty} of them have no structure, found or true." if empty else ""
    unmeasured = sum(not case.in_mm for case in cases)
    if unmeasured:
        said += f" {unmeasured} have no spacing in their files: mm are their pixels."
    return {
        "title": "Test",
        "note": f"{len(cases)} whole cases in the geometry of their files, at the highest "
        f"validation Dice.{said} Dice and NSD (at {tolerance_mm:g} mm) are 0 where truth "
        "or prediction lacks a structure that the other has; such a case is missed, and "
        "not in the mean of HD95. Where both lack it, it does not count. 95 % intervals "
        "by bootstrap over patients. Pooled Dice is over the voxels of all cases.",
        "columns": ["structure", "cases", "Dice (95 % interval)", "pooled Dice"]
        + ["NSD (95 % interval)", "HD95 mm (95 % interval)", "missed"],
        "rows": rows,
    }


def _case_table(cases, names, dice, hd95_mm) -> dict[str, Any]:
    scores = np.array([case.mean_dice for case in cases])  # nan comes last
    order = np.argsort(scores, kind="stable")
    rows = [
        [cases[i].name]
        + [_cell(x) for k in range(len(names)) for x in (dice[i, k], hd95_mm[i, k])]
        for i in order[:_MOST_ROWS]
    ]
    more = "" if len(cases) <= _MOST_ROWS else f" The first {_MOST_ROWS}."
    return {
        "title": "Cases",
        "note": f"The worst first; all are in cases.csv, and what was found in masks/."
        f"{more}",
        "columns": ["case"]
        + [f"{kind} {name}" for name in names for kind in ("Dice", "HD95 mm")],
        "rows": rows,
    }


def _mean(values: np.ndarray) -> float:
    counted = values[~np.isnan(values)]
    return float(counted.mean()) if len(counted) else float("nan")


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isinf(values), np.nan, values)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.3g}"
