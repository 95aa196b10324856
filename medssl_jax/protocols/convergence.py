"""How soon runs converge: the first epoch near the best that a run reaches."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medssl_jax.protocols import outcome
from medssl_jax.run.log import METRICS, read_metrics

SHARE = 0.98  # of the best, arXiv:2201.01283, section IV


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


def table(
    folders: Mapping[tuple[float, str], Sequence[Path]], metric: str
) -> dict[str, Any] | None:
    """Lay out when runs came near their best validation metric, meaned over seeds.

    Args:
      folders: of the runs, by share of the labels and initialisation.
      metric: as in the test's table; runs log `validation_METRIC`.

    Returns:
      A table of results.json, or None where the runs did not log the metric.
    """
    name = f"validation_{metric}"
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
