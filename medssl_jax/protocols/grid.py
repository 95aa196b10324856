"""Learning rate and weight decay chosen on validation, then the chosen one repeated."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError, UserError
from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.protocols import choice, outcome
from medssl_jax.protocols.cases import Cases, aligned, mean_of
from medssl_jax.protocols.experiment import Pace, complete, prepare, vary
from medssl_jax.protocols.tested import read_cases

FIELDS = {"peak": choice.PEAK, "weight_decay": "optimizer.weight_decay"}

Cell = Mapping[str, float]


def run(config: ConfigDict, workdir: Path) -> None:
    """Train each cell of `config.grid` once, and the best one `config.repeats` times.

    The best has the lowest validation loss. Cells are evaluated on validation examples
    alone; the test examples are seen by the repeats, whose seeds are the experiment's
    and those after it. All have one split, the experiment's. Runs that are finished
    are not made again.

    Raises:
      UserError: if config, data or disk do not allow it, or every cell diverges.
    """
    began = time.time()
    experiment = prepare(config, workdir)
    cells = _cells(config.grid.to_dict())
    tried = {_name(cell): workdir / "cells" / _name(cell) for cell in cells}
    seeds = range(experiment.seed, experiment.seed + config.repeats)
    repeats = {str(seed): workdir / "repeats" / str(seed) for seed in seeds}
    pace = Pace([*tried.values(), *repeats.values()])
    outcomes = []
    for cell, folder in zip(cells, tried.values(), strict=True):
        changes = _changes(cell)
        outcomes.append(choice.attempt(experiment, changes, folder, within=workdir))
        pace.tell()
    best = choice.lowest(outcomes, at="the grid", field="config.grid.peak")
    chosen = vary(experiment, _changes(cells[best]))
    for seed, folder in repeats.items():
        found = complete(vary(chosen, {"seed": int(seed)}), folder, within=workdir)
        pace.tell()
        if "diverged" in found:
            raise UserError(f"{folder} diverged: {found['diverged']}")
    if jax.process_index() != 0:
        return
    runs = aligned({seed: read_cases(folder) for seed, folder in repeats.items()})
    results = summarise(cells, outcomes, best, runs, seed=experiment.seed)
    choice.write_csv(workdir / "grid.csv", cells, outcomes)
    facts = outcome.facts_of([*tried.values(), *repeats.values()])
    outcome.finish(config, workdir, results, facts, began)


def summarise(
    cells: Sequence[Cell],
    outcomes: Sequence[Mapping[str, float]],
    best: int,
    runs: Mapping[str, Cases],
    *,
    seed: int,
) -> dict[str, Any]:
    """Return what results.json holds; `runs` are the repeats, by their seed."""
    values, table = _repeats(runs, seed)
    main = next(iter(runs.values())).main
    mean = Interval(*(values[main][field] for field in Interval._fields))
    chosen = ", ".join(f"{name} {value:g}" for name, value in cells[best].items())
    return {
        "headline": f"Chosen on validation: {chosen}. Test {main} {mean.text()}, the "
        f"mean of {len(runs)} repeats.",
        "tables": [table, _grid_table(cells, outcomes, best)],
        "roc": [],
        "values": values,
        "chosen": dict(cells[best]),
        "grid": _heat_map(cells, outcomes),
    }


def _repeats(
    runs: Mapping[str, Cases], seed: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return each metric's mean over the repeats with its interval, and their table."""
    first = next(iter(runs.values()))
    whole = np.arange(len(first.names))
    values, rows = {}, []
    for metric in first.measures:
        several = [each.measures[metric] for each in runs.values()]
        scores = [one(whole) for one in several]
        mean = resampled(mean_of(several), len(whole), groups=first.patients, seed=seed)
        values[metric] = {**mean._asdict(), "repeats": scores}
        deviation = outcome.mean_and_deviation(scores)
        rows.append([metric, *scores, deviation, mean.text()])
    means = "mean ± deviation", "mean (95 % interval)"
    alike = outcome.called_alike({f"seed {name}": run for name, run in runs.items()})
    table = {
        "title": "Test, the chosen setting trained anew",
        "note": f"{len(whole)} examples, one column for each seed; ± is the deviation "
        f"over seeds; the 95 % interval of the mean is by bootstrap over patients.{alike}",
        "columns": ["metric", *(f"seed {name}" for name in runs), *means],
        "rows": rows,
    }
    return values, table


def _cells(grid: Mapping[str, Sequence[float]]) -> list[Cell]:
    searched = {name: values for name, values in grid.items() if len(values)}
    if not searched:
        raise ConfigError("config.grid has no values; give it some peaks at least")
    for name, values in searched.items():
        if len(set(values)) < len(values):
            raise ConfigError(f"config.grid.{name} has a value twice: {values}")
    # in the order of FIELDS: a ConfigDict sorts its keys
    names = [name for name in FIELDS if name in searched]
    drawn = itertools.product(*(searched[name] for name in names))
    return [dict(zip(names, values, strict=True)) for values in drawn]


def _changes(cell: Cell) -> dict[str, float]:
    return {FIELDS[name]: float(value) for name, value in cell.items()}


def _name(cell: Cell) -> str:
    return "-".join(f"{name}_{value:.4g}" for name, value in cell.items())


def _grid_table(cells, outcomes, best) -> dict[str, Any]:
    metrics = list(outcomes[best])
    plain = [name.replace("validation_", "validation ") for name in metrics]
    rows = [
        [
            *(f"{value:.4g}" for value in cell.values()),
            *(outcome.get(name) for name in metrics),
            "diverged" if not outcome else "chosen" if i == best else "",
        ]
        for i, (cell, outcome) in enumerate(zip(cells, outcomes, strict=True))
    ]
    return {
        "title": "Grid, one run each",
        "note": "At each run's lowest validation loss. No test example was looked at.",
        "columns": [*cells[0], *plain, ""],
        "rows": rows,
    }


def _heat_map(cells, outcomes) -> dict[str, Any]:
    """Return the losses laid out by axis; None where a cell diverged."""
    axes = {name: sorted({cell[name] for cell in cells}) for name in cells[0]}
    loss = {
        tuple(cell.values()): outcome.get(choice.LOSS)
        for cell, outcome in zip(cells, outcomes, strict=True)
    }
    return {
        "axes": axes,
        "loss": [loss[at] for at in itertools.product(*axes.values())],
    }
