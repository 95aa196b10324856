"""An ensemble: runs of one fine-tuning, what they predict averaged."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError, DataError, UserError
from medssl_jax.evals.bootstrap import resampled
from medssl_jax.protocols import outcome
from medssl_jax.protocols.cases import Cases, aligned, difference_of, mean_of
from medssl_jax.protocols.compare import shown
from medssl_jax.protocols.experiment import Pace, complete, prepare, vary
from medssl_jax.protocols.tested import named_runs, read_cases
from medssl_jax.run import provenance
from medssl_jax.run.task import build
from medssl_jax.saved.predictor import load_predictor, together

_OURS = "ensemble"
# evaluators of what is predicted alone
_OF_PREDICTIONS = ("classify", "heads", "segment", "detect")


def run(config: ConfigDict, workdir: Path) -> None:
    """Train `config.repeats` members, or take `config.runs`; test their mean.

    Writes what a run leaves that others take: `predictor/`, the table of its test,
    results.json and report.html. Members that are finished are not made again.

    Raises:
      ConfigError: if there is one member, or members differ in more than their weights.
      DataError: if they were tested on other examples.
      UserError: if config, data or disk do not allow it, or a member diverges.
    """
    began = time.time()
    if config.runs:
        members = named_runs(config.runs)
        experiment = _experiment(members)
    else:
        experiment = prepare(config, workdir)
        members = _trained(experiment, config, workdir)
    if jax.process_index() != 0:
        return
    cases = aligned({name: read_cases(folder) for name, folder in members.items()})
    ensemble = together({name: load_predictor(at) for name, at in members.items()})
    ensemble.save(workdir / "predictor")
    stated = provenance.plain(experiment.evaluation)
    judged = [one for one in stated if one["name"] in _OF_PREDICTIONS]
    tested = vary(experiment, {"evaluation": tuple(judged), "init_from": ""})
    task = build(tested, workdir, members=len(members))
    results = task.evaluator.final(ensemble.params, ensemble.aux)
    mean = read_cases(workdir)
    cases = aligned({_OURS: mean, **cases})
    table = _table(cases, seed=experiment.seed)
    results = dict(results, tables=[table, *results["tables"]])
    facts = outcome.facts_of(list(members.values()))
    outcome.finish(config, workdir, results, facts, began)


def _trained(
    experiment: ConfigDict, config: ConfigDict, workdir: Path
) -> dict[str, Path]:
    if config.repeats < 2:
        raise ConfigError("config.repeats is 1: an ensemble takes two members or more")
    seeds = range(experiment.seed, experiment.seed + config.repeats)
    members = {f"seed {seed}": workdir / "members" / str(seed) for seed in seeds}
    pace = Pace(list(members.values()))
    for seed, folder in zip(seeds, members.values(), strict=True):
        found = complete(vary(experiment, {"seed": seed}), folder, within=workdir)
        pace.tell()
        if "diverged" in found:
            raise UserError(f"{folder} diverged: {found['diverged']}")
    return members


def _experiment(members: Mapping[str, Path]) -> ConfigDict:
    """Return the config of the first, whose data the mean is tested on.

    Raises:
      ConfigError: if a member sees other maps as a channel: a mean would be of its
        weights on the first one's.
      DataError: if one holds no run.
    """
    configs = {}
    for name, folder in members.items():
        path = folder / "config.json"
        if not path.exists():
            raise DataError(folder, "holds no run (no config.json)")
        configs[name] = provenance.with_tuples(provenance.read_config(path))
    first = next(iter(configs.values()))
    seen = first.data.get("attention", "")
    for name, config in configs.items():
        if config.data.get("attention", "") != seen:
            raise ConfigError(
                f"{name} has another data.attention than {next(iter(configs))}: members "
                "are second stages of one run of configs/metastases.py, with "
                "config.repeats"
            )
    return first


def _table(cases: Mapping[str, Cases], *, seed: int) -> dict[str, Any]:
    """Set each member, and the mean of what they reach, beside the ensemble."""
    ours, *members = cases.values()
    whole = np.arange(len(ours.names))
    drawn = {"groups": ours.patients, "seed": seed}
    rows = []
    for metric, measure in ours.measures.items():
        several = [each.measures[metric] for each in members]
        value = resampled(measure, len(whole), **drawn)
        rows.append([metric, _OURS, value.text(), ""])
        compared = dict(zip([*cases][1:], several, strict=True))
        compared["a member, in the mean"] = mean_of(several)
        for name, one in compared.items():
            gain = resampled(difference_of(measure, one), len(whole), **drawn)
            alone = resampled(one, len(whole), **drawn)
            rows.append([metric, name, alone.text(), shown(gain)])
    return {
        "title": "Ensemble and members",
        "note": f"{len(members)} members, {len(whole)} test examples; 95 % intervals by "
        "bootstrap over patients; the difference is paired, * leaves out 0.",
        "columns": ["metric", "of", "value (95 % interval)", f"{_OURS} - it"],
        "rows": rows,
    }
