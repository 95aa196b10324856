"""Two stages: one segments volumes, the next classifies slices beside what was found."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from medssl_jax import files, resolve
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.protocols import outcome
from medssl_jax.protocols.ablation import Runs, summarise, tested
from medssl_jax.protocols.cases import Cases, mean_of
from medssl_jax.protocols.experiment import Pace, complete, prepare, vary
from medssl_jax.protocols.mapped import write_mapped
from medssl_jax.protocols.maps import maps_folder, write_maps
from medssl_jax.ranges import Count
from medssl_jax.run.provenance import plain
from medssl_jax.run.task import open_data

ATTENDED, ALONE = "attended", "alone"

# what the stages may differ in: one has volumes, the other slices of them
_OF_A_STAGE = {
    *("shape", "frames", "foreground", "balance", "sampler", "workers"),
    *("slices", "attention", "fold", "label_fraction", "spacing_mm"),
}


def run(config: ConfigDict, workdir: Path) -> None:
    """Train `config.first`, write what it finds, train `config.second` on slices and that.

    So that training slices lie beside no better masks than those of the test, the first
    is trained `config.folds` times, each time without a fold of the training patients,
    and finds something in these; the other roles have the mean of all. 1 is one training
    on all, as published. The second is trained with each of `config.repeats` seeds, and
    where `config.alone` is set, without what was found too. What is finished is not made
    again.

    Raises:
      UserError: if config, data or disk do not allow it, or a training diverges.
    """
    began = time.time()
    first, second = _stages(config, workdir)
    names = (ALONE, ATTENDED) if config.alone else (ATTENDED,)
    of_first = [workdir / "first" / str(fold) for fold in range(config.folds)]
    of_second = {
        (name, seed): workdir / "second" / name / str(seed)
        for seed in range(config.repeats)  # seeds first: after a stop, both
        for name in names
    }
    pace = Pace([*of_first, *of_second.values()])
    for fold, folder in enumerate(of_first):
        changes = {"data.fold.of": config.folds, "data.fold.left_out": fold}
        _train(vary(first, changes), folder, workdir, "first", pace)
    maps = maps_folder(of_first, workdir / "attention")
    if jax.process_index() == 0:
        write_maps(first, of_first, workdir, maps)
    if jax.process_count() > 1:  # which read what one has written
        multihost_utils.sync_global_devices("maps")
    for (name, seed), folder in of_second.items():
        changes = {"seed": second.seed + seed}
        changes |= {"data.attention": str(maps) if name == ATTENDED else ""}
        _train(vary(second, changes), folder, workdir, "second", pace)
    if jax.process_index() != 0:
        return
    runs = tested(of_second)
    opened = open_data(vary(second, {"data.attention": str(maps)}), workdir)
    shown = opened.sources["test"], *_mean_scores(runs[ATTENDED])
    write_mapped(workdir / "mapped.npz", *shown)
    results = _results(runs, of_first, second.seed)
    facts = outcome.facts_of(list(of_second.values()))
    outcome.finish(config, workdir, results, facts, began)


def _train(config, folder, workdir, field, pace) -> None:
    found = complete(config, folder, within=workdir, field=field)
    pace.tell()
    if "diverged" in found:
        raise UserError(f"{folder} diverged: {found['diverged']}")


def _stages(config: ConfigDict, workdir: Path) -> tuple[ConfigDict, ConfigDict]:
    """Return the experiments of both stages, on the same split of the same volumes."""
    resolve.fields(config, {"folds": Count, "repeats": Count, "alone": bool})
    stages = []
    for field in ("first", "second"):
        one = ConfigDict({"repeats": 1})
        one.experiment = config[field]
        stages.append(prepare(one, workdir))
    first, second = stages
    slices = second.data.slices
    if not slices.of_each or slices.axis or not slices.get("lesion_voxels"):
        raise ConfigError(
            "config.second.data.slices takes slices along axis 0, as the first stage's "
            "volumes have them, with labels of masks: set of_each and lesion_voxels to 1 "
            "or more, axis to 0"
        )
    _check_alike(first, second)
    return first, second


def _check_alike(first: ConfigDict, second: ConfigDict) -> None:
    """Refuse stages that split or prepare volumes otherwise.

    A patient whom one tests may else be one that the other has learnt from.

    Raises:
      ConfigError: naming the field.
    """
    both = [plain(one.data) for one in (first, second)]
    fields = (both[0].keys() | both[1].keys()) - _OF_A_STAGE
    pairs = {f"data.{name}": [one.get(name) for one in both] for name in sorted(fields)}
    pairs["splits"] = [plain(one.splits) for one in (first, second)]
    across, in_plane = (one["spacing_mm"] for one in both)
    pairs["data.spacing_mm"] = [across, in_plane and (None, *in_plane)]
    for field, (one, other) in pairs.items():
        if one != other:
            raise ConfigError(
                f"config.first.{field} is {one}, and the second's comes to {other}: both "
                "stages take the same volumes, split and prepared alike"
            )


def _results(runs: Runs, of_first: Sequence[Path], seed: int) -> dict[str, Any]:
    results = summarise(runs, seed=seed)
    results["tables"].append(_segmented(of_first))
    results["headline"] = _headline(runs)
    for name, each in runs.items():
        _, scores = _mean_scores(each)
        curve = {"name": name, "labels": each[0].labels.tolist()}
        results["roc"].append(curve | {"scores": scores.tolist()})
    return results


def _mean_scores(several: Sequence[Cases]) -> tuple[Sequence[str], np.ndarray]:
    """Return the names of cases, and the mean of several runs' scores."""
    return several[0].names, np.mean([one.scores for one in several], axis=0)


def _headline(runs: Runs) -> str:
    whole = np.arange(len(runs[ATTENDED][0].names))
    said = []
    for name, each in runs.items():
        of_all = {
            metric: mean_of([one.measures[metric] for one in each])(whole)
            for metric in each[0].measures
            if metric.partition("_at_")[0] in ("AUC", "AP", "accuracy")
        }
        told = ", ".join(f"{metric} {value:.3f}" for metric, value in of_all.items())
        said.insert(0, f"{told} ({name})")
    return f"Test slices: {'; '.join(said)}."


def _segmented(of_first: Sequence[Path]) -> dict[str, Any]:
    rows = []
    for folder in of_first:
        found = files.read_json(folder / "results.json")["values"]["Dice"]
        data = files.read_json(folder / "run.json")["data"]["train"]
        interval = f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"
        rows.append([folder.name, data["patients"], interval])
    only = len(of_first) == 1
    told = (
        "Training volumes have the maps of a model that was trained on them."
        if only
        else "Training volumes have the maps of the model that left their fold out, all "
        "others the mean of all."
    )
    return {
        "title": "What the first stage finds",
        "note": f"Whole test volumes. {told}",
        "columns": ["fold left out", "training patients", "Dice (95 % interval)"],
        "rows": [["none", *rows[0][1:]]] if only else rows,
    }
