"""What a detector's test says: tables and curves."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import precision_recall_curve

from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.evals.coco import average_precision
from medssl_jax.evals.froc import RATES
from medssl_jax.evals.hits import CENTRE, Detected, Outcome, froc, of_kind, outcome
from medssl_jax.evals.judged import MEASURES, Judged, values

_DRAWN = tuple(np.geomspace(RATES[0], RATES[-1], 60).tolist())  # alarms an image


def results(
    images: Sequence[Detected],
    judged: Sequence[Judged],
    names: Sequence[str],
    *,
    hit: str | float,
    shape: tuple[int, ...],
    patients: Sequence[str] | None,
    seed: int,
) -> dict[str, Any]:
    """Return what results.json holds.

    Args:
      names: of the kinds.
      shape: of an image, in voxels.
      patients: of the images, over whom intervals are drawn.
    """

    def interval(name) -> Interval:
        def of_some(indices):
            return MEASURES[name]([judged[i] for i in indices])

        return resampled(of_some, len(judged), groups=patients, seed=seed)

    found = {name: interval(name) for name in values(judged)}
    lines = _lines(images, judged, names, hit)
    said = ", ".join(f"{name} {value.text()}" for name, value in found.items())
    return {
        "headline": f"Test {said}.",
        "tables": [
            _measured(images, found, names, hit, shape),
            _by_rate(lines),
        ],
        "curves": [
            _froc_curve(lines),
            _precision_curve(lines),
        ],
        "roc": _roc(judged),
        "values": {name: value._asdict() for name, value in found.items()},
    }


def _measured(images, found, names, hit, shape):
    rule = "its centre within" if hit == CENTRE else f"an overlap of {hit:g}"
    lesions = sum(len(one.truth) for one in images)
    rows = [[name, value.text()] for name, value in found.items()]
    if len(shape) == 2:
        precision = average_precision(images, len(names), shape)
        rows += [[f"COCO {name}", f"{x:.3f}"] for name, x in precision.items()]
    return {
        "title": "Test",
        "note": f"{lesions} boxes in {len(images)} images; a detection hits by {rule}. "
        "FROC: the mean sensitivity below. AUC: an image with a box against one without, "
        "by its likeliest. Accuracy: the likeliest box is of the image's kind. mAP50: "
        "the area under precision by recall, over kinds; COCO's, interpolated, are below. "
        "95 % intervals by bootstrap over patients.",
        "columns": ["metric", "value (95 % interval)"],
        "rows": rows,
    }


def _lines(images, judged, names, hit) -> dict[str, list[Outcome]]:
    """Return outcomes of all kinds together, and of each that there is, by its name."""
    found = {"all": [one.outcome for one in judged]}
    there = {int(kind) for one in images for kind in one.truth_kinds}
    if len(names) > 1:
        for kind in sorted(there):
            of_one = [outcome(of_kind(one, kind), hit) for one in images]
            found[names[kind]] = of_one
    return found


def _by_rate(lines):
    each = [froc(outcomes) for outcomes in lines.values()]
    lesions = [sum(one.lesions for one in outcomes) for outcomes in lines.values()]
    counted = [f"{name} ({n})" for name, n in zip(lines, lesions, strict=True)]
    rows = [["mean", *(f"{line.mean():.3f}" for line in each)]]
    rows += [
        [f"{rate:g}", *(f"{s:.3f}" for s in at_rate)]
        for rate, at_rate in zip(RATES, np.transpose(each), strict=True)
    ]
    return {
        "title": "Sensitivity by false positives an image",
        "note": "The share of boxes found at most so many false positives an image; of a "
        "kind, those of this kind.",
        "columns": ["false positives an image", *counted],
        "rows": rows,
    }


def _froc_curve(lines):
    drawn = [
        {"name": name, "x": list(_DRAWN), "y": froc(outcomes, _DRAWN).tolist()}
        for name, outcomes in lines.items()
    ]
    return {
        "title": "FROC",
        "note": "The share of boxes found at most so many false positives an image.",
        "xlabel": "false positives an image",
        "ylabel": "sensitivity",
        "logarithmic": True,
        "lines": drawn,
    }


def _precision_curve(lines):
    drawn = []
    for name, outcomes in lines.items():
        false, right = (
            np.concatenate([getattr(one, scores) for one in outcomes])
            for scores in ("false_scores", "hit_scores")
        )
        if not len(right):
            continue
        precision, recall, _ = precision_recall_curve(
            np.repeat([1, 0], [len(right), len(false)]), np.concatenate([right, false])
        )
        recall = recall * len(right) / sum(one.lesions for one in outcomes)
        drawn.append({"name": name, "x": recall.tolist(), "y": precision.tolist()})
    return {
        "title": "Precision and recall",
        "note": "Of the boxes that are as likely as a threshold, the share that is right; "
        "of those that there are, the share that is found.",
        "xlabel": "recall",
        "ylabel": "precision",
        "logarithmic": False,
        "lines": drawn,
    }


def _roc(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    labels = [int(one.outcome.lesions > 0) for one in judged]
    if len(set(labels)) < 2:
        return []
    scores = [one.score for one in judged]
    return [{"name": "images with a box", "labels": labels, "scores": scores}]
