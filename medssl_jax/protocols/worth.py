"""What each pretraining of a study is worth: gains, labels that it saves, its cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax import files
from medssl_jax.evals import collapse
from medssl_jax.evals.bootstrap import Interval
from medssl_jax.protocols.compare import shown
from medssl_jax.run.log import METRICS, read_metrics


def table(
    results: Mapping[str, Any],
    against: Mapping[str, str],
    folders: Mapping[str, Path],
    found: Mapping[str, Mapping[str, Any]],
    missing: Mapping[str, str],
) -> dict[str, Any]:
    """Lay out a row for each pretraining, those that were not measured among them.

    Args:
      results: of label efficiency, `values` and `label_curves`.
      against: the random weights that each is measured by.
      folders: of the pretrainings that were run, and what they `found`.
      missing: by name, why others were not run.
    """
    metric = results["label_curves"]["metric"]
    curves = {one["name"]: one for one in results["label_curves"]["curves"]}
    fractions = next(iter(curves.values()))["fractions"]
    ends = list(dict.fromkeys((fractions[0], fractions[-1])))
    rows = []
    for name, folder in folders.items():
        cost = _cost(folder)
        if name not in curves:
            rows.append([name, *[None] * (len(ends) + 3), "diverged", *cost])
            continue
        gains = {
            fraction: Interval(
                **results["values"][f"{metric}, {name} - {against[name]}, {fraction:g}"]
            )
            for fraction in fractions
        }
        rows.append(
            [
                name,
                *(shown(gains[end]) for end in ends),
                _where(gains, lambda gain: gain.low > 0),
                _where(gains, lambda gain: gain.high < 0),
                _saved(curves[name], curves[against[name]]),
                _collapse(found[name]),
                *cost,
            ]
        )
    for name in missing:
        rows.append([name, *[None] * (len(ends) + 3), "not run", None, None])
    others = sorted(set(against.values()))
    diverged = {
        name: one["diverged"] for name, one in found.items() if "diverged" in one
    }
    reasons = [
        *(f" {name} diverged: {reason}." for name, reason in diverged.items()),
        *(f" {name} was not run: {reason}." for name, reason in missing.items()),
    ]
    return {
        "title": "What each pretraining is worth",
        "note": f"Differences of test {metric} to {' or '.join(others)}, with 95 % "
        "intervals by bootstrap over test patients; * leaves out 0. Ahead and behind: the "
        "shares of the labels at which it does so. Enough: the least of these shares "
        "with which it is as good, in the mean over seeds, as random weights with all "
        "the labels that were used. Hours are those of all calls of a pretraining, its "
        f"evaluation included.{''.join(reasons)}{results.get('floor_told', '')}",
        "columns": [
            "pretraining",
            *(f"with {100 * end:g} %" for end in ends),
            "ahead",
            "behind",
            "enough",
            "collapse",
            "updates",
            "hours",
        ],
        "rows": rows,
    }


def told(
    folders: Mapping[str, Path], found: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Lay out how each pretraining's embeddings are, and what it said at its end."""
    rows = []
    for name, folder in folders.items():
        measured = found[name].get("collapse", {})
        verdict = collapse.verdict(**measured) if "pretrained" in measured else None
        path = folder / METRICS
        lines = read_metrics(path) if path.exists() else []
        trained = [line for line in lines if "loss" in line]
        rows.append([name, verdict, trained[-1].get("verdict") if trained else None])
    return {
        "title": "How pretraining went",
        "note": "Embeddings on examples that were not trained on, where there are "
        "labelled ones; what the training said of itself as it ended.",
        "columns": ["pretraining", "embeddings", "at its end"],
        "rows": rows,
    }


def _cost(folder: Path) -> list[str | None]:
    path = folder / "run.json"
    if not path.exists():
        return [None, None]
    ran = files.read_json(path)
    if "seconds" not in ran:  # it diverged
        return [None, None]
    return [f"{ran['durations']['updates']:,}", f"{ran['seconds'] / 3600:.2f}"]


def _where(gains: Mapping[float, Interval], holds) -> str:
    shares = [f"{100 * f:g} %" for f, gain in gains.items() if holds(gain)]
    return ", ".join(shares) or "nowhere"


def _saved(curve: Mapping[str, Any], random: Mapping[str, Any]) -> str:
    """Return the least share of labels that makes up for all of random weights'."""
    all_labels = np.mean(random["scores"][-1])
    for fraction, scores in zip(curve["fractions"], curve["scores"], strict=True):
        if np.mean(scores) >= all_labels:
            return f"{100 * fraction:g} %"
    return "none"


def _collapse(results: Mapping[str, Any]) -> str | None:
    measured = results.get("collapse", {})
    if "pretrained" not in measured:
        return None
    if not collapse.collapsed(**measured):
        return "no"
    verdict = collapse.verdict(**measured).partition(":")[0]
    return verdict.removesuffix(" dimensional collapse")  # the next table has it whole
