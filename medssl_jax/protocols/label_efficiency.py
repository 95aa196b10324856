"""How many labels an initialisation needs: the same subsets for each of several."""

import itertools
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.protocols import convergence, outcome
from medssl_jax.protocols.cases import Cases, aligned
from medssl_jax.protocols.experiment import Pace, complete, has_results, prepare, vary
from medssl_jax.protocols.label_curves import Place, summarise
from medssl_jax.protocols.tested import read_cases
from medssl_jax.ranges import Parts
from medssl_jax.saved import encoder


def run(config: ConfigDict, workdir: Path) -> None:
    """Fine-tune on each fraction of the labels, from each initialisation, by seed.

    Of one seed the subsets are nested, and the same for each initialisation; so are
    validation and test examples, of all seeds (`data.split_seed`). Every run has the
    experiment's number of updates, whatever the fraction: fewer labels are not also
    shorter training, and the checkpoint of the lowest validation loss is tested.
    Runs that are finished are not made again. Encoders are looked at before the first.

    Raises:
      UserError: if config, data or disk do not allow it, or a run diverges.
    """
    began = time.time()
    experiment = prepare(config, workdir)
    resolve.fields(config, {"fractions": Parts, "initialisations": Sequence[str]})
    starts = _starts(config.initialisations)
    fractions = sorted(set(config.fractions))
    seeds = [experiment.seed + i for i in range(config.repeats)]
    folders = {
        # seeds first: what is there after a stop is a whole curve
        Place(fraction, name, seed): workdir / "runs" / name / f"{fraction:g}/{seed}"
        for seed, fraction, name in itertools.product(seeds, fractions, starts)
    }
    to_make = {p.initialisation for p, at in folders.items() if not has_results(at)}
    for name in sorted(to_make):
        encoder.check_start(starts[name], experiment.model.to_dict())
    pace = Pace(list(folders.values()))
    for (fraction, name, seed), folder in folders.items():
        one = vary(
            experiment,
            {
                "seed": seed,
                "init_from": starts[name],
                "data.label_fraction": float(fraction),
            },
        )
        found = complete(one, folder, within=workdir)
        pace.tell()
        if "diverged" in found:
            text = f"{folder} diverged: {found['diverged']}"
            raise UserError(f"{text} (choose a rate with configs/grid.py)")
    if jax.process_index() != 0:
        return
    runs = _read(folders)
    used = {place: outcome.labels_used(f) for place, f in folders.items()}
    results = summarise(runs, used, seed=experiment.seed)
    by_seed: dict[tuple[float, str], list[Path]] = {}
    for place, folder in folders.items():
        by_seed.setdefault(place[:2], []).append(folder)
    metric = next(iter(runs.values())).main
    if found := convergence.table(by_seed, metric):
        results["tables"].append(found)
    rows = _rows(runs, used)
    by_row = [list(row.values()) for row in rows]
    files.write_csv(workdir / "label_efficiency.csv", list(rows[0]), by_row)
    facts = outcome.facts_of(list(folders.values()))
    outcome.finish(config, workdir, results, facts, began)


def _starts(initialisations: Sequence[str]) -> dict[str, str]:
    """Read "NAME=PATH" entries; an empty path is random weights."""
    starts: dict[str, str] = {}
    for entry in initialisations:
        name, equals, path = entry.partition("=")
        if not (name and equals) or "/" in name or name in starts:
            raise ConfigError(
                f"config.initialisations has {entry!r}: write NAME=PATH, each name "
                "once and without '/', or NAME= for random weights"
            )
        if path in starts.values():
            (other,) = (n for n, known in starts.items() if known == path)
            raise ConfigError(
                f"config.initialisations: {other} and {name} are both {path!r}; give "
                "a run, an encoder, or nothing after the = for random weights"
            )
        starts[name] = path
    if not starts:
        raise ConfigError("config.initialisations is empty; list NAME=PATH")
    return starts


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
