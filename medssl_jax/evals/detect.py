"""What a detector is worth: FROC, average precision, and the case as a whole."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import NO_BOX, Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.evals.coco import average_precision
from medssl_jax.evals.froc import RATES
from medssl_jax.evals.hits import CENTRE, Detected, froc, outcome
from medssl_jax.files import write_csv
from medssl_jax.ranges import Part

_FROC = "FROC"


def detect(context: Context, *, hit: str | Part) -> Evaluator:
    """Build validation by FROC and case AUC, and the test with intervals by patient.

    A case is positive if it has a box, and its score that of its likeliest one. FROC is
    the mean sensitivity at .01 to 8 false positives an image (`froc.RATES`). Of cases
    with boxes of one kind, accuracy is the share whose likeliest box is of that kind.
    In 2D, COCO's average precision too. Leaves detections.csv, a row for each box that
    was found.

    The run keeps the checkpoint of the highest validation AUC, as published, or of the
    highest FROC where all cases have boxes: `validation_loss` is 1 less that.

    Args:
      hit: "centre", a detection hits a lesion if its centre lies within, or the least
        intersection over union.

    Raises:
      ConfigError: if the method tells no boxes or the rule is not known; if there are no
        cases with boxes for validation or test.
    """
    kinds = context.method.boxes
    if context.predict is None or not kinds:
        raise ConfigError("evaluation 'detect' needs a method of boxes: 'detect'")
    if isinstance(hit, str) and hit != CENTRE:
        raise ConfigError(f"evaluation.hit {hit!r} is not known: 'centre', or a number")
    roles = ("validation", "test") if "train" in context.sources else ("test",)
    for role in roles:
        source = context.sources.get(role)
        if source is None or not len(source) or not source.has_boxes:
            raise ConfigError(
                f"detect needs cases with boxes for {role}: set --config.splits.{role}"
                ".fraction, or give that role a source with data.boxes"
            )

    def detected(role, params, aux) -> list[Detected]:
        found = []
        for batch in eval_batches(
            context.sources[role], context.draw, size=context.batch_size
        ):
            told = context.predict(params, aux, batch["image"])
            told = {name: np.asarray(x) for name, x in told.items()}
            for i in range(len(batch["index"])):
                found.append(_of_image(batch["boxes"][i], told, i))
        return found

    def during(params, aux):
        measured = _values(detected("validation", params, aux), hit)
        chosen = measured.get("AUC", measured[_FROC])
        named = {f"validation_{name}": value for name, value in measured.items()}
        return {"validation_loss": 1 - chosen, **named}

    def final(params, aux):
        source, found = context.sources["test"], detected("test", params, aux)
        _write(context.workdir / "detections.csv", source, found, context.draw.shape)
        return _results(source, found, kinds, hit, context.draw.shape, context.seed)

    return Evaluator(during, final)


def _of_image(rows, told, i) -> Detected:
    there = rows[:, -1] != NO_BOX
    found = told["kind"][i] >= 0
    return Detected(
        rows[there, :-1],
        rows[there, -1].astype(int),
        told["boxes"][i][found],
        told["score"][i][found].astype(np.float64),
        told["kind"][i][found],
    )


def _values(images: Sequence[Detected], hit) -> dict[str, float]:
    """Return what can be known: FROC, AUC of cases, accuracy of their kinds."""
    positive = np.array([len(one.truth) > 0 for one in images])
    found = {_FROC: float(froc([outcome(one, hit) for one in images]).mean())}
    if 0 < positive.sum() < len(positive):
        scores = [one.scores.max(initial=0.0) for one in images]
        found["AUC"] = float(roc_auc_score(positive, scores))
    right = [x for x in map(_is_right, images) if x is not None]
    if right and len({int(one.truth_kinds[0]) for one in images if len(one.truth)}) > 1:
        found["accuracy"] = float(np.mean(right))
    return found


def _is_right(one: Detected) -> bool | None:
    """Say whether the likeliest box is of the case's kind; None where it has not one."""
    if len(set(one.truth_kinds.tolist())) != 1:
        return None
    if not len(one.scores):
        return False
    return bool(one.kinds[one.scores.argmax()] == one.truth_kinds[0])


def _results(source: Source, images, kinds, hit, shape, seed) -> dict[str, Any]:
    names = list(_values(images, hit))
    drawn = {"groups": source.patients, "seed": seed}

    def interval(name) -> Interval:
        def of_some(indices):
            some = _values([images[i] for i in indices], hit)
            return some.get(name, float("nan"))

        return resampled(of_some, len(images), **drawn)

    found = {name: interval(name) for name in names}
    rule = "its centre within" if hit == CENTRE else f"an overlap of {hit:g}"
    lesions = sum(len(one.truth) for one in images)
    rows = [[name, value.text()] for name, value in found.items()]
    if len(shape) == 2:
        precision = average_precision(images, kinds, shape)
        rows += [[name, f"{value:.3f}"] for name, value in precision.items()]
    each = froc([outcome(one, hit) for one in images])
    table = {
        "title": "Test",
        "note": f"{lesions} boxes in {len(images)} images; a detection hits by {rule}. "
        "FROC: the mean sensitivity below. AUC: an image with a box against one without, "
        "by its likeliest. Accuracy: the likeliest box is of the image's kind. 95 % "
        "intervals by bootstrap over patients.",
        "columns": ["metric", "value (95 % interval)"],
        "rows": rows,
    }
    curve = {
        "title": "Sensitivity by false positives an image",
        "note": "The share of boxes found at most so many false positives an image.",
        "columns": ["false positives an image", "sensitivity"],
        "rows": [[f"{r:g}", f"{s:.3f}"] for r, s in zip(RATES, each, strict=True)],
    }
    said = ", ".join(f"{name} {value.text()}" for name, value in found.items())
    return {
        "headline": f"Test {said}.",
        "tables": [table, curve],
        "values": {name: value._asdict() for name, value in found.items()},
    }


def _write(path, source: Source, images: Sequence[Detected], shape) -> None:
    """Write a row for each box that was found: name, patient, kind, score, corners.

    Corners in voxels of what the network saw, in the axes' order, lower before upper.
    """
    patients = source.patients or [""] * len(source)
    ndim, rows = len(shape), []
    for i, one in enumerate(images):
        corners = one.boxes * np.tile(shape, 2)
        for box, score, kind in zip(corners, one.scores, one.kinds, strict=True):
            cells = [f"{x:.2f}" for x in box]
            rows.append(
                [source.name(i), patients[i], int(kind), f"{score:.6g}", *cells]
            )
    columns = [f"{end}{axis}" for end in ("low", "high") for axis in range(ndim)]
    write_csv(path, ["name", "patient", "kind", "score", *columns], rows)
