"""A choice among runs by their validation: no test example is read for it."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from medssl_jax import files
from medssl_jax.errors import UserError
from medssl_jax.protocols.experiment import complete, vary
from medssl_jax.run import provenance

LOSS = "validation_loss"  # what decides
PEAK = "schedule.peak"  # the learning rate, in the experiment's config

Metrics = Mapping[str, float]


def attempt(
    experiment: ConfigDict, changes: Mapping[str, Any], folder: Path, *, within: Path
) -> dict[str, float]:
    """Train with other settings, done once; return the validation metrics.

    They are those at the lowest validation loss; there are none if it diverged.

    Raises:
      UserError: if config, data or disk do not allow it.
    """
    one = vary(experiment, changes)
    tested = provenance.plain(experiment.evaluation)
    one.evaluation = (ConfigDict({"name": "validation", "of": tested}),)
    values = complete(one, folder, within=within).get("values", {})
    return {name: value["value"] for name, value in values.items()}


def lowest(attempts: Sequence[Metrics], *, at: str, field: str) -> int:
    """Return which one has the lowest validation loss, the first of equals.

    Args:
      attempts: validation metrics; one that has no finite loss is never chosen.
      at, field: for the error: what they are attempts at, and which field has lower
        learning rates.

    Raises:
      UserError: if none has a finite loss.
    """
    losses = [metrics.get(LOSS, math.nan) for metrics in attempts]
    finite = [(loss, i) for i, loss in enumerate(losses) if math.isfinite(loss)]
    if not finite:
        raise UserError(
            f"every run of {at} diverged; lower {field}, and look at a run's "
            "results.json"
        )
    return min(finite)[1]


def write_csv(
    path: Path, settings: Sequence[Mapping[str, Any]], attempts: Sequence[Metrics]
) -> None:
    """Write a row for each attempt; the metrics of one that diverged are empty."""
    rows = [{**one, **got} for one, got in zip(settings, attempts, strict=True)]
    columns = dict.fromkeys(name for row in rows for name in row)
    cells = [[row.get(column, "") for column in columns] for row in rows]
    files.write_csv(path, list(columns), cells)
