"""How soon runs converge: the first epoch near the best that a run reaches."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax.protocols import outcome
from medssl_jax.run.log import METRICS, read_metrics

SHARE = 0.98  # of the best, arXiv:2201.01283, section IV

Folders = Mapping[tuple[float, str], Sequence[Path]]
_VALIDATION = "validation_"
_LOSS = "loss"  # which chooses checkpoints; it is in each run's own report


def first_epoch(
    metrics: Iterable[Mapping[str, Any]], name: str, share: float = SHARE
) -> float | None:
    """Return the first epoch at which a metric is `share` of its best or more.

    Among the checkpoints, at which it was measured; None if it never was.

    Args:
      metrics: lines of metrics.jsonl, in their order.
      name: of a metric that is better when higher.
    """
    measured = [(m["epoch"], m[name]) for m in metrics if m.get(name) is not None]
    if not measured:
        return None
    best = max(value for _, value in measured)
    return next(epoch for epoch, value in measured if value >= share * best)


def table(folders: Folders, metric: str) -> dict[str, Any] | None:
    """Lay out when runs came near their best validation metric, meaned over seeds.

    Args:
      folders: of the runs, by share of the labels and initialisation.
      metric: as in the test's table; runs log `validation_METRIC`.

    Returns:
      A table of results.json, or None where the runs did not log the metric.
    """
    name = f"{_VALIDATION}{metric}"
    found = {
        place: [first_epoch(read_metrics(folder / METRICS), name) for folder in runs]
        for place, runs in folders.items()
    }
    if any(epoch is None for epochs in found.values() for epoch in epochs):
        return None
    names = list(dict.fromkeys(name for _, name in found))
    shares = sorted({share for share, _ in found})
    return {
        "title": f"First epoch at {100 * SHARE:g} % of the best validation {metric}",
        "note": "Mean ± deviation over seeds; an epoch is that of all labels, and the "
        "metric is measured at checkpoints only (checkpoint.every_epochs).",
        "columns": ["labels", *names],
        "rows": [
            [f"{100 * share:g} %"]
            + [outcome.mean_and_deviation(found[share, name], 1) for name in names]
            for share in shares
        ],
    }


def curves(folders: Folders, metric: str) -> list[dict[str, Any]]:
    """Lay out validation metrics over the epochs, meaned over seeds.

    Args:
      folders: as of `table`.
      metric: what comes first, where the runs logged it.

    Returns:
      Of each metric that was logged at checkpoints its name and its curves, one for each
      share and initialisation: epochs, mean, deviation (None of a single seed) and how
      many seeds there are. Epochs are those at which each of these has a finite value,
      or a seed that stopped earlier, or was saved in between, would bend the mean.
    """
    found = {
        place: [_by_metric(read_metrics(folder / METRICS)) for folder in runs]
        for place, runs in folders.items()
    }
    logged = [name for runs in found.values() for one in runs for name in one]
    names = sorted(dict.fromkeys(logged), key=lambda name: name != metric)
    return [
        {
            "metric": name,
            "curves": [
                {"fraction": share, "name": start, **_meaned(seeds)}
                for (share, start), runs in sorted(
                    found.items(), key=lambda item: item[0][0]
                )
                if (seeds := [one[name] for one in runs if name in one])
            ],
        }
        for name in names
    ]


def _by_metric(metrics: Iterable[Mapping[str, Any]]) -> dict[str, dict[float, float]]:
    """Return the finite values of each validation metric, by epoch."""
    found: dict[str, dict[float, float]] = {}
    for line in metrics:
        for name, value in line.items():
            metric = name.removeprefix(_VALIDATION)
            if metric not in (name, _LOSS) and value is not None:
                found.setdefault(metric, {})[round(line["epoch"], 6)] = value
    return found


def _meaned(seeds: Sequence[Mapping[float, float]]) -> dict[str, Any]:
    epochs = sorted(set.intersection(*map(set, seeds)))
    values = np.array([[one[epoch] for epoch in epochs] for one in seeds])
    several = len(seeds) > 1
    return {
        "epochs": epochs,
        "mean": values.mean(axis=0).tolist(),
        "deviation": values.std(axis=0, ddof=1).tolist() if several else None,
        "seeds": len(seeds),
    }
