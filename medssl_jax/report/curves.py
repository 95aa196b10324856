"""Curves of what was logged: one figure for each metric."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl_jax.report import figures
from medssl_jax.report.blocks import Picture

_NAMES = {
    "loss": "Loss",
    "lr": "Learning rate",
    "weight_decay": "Weight decay",
    "tau": "Target decay tau",
    "examples_per_second": "Examples per second",
    "auc": "AUC",
    "accuracy": "Accuracy",
    "cross_entropy": "Swapped prediction: cross-entropy",
    "code_entropy": "Entropy of the codes, over ln K",
    "prototypes_in_use": "Share of prototypes in use",
    "label_loss": "Loss of the labels",
    "contrastive_accuracy": "Share of views nearest to their partner",
    "pretext_accuracy": "Share of the task's answers that are right",
    "loss_of_guessing": "Loss over that of guessing",
    "active": "Share of examples that cost something",
    "spread": "Spread of the projections",
    "data_wait": "Share of time spent waiting for data",
}
_AXES = {"step", "update", "epoch", "seconds"}  # where a line was logged, not what
_VALIDATION = ("val_", "val/", "valid_", "valid/")
_SMOOTHED_FROM = 200  # values; below, the raw curve can be read


def training_curves(metrics: Sequence[Mapping[str, Any]]) -> list[Picture]:
    """Draw every number that was logged; a metric and its validation in one figure."""
    curves: dict[str, dict[str, tuple[list, list]]] = {}
    for line in metrics:
        for key, value in line.items():
            if key in _AXES or not isinstance(value, int | float):
                continue
            split, metric = _split(key)
            x, y = curves.setdefault(metric, {}).setdefault(split, ([], []))
            x.append(line["step"])
            y.append(value)
    first = [metric for metric in _NAMES if metric in curves]
    others = [metric for metric in curves if metric not in _NAMES]
    return [_picture(metric, curves[metric]) for metric in first + others]


def _split(key: str) -> tuple[str, str]:
    for prefix in _VALIDATION:
        if key.startswith(prefix):
            return "validation", key.removeprefix(prefix)
    metric, _, modality = key.partition("/")  # of clustering, one curve for each
    return modality or "training", metric


def _picture(metric: str, splits: Mapping[str, tuple[list, list]]) -> Picture:
    title = _NAMES.get(metric, metric)
    if set(splits) == {"validation"}:
        title = f"{title} (validation)"
    lines = [_line(split, *values) for split, values in splits.items()]
    told = "; ".join(f"{line.name} {_told(line)}" for line in lines)
    smooth = any(line.smooth for line in lines)
    return Picture(
        figures.uri(figures.curves(title, lines, xlabel="micro-batches")),
        f"{title} against micro-batches: {told}.",
        "Pale: every logged value; full: moving average." if smooth else "",
    )


def _line(split: str, x: list, y: list) -> figures.Line:
    values = np.array(y, float)
    # up and down many times over: noise, which a schedule is not
    noisy = np.abs(np.diff(values)).sum() > 4 * np.ptp(values)
    return figures.Line(split, np.array(x), values, noisy and len(y) > _SMOOTHED_FROM)


def _told(line: figures.Line) -> str:
    return (
        f"starts at {line.y[0]:.4g}, ends at {line.y[-1]:.4g}, lowest "
        f"{line.y.min():.4g} at {line.x[line.y.argmin()]}, highest {line.y.max():.4g}"
    )
