"""How many labels an initialisation needs: the same subsets for each of several."""

import itertools
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.errors import UserError
from medssl_jax.protocols import (
    choice,
    convergence,
    initialisations,
    outcome,
    rates,
)
from medssl_jax.protocols.cases import Cases, aligned
from medssl_jax.protocols.experiment import Pace, complete, has_results, prepare, vary
from medssl_jax.protocols.initialisations import Initialisation
from medssl_jax.protocols.label_curves import Place, summarise
from medssl_jax.protocols.tested import read_cases
from medssl_jax.ranges import Parts, Positive
from medssl_jax.saved import encoder

_FIELDS = {
    "fractions": Parts,
    "rates": Sequence[Positive],
}


class _Plan(NamedTuple):
    """All runs of a protocol.

    tried: where rates are chosen; measured: where the test is made.
    """

    experiment: ConfigDict
    starts: Mapping[str, Initialisation]
    tried: Mapping[rates.Line, Mapping[float, Path]]
    measured: Mapping[Place, Path]

    @property
    def folders(self) -> list[Path]:
        """All of them, in the order in which they are made."""
        tried = [folder for each in self.tried.values() for folder in each.values()]
        return [*tried, *self.measured.values()]


def run(config: ConfigDict, workdir: Path) -> None:
    """Fine-tune on each fraction of the labels, from each initialisation, by seed.

    Of one seed the subsets are nested, and the same for each initialisation; so are
    validation and test examples, of all seeds (`data.split_seed`). Every run has the
    experiment's number of updates, whatever the fraction: fewer labels are not also
    shorter training, and the checkpoint of the lowest validation loss is tested.
    Of several `config.rates` each initialisation has, at each fraction, the one that
    its own validation chooses; a single one is that of all.
    Runs that are finished are not made again. Encoders are looked at before the first.

    Raises:
      UserError: if config, data or disk do not allow it, or a run diverges.
    """
    began = time.time()
    measured = measure(config, workdir)
    if jax.process_index() == 0:
        results, folders = measured
        outcome.finish(config, workdir, results, outcome.facts_of(folders), began)


def measure(config: ConfigDict, workdir: Path) -> tuple[dict[str, Any], list[Path]]:
    """Make all runs; return what results.json holds, {} on other processes, and where
    they are.

    Raises:
      UserError: as `run` does.
    """
    plan = _plan(config, workdir)
    _check_starts(plan)
    pace = Pace(plan.folders)
    choices = _choose_rates(plan, workdir, pace)
    for place, folder in plan.measured.items():
        changes = _changes(plan, place)
        if choices:
            changes[choice.PEAK] = choices[place[:2]].rate
        one = vary(plan.experiment, changes)
        found = complete(one, folder, within=workdir)
        pace.tell()
        if "diverged" in found:
            text = f"{folder} diverged: {found['diverged']}"
            raise UserError(f"{text} (give config.rates lower ones to choose from)")
    here = jax.process_index() == 0
    return (_results(plan, choices, workdir) if here else {}), plan.folders


def _plan(config: ConfigDict, workdir: Path) -> _Plan:
    experiment = prepare(config, workdir)
    resolve.fields(config, _FIELDS)
    if len(config.rates) == 1:
        experiment = vary(experiment, {choice.PEAK: float(config.rates[0])})
    starts = initialisations.read(config)
    lines = list(itertools.product(sorted(set(config.fractions)), starts))
    seeds = [experiment.seed + i for i in range(config.repeats)]
    measured = {
        # seeds first: what is there after a stop is a whole curve
        Place(fraction, name, seed): workdir / "runs" / name / f"{fraction:g}/{seed}"
        for seed, (fraction, name) in itertools.product(seeds, lines)
    }
    tried = rates.folders(workdir / "rates", lines, config.rates)
    return _Plan(experiment, starts, tried, measured)


def _check_starts(plan: _Plan) -> None:
    """Look at the encoders that runs are still to be made from."""
    by_start = [(p.initialisation, at) for p, at in plan.measured.items()]
    for (_, name), folders in plan.tried.items():
        by_start += [(name, at) for at in folders.values()]
    for name in sorted({name for name, at in by_start if not has_results(at)}):
        start, model = plan.starts[name], plan.experiment.model.to_dict()
        encoder.check_start(start.path, start.own.get("model", model))


def _choose_rates(
    plan: _Plan, workdir: Path, pace: Pace
) -> dict[rates.Line, rates.Choice]:
    apart = plan.experiment.seed + rates.APART
    experiments = {
        line: vary(plan.experiment, _changes(plan, Place(*line, apart)))
        for line in plan.tried
    }
    choices = rates.choose(experiments, plan.tried, within=workdir, pace=pace)
    if (edge := rates.at_edge(choices)) and jax.process_index() == 0:
        print(f"warning: {edge}", file=sys.stderr, flush=True)
    return choices


def _changes(plan: _Plan, place: Place) -> dict[str, Any]:
    """Return what a run has of its own in the experiment's config."""
    init_from, own, _ = plan.starts[place.initialisation]
    changes = {
        **own,  # first: parts as wholes
        "seed": place.seed,
        "init_from": init_from,
        "data.label_fraction": float(place.fraction),
        "data.split_seed": plan.experiment.data.split_seed,
    }
    if not init_from:
        # Random weights have nothing that a new head could spoil: held back, they would
        # only learn less than the others.
        free = {("method", "frozen_epochs"): 0.0, ("optimizer", "backbone_rate"): 1.0}
        for (part, field), value in free.items():
            if part in changes:
                if field in changes[part]:
                    changes[part] = {**changes[part], field: value}
            elif field in plan.experiment[part]:
                changes[f"{part}.{field}"] = value
    return changes


def _results(
    plan: _Plan, choices: Mapping[rates.Line, rates.Choice], workdir: Path
) -> dict[str, Any]:
    """Return what results.json holds; write the tables of all runs."""
    seed = plan.experiment.seed
    runs = _read(plan.measured)
    used = {place: outcome.labels_used(f) for place, f in plan.measured.items()}
    against = {name: start.against for name, start in plan.starts.items()}
    results = summarise(runs, used, seed=seed, against=against)
    metric = next(iter(runs.values())).main
    results["floor_told"] = _floor(plan.measured, metric)
    results["tables"][0]["note"] += f"{_held_back(plan)}{results['floor_told']}"
    if choices:
        results["headline"] += f" {rates.told(choices)}"
        results["tables"].append(rates.table(choices, seed=seed + rates.APART))
        results["rates"] = rates.values(choices)
        rates.write_csv(workdir / "rates.csv", choices)
    by_seed: dict[rates.Line, list[Path]] = {}
    for place, folder in plan.measured.items():
        by_seed.setdefault(place[:2], []).append(folder)
    if found := convergence.table(by_seed, metric):
        results["tables"].append(found)
    results["convergence"] = convergence.curves(by_seed, metric)
    rows = _rows(runs, used)
    by_row = [list(row.values()) for row in rows]
    files.write_csv(workdir / "label_efficiency.csv", list(rows[0]), by_row)
    return results


def _held_back(plan: _Plan) -> str:
    """Say which encoders were frozen at first or learnt more slowly, where any did."""
    pretrained = [bool(start.path) for start in plan.starts.values()]
    if not any(pretrained):
        return ""
    said = []
    if epochs := plan.experiment.method.get("frozen_epochs", 0.0):
        said.append(f"are frozen for the first {epochs:g} epochs")
    rate = plan.experiment.optimizer.get("backbone_rate", 1.0)
    if rate != 1:
        said.append(f"learn at {rate:g} of the rate")
    if not said:
        return ""
    random = "" if all(pretrained) else ", random ones never"
    return f" Pretrained encoders {' and '.join(said)}{random}."


def _floor(measured: Mapping[Place, Path], metric: str) -> str:
    """Say what plain pixels reach with each share of the labels, or nothing."""
    by_fraction: dict[float, list[float | None]] = {}
    for place, folder in measured.items():
        found = files.read_json(folder / "results.json").get("floor")
        by_fraction.setdefault(place.fraction, []).append(found)
    known = {f: each for f, each in by_fraction.items() if None not in each}
    if metric != "AUC" or not known:
        return ""
    told = [f"{np.mean(each):.3f} with {100 * f:g} %" for f, each in known.items()]
    return f" Principal components of pixels reach an AUC of {', '.join(told)}."


def _read(folders: Mapping[Place, Path]) -> dict[Place, Cases]:
    by_folder = {str(folder): read_cases(folder) for folder in folders.values()}
    together = aligned(by_folder)
    return {place: together[str(folder)] for place, folder in folders.items()}


def _rows(runs, used) -> list[dict[str, Any]]:
    rows = []
    for place, each in runs.items():
        whole = np.arange(len(each.names))
        scores = {name: one(whole) for name, one in each.measures.items()}
        known = {
            "training_examples": used[place].examples,
            "training_patients": used[place].patients,
            "validation_examples": used[place].validation,
        }
        rows.append({**place._asdict(), **known, **scores})
    return rows
