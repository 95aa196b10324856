"""Paired differences between finished runs, on the same test examples."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.protocols import outcome
from medssl_jax.protocols.cases import Cases, Measure, aligned, difference_of
from medssl_jax.protocols.tested import named_runs, read_cases
from medssl_jax.ranges import Seed


def run(config: ConfigDict, workdir: Path) -> None:
    """Compare each two of `config.runs`; write results.json and report.html.

    Raises:
      ConfigError: if there are fewer than two.
      DataError: if one was not tested, or on other examples than the first.
    """
    began = time.time()
    resolve.fields(config, {"seed": Seed, "runs": Sequence[str]})
    folders = named_runs(config.runs)
    if jax.process_index() != 0:
        return
    runs = aligned({name: read_cases(folder) for name, folder in folders.items()})
    results = compare(runs, seed=config.seed)
    facts = {"data": {"test": outcome.counted(next(iter(runs.values())))}}
    outcome.finish(config, workdir, results, facts, began)


def compare(runs: Mapping[str, Cases], *, seed: int) -> dict[str, Any]:
    """Return what results.json holds of runs that are aligned."""
    first = next(iter(runs.values()))
    whole = np.arange(len(first.names))
    values, rows = {}, []
    for metric in first.measures:
        for one, other in itertools.combinations(runs, 2):
            pair = runs[one].measures[metric], runs[other].measures[metric]
            gain = difference(*pair, first, seed=seed)
            rows.append(
                [metric, one, other, *(value(whole) for value in pair), shown(gain)]
            )
            values[f"{metric}: {one} - {other}"] = gain._asdict()
    alike = outcome.called_alike(runs)
    table = {
        "title": "Paired differences",
        "note": f"{len(whole)} test examples; 95 % intervals by bootstrap over "
        f"patients, both runs on the same ones; * leaves out 0.{alike}",
        "columns": ["metric", "first", "second", "of first", "of second", "difference"],
        "rows": rows,
    }
    main = next(row for row in rows if row[0] == first.main)
    gain = main[-1].removesuffix(" *")
    return {
        "headline": f"{main[0]} of {main[1]} - {main[2]}: {gain}.",
        "tables": [table],
        "roc": _roc(runs),
        "values": values,
    }


def difference(first: Measure, second: Measure, on: Cases, *, seed: int) -> Interval:
    """Return first - second with its interval over the patients of `on`."""
    paired = difference_of(first, second)
    return resampled(paired, len(on.names), groups=on.patients, seed=seed)


def shown(gain: Interval) -> str:
    """Write a difference, saying so where its interval leaves out 0."""
    apart = " *" if gain.low > 0 or gain.high < 0 else ""
    return f"{gain.text(signed=True)}{apart}"


def _roc(runs: Mapping[str, Cases]) -> Sequence[Mapping[str, Any]]:
    return [
        {
            "name": name,
            "labels": each.labels.tolist(),
            "scores": each.scores.tolist(),
        }
        for name, each in runs.items()
        if each.scores is not None
    ]
