"""Which pretraining helps on some data: each made within one budget, then few labels."""

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.protocols import budget, label_efficiency, outcome, worth
from medssl_jax.protocols.experiment import (
    Pace,
    complete,
    inside,
    keep_compiled,
    placed,
    prepare,
    vary,
)
from medssl_jax.run import overlap, provenance
from medssl_jax.run.task import Task, build
from medssl_jax.saved import seen

RANDOM = "random"


def run(config: ConfigDict, workdir: Path) -> None:
    """Pretrain each of `config.pretraining`, and measure them by `label_efficiency`.

    Random weights are fine-tuned beside them, last, by the same rules; where `own` gives
    some pretraining another network, random weights of each network. All configs are
    built before the first is trained. What is tested must not be pretrained on. A
    pretraining whose budget is less than an epoch is not run, and one that diverges no
    start: both are told.

    Raises:
      UserError: if config, data or disk do not allow it, test examples are among a
        pretraining's, no pretraining is left, or a fine-tuning diverges.
    """
    began = time.time()
    budget.check(config)
    pretraining = _pretrainings(config)
    keep_compiled(workdir)
    planned = _planned(config, pretraining, workdir)
    folders = {name: at.folder for name, at in planned.items() if not at.missing}
    pace, found = Pace(list(folders.values())), {}
    for name, folder in folders.items():
        field = f"pretraining.{name}"
        found[name] = complete(
            planned[name].config, folder, within=workdir, field=field
        )
        pace.tell()
    sound = [name for name in found if "diverged" not in found[name]]
    if not sound:
        raise UserError(
            f"every pretraining diverged; lower schedule.peak, and look at {workdir}"
        )
    starts = {name: folders[name] for name in sound}
    judged = _judged(config, starts)
    results, finetuned = label_efficiency.measure(judged, workdir)
    if jax.process_index() != 0:
        return
    missing = {name: at.missing for name, at in planned.items() if at.missing}
    results["answer"] = worth.table(
        results, dict(judged.against), folders, found, missing
    )
    results["tables"].append(worth.told(folders, found))
    results["headline"] += f" {_apart(planned)}"
    facts = outcome.facts_of([*starts.values(), *finetuned])
    outcome.finish(config, workdir, results, facts, began)


class _Planned(NamedTuple):
    """A pretraining before it is made.

    missing: why it is not run, "" where it is.
    apart: what is tested, against what it will see; None where that is elsewhere.
    """

    config: ConfigDict
    folder: Path
    missing: str
    apart: seen.Overlap | None


def _planned(
    config: ConfigDict, pretraining: Mapping[str, ConfigDict], workdir: Path
) -> dict[str, _Planned]:
    """Build all that is to be run, and find its length.

    Raises:
      UserError: as `run` does, before anything is trained.
    """
    experiment = prepare(config, workdir)
    built = vary(experiment, {"init_from": ""})
    test = _built(built, workdir / "runs", workdir, "experiment").sources.get("test")
    for name in sorted(set(config.own) & set(pretraining)):
        parts = provenance.plain(config.own[name])
        _built(vary(built, parts), workdir / "runs", workdir, f"own.{name}")
    planned, given = {}, provenance.plain(config.budget)
    for name, one in pretraining.items():
        folder = workdir / "pretraining" / name
        task = _built(one, folder, workdir, f"pretraining.{name}")
        apart = _check_apart(name, overlap.seen_by(task.sources, one.init_from), test)
        with inside(f"pretraining.{name}"):
            granted = budget.grant(one, given, task.durations, folder, within=workdir)
        if granted.missing and jax.process_index() == 0:
            print(f"not run: {name}, {granted.missing}", flush=True)
        planned[name] = _Planned(granted.config, folder, granted.missing, apart)
    if all(one.missing for one in planned.values()):
        said = "; ".join(f"{name}: {one.missing}" for name, one in planned.items())
        raise ConfigError(f"config.budget is too little for any pretraining: {said}")
    return planned


def _built(config: ConfigDict, folder: Path, within: Path, field: str) -> Task:
    folder.mkdir(parents=True, exist_ok=True)
    with inside(field):
        task = build(placed(config, folder, within=within), folder)
        jax.eval_shape(task.init)  # a size that fits no network, hours before its turn
    return task


def _check_apart(
    name: str, learnt: seen.Seen | None, test: Source | None
) -> seen.Overlap | None:
    if test is None or learnt is None or len(test) > seen.MOST:
        return None
    both = seen.overlap(learnt, test)
    if both:
        raise ConfigError(
            f"{both.told()} in what config.pretraining.{name} would be trained on, and "
            "must not be: its splits.test, seed (data.split_seed of fine-tuning) and "
            "table have to be those of config.experiment"
        )
    return both


def _pretrainings(config: ConfigDict) -> Mapping[str, ConfigDict]:
    resolve.fields(config, {"tasks": Sequence[str]})
    if unknown := sorted(set(config.tasks) - set(config.pretraining)):
        known = ", ".join(config.pretraining)
        raise ConfigError(
            f"config.tasks names {unknown[0]!r}, which is not in config.pretraining: {known}"
        )
    pretraining = {name: config.pretraining[name] for name in config.tasks}
    if not pretraining:
        raise ConfigError("config.tasks is empty; name a pretraining or more")
    for name, one in pretraining.items():
        if one.get("command") != "train":
            raise ConfigError(f"config.pretraining.{name} is no training")
        if name.startswith(RANDOM) or "/" in name or "=" in name:
            raise ConfigError(
                f"config.pretraining.{name}: another name, without '/' or '='; "
                f"{RANDOM} is that of random weights"
            )
    if unknown := sorted(set(config.own) - set(config.pretraining)):
        known = ", ".join(config.pretraining)
        raise ConfigError(f"config.own.{unknown[0]}: no such pretraining ({known})")
    return pretraining


def _judged(config: ConfigDict, starts: Mapping[str, Path]) -> ConfigDict:
    """Return label efficiency's config: each start, and random weights of its network."""
    stated = provenance.plain(config)
    own = {name: stated["own"].get(name, {}) for name in starts}
    networks: dict[str, list[str]] = {}
    for name, parts in own.items():
        networks.setdefault(json.dumps(parts, sort_keys=True), []).append(name)
    against = {}
    for names in networks.values():
        model = own[names[0]].get("model", stated["experiment"]["model"])["name"]
        random = RANDOM if len(networks) == 1 else f"{RANDOM} {model}"
        if random in own:  # two networks of one kind
            random += f" as {names[0]}"
        own[random] = own[names[0]]
        against |= dict.fromkeys([*names, random], random)
    entries = [f"{name}={starts.get(name, '')}" for name in own]
    own = {name: parts for name, parts in own.items() if parts}
    return ConfigDict(
        stated | {"initialisations": tuple(entries), "own": own, "against": against}
    )


def _apart(planned: Mapping[str, _Planned]) -> str:
    """Say that no test example was pretrained on, and how that is known."""
    checked = [one.apart for one in planned.values()]
    if all(one is not None for one in checked):
        said = checked[0].told()
        return f"{said[0].upper()}{said[1:]} in any pretraining."
    return (
        "Whether a test example was pretrained on cannot be told by names: the data are "
        "of different folders, or files, or too many."
    )
