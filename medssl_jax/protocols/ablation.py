"""What each part of a training is worth: variants of it, trained alike, side by side."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.evals.bootstrap import resampled
from medssl_jax.protocols import outcome
from medssl_jax.protocols.cases import Cases, aligned, mean_of
from medssl_jax.protocols.compare import difference, shown
from medssl_jax.protocols.experiment import Pace, complete, prepare, vary
from medssl_jax.protocols.tested import read_cases
from medssl_jax.ranges import Count

Runs = Mapping[str, Sequence[Cases]]  # by variant, one for each seed


def run(config: ConfigDict, workdir: Path) -> None:
    """Train each of `config.variants`, in `config.order`, with each of several seeds.

    The first is what the others are measured against. Test examples are the same for
    all, and so are the seeds, `config.repeats` of them. Runs that are finished are not
    made again.

    Raises:
      UserError: if config, data or disk do not allow it, variants were tested on other
        examples, or one diverges.
    """
    began = time.time()
    variants = _variants(config, workdir)
    folders = {
        (name, seed): workdir / "runs" / name / str(seed)
        for seed in range(config.repeats)  # seeds first: after a stop, all variants
        for name in variants
    }
    pace = Pace(list(folders.values()))
    for (name, seed), folder in folders.items():
        one = variants[name]
        one = vary(one, {"seed": one.seed + seed})
        found = complete(one, folder, within=workdir, field=f"variants.{name}")
        pace.tell()
        if "diverged" in found:
            raise UserError(f"{folder} diverged: {found['diverged']}")
    if jax.process_index() != 0:
        return
    runs = tested(folders)
    results = summarise(runs, seed=next(iter(variants.values())).seed)
    facts = outcome.facts_of(list(folders.values()))
    outcome.finish(config, workdir, results, facts, began)


def tested(folders: Mapping[tuple[str, int], Path]) -> Runs:
    """Return the test cases of finished runs, in one order, by variant.

    Args:
      folders: by variant and seed.

    Raises:
      DataError: if runs were tested on other examples.
    """
    cases = aligned({str(at): read_cases(at) for at in folders.values()})
    runs: dict[str, list[Cases]] = {}
    for (name, _), folder in folders.items():
        runs.setdefault(name, []).append(cases[str(folder)])
    return runs


def summarise(runs: Runs, *, seed: int) -> dict[str, Any]:
    """Return what results.json holds of runs that are aligned."""
    names = list(runs)
    baseline = next(iter(runs.values()))
    first = baseline[0]
    whole = np.arange(len(first.names))
    rows, values = [], {}
    for metric in first.measures:
        measures = {
            name: mean_of([one.measures[metric] for one in each])
            for name, each in runs.items()
        }
        for i, (name, measure) in enumerate(measures.items()):
            mean = resampled(measure, len(whole), groups=first.patients, seed=seed)
            each = [one.measures[metric](whole) for one in runs[name]]
            row = [metric, name, outcome.mean_and_deviation(each), mean.text()]
            before = (names[0], names[i - 1]) if i else ()
            gains = {  # the second has one: the first is the one before
                other: difference(measure, measures[other], first, seed=seed)
                for other in dict.fromkeys(before)
            }
            for other, gain in gains.items():
                values[f"{metric}: {name} - {other}"] = gain._asdict()
            row += [shown(gains[other]) for other in before] or ["", ""]
            rows.append(row)
            values[f"{metric}, {name}"] = mean._asdict()
    told = [
        f"{row[1]} {row[2]}" + (f", {row[4]}" if row[4] else "")
        for row in rows
        if row[0] == first.main
    ]
    table = {
        "title": "Variants",
        "note": f"{len(whole)} test examples, {len(baseline)} seed(s); ± is the deviation "
        "over seeds; 95 % intervals are by bootstrap over patients, of differences "
        "paired, on the same examples; * leaves out 0. They take the seeds as they are: "
        "where the deviation is large, others may say otherwise.",
        "columns": [
            *("metric", "variant", "mean ± deviation", "mean (95 % interval)"),
            *(f"it - {names[0]}", "it - the one before"),
        ],
        "rows": rows,
    }
    return {
        "headline": f"Test {first.main}, and what {names[0]} lacks of it: "
        f"{'; '.join(told)}.",
        "tables": [table],
        "roc": [],
        "values": values,
    }


def _variants(config: ConfigDict, workdir: Path) -> dict[str, ConfigDict]:
    resolve.fields(config, {"order": Sequence[str], "repeats": Count})
    unknown = [name for name in config.order if name not in config.variants]
    if unknown or len(set(config.order)) < max(len(config.order), 2):
        raise ConfigError(
            f"config.order is {', '.join(config.order) or 'empty'}: it names two or more "
            f"of config.variants ({', '.join(config.variants) or 'none'}), each once, the "
            "one first that the others are measured against"
        )
    found = {}
    for name in config.order:
        if "/" in name:
            raise ConfigError(f"config.variants.{name}: another name, without '/'")
        alone = ConfigDict({"repeats": config.repeats})
        alone.experiment = config.variants[name]
        found[name] = prepare(alone, workdir)
    return found
