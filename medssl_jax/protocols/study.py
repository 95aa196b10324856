"""What a choice in pretraining is worth: each variant pretrained, then few labels."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from medssl_jax import files
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.evals import collapse
from medssl_jax.protocols import label_efficiency, outcome
from medssl_jax.protocols.experiment import Pace, complete, keep_compiled
from medssl_jax.run import provenance

_BASELINE = "random"


def run(config: ConfigDict, workdir: Path) -> None:
    """Pretrain each of `config.pretraining`, and measure them by `label_efficiency`.

    Random weights are fine-tuned beside them, last, by the same rules. A pretraining
    that diverges is told in the table, and left out of what follows. Runs that are
    finished are not made again.

    Raises:
      UserError: if config, data or disk do not allow it, every pretraining diverges,
        or a fine-tuning does.
    """
    began = time.time()
    pretraining = _pretrainings(config)
    folders = {name: workdir / "pretraining" / name for name in pretraining}
    keep_compiled(workdir)
    pace, found = Pace(list(folders.values())), {}
    for name, folder in folders.items():
        found[name] = complete(
            pretraining[name], folder, within=workdir, field=f"pretraining.{name}"
        )
        pace.tell()
    sound = [name for name in found if "diverged" not in found[name]]
    if not sound:
        raise UserError(
            f"every pretraining diverged; lower schedule.peak, and look at {workdir}"
        )
    starts = (*(f"{name}={folders[name]}" for name in sound), f"{_BASELINE}=")
    judged = ConfigDict(provenance.plain(config) | {"initialisations": starts})
    results, finetuned = label_efficiency.measure(judged, workdir)
    if jax.process_index() != 0:
        return
    results["tables"].append(_table(folders, found))
    facts = outcome.facts_of([*(folders[name] for name in sound), *finetuned])
    outcome.finish(config, workdir, results, facts, began)


def _pretrainings(config: ConfigDict) -> Mapping[str, ConfigDict]:
    pretraining = {name: config.pretraining[name] for name in config.pretraining}
    if not pretraining:
        raise ConfigError("config.pretraining is empty; give it a training or more")
    for name, one in pretraining.items():
        if one.get("command") != "train":
            raise ConfigError(f"config.pretraining.{name} is no training")
        if name == _BASELINE or "/" in name or "=" in name:
            raise ConfigError(
                f"config.pretraining.{name}: another name, without '/' or '='; "
                f"{_BASELINE} is that of random weights"
            )
    return pretraining


def _table(
    folders: Mapping[str, Path], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    rows = []
    for name, folder in folders.items():
        if "diverged" in found[name]:
            rows.append([name, None, None, f"diverged: {found[name]['diverged']}"])
            continue
        ran = files.read_json(folder / "run.json")
        rows.append(
            [
                name,
                f"{ran['durations']['updates']:,}",
                f"{ran['seconds'] / 3600:.2f}",
                _told(found[name]),
            ]
        )
    return {
        "title": "What was pretrained",
        "note": "Hours of the last call of each run, its evaluation included.",
        "columns": ["pretraining", "updates", "hours", "embeddings"],
        "rows": rows,
    }


def _told(results: Mapping[str, Any]) -> str | None:
    measured = results.get("collapse", {})
    return collapse.verdict(**measured) if "pretrained" in measured else None
