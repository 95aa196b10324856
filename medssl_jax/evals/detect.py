"""What a detector is worth: FROC, average precision, and the case as a whole."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import NO_BOX, Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.bootstrap import Interval, resampled
from medssl_jax.evals.coco import average_precision
from medssl_jax.evals.froc import RATES
from medssl_jax.evals.hits import CENTRE, Detected, Outcome, froc, outcome
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
        if source is None or not source.has_boxes or not _has_any(source):
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
        found = detected("validation", params, aux)
        measured = _values([_case(one, hit) for one in found])
        chosen = measured.get("AUC", measured[_FROC])
        named = {f"validation_{name}": value for name, value in measured.items()}
        return {"validation_loss": 1 - chosen, **named}

    def final(params, aux):
        source, found = context.sources["test"], detected("test", params, aux)
        _write(context.workdir / "detections.csv", source, found, context.draw.shape)
        return _results(source, found, kinds, hit, context.draw.shape, context.seed)

    return Evaluator(during, final)


def _has_any(source: Source) -> bool:
    return any(len(source[i]["boxes"]) for i in range(len(source)))


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


class _Case(NamedTuple):
    """What is measured of an image, found once however often it is drawn.

    score: of its likeliest box, 0 without one.
    kind: of its boxes; None where they have none, or several.
    guess: the likeliest box's kind, -1 without one.
    """

    outcome: Outcome
    score: float
    kind: int | None
    guess: int


def _case(one: Detected, hit) -> _Case:
    kinds = set(one.truth_kinds.tolist())
    kind = kinds.pop() if len(kinds) == 1 else None
    guess = int(one.kinds[one.scores.argmax()]) if len(one.scores) else -1
    return _Case(outcome(one, hit), float(one.scores.max(initial=0.0)), kind, guess)


def _froc(cases: Sequence[_Case]) -> float:
    return float(froc([case.outcome for case in cases]).mean())


def _auc(cases: Sequence[_Case]) -> float:
    positive = np.array([case.outcome.lesions > 0 for case in cases])
    if not 0 < positive.sum() < len(positive):
        return float("nan")
    return float(roc_auc_score(positive, [case.score for case in cases]))


def _accuracy(cases: Sequence[_Case]) -> float:
    known = [case for case in cases if case.kind is not None]
    if len({case.kind for case in known}) < 2:
        return float("nan")
    return float(np.mean([case.guess == case.kind for case in known]))


_MEASURES = {_FROC: _froc, "AUC": _auc, "accuracy": _accuracy}  # NaN where unknown


def _values(cases: Sequence[_Case]) -> dict[str, float]:
    """Return what can be known."""
    found = {name: measure(cases) for name, measure in _MEASURES.items()}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _results(source: Source, images, kinds, hit, shape, seed) -> dict[str, Any]:
    cases = [_case(one, hit) for one in images]
    drawn = {"groups": source.patients, "seed": seed}

    def interval(name) -> Interval:
        def of_some(indices):
            return _MEASURES[name]([cases[i] for i in indices])

        return resampled(of_some, len(cases), **drawn)

    found = {name: interval(name) for name in _values(cases)}
    rule = "its centre within" if hit == CENTRE else f"an overlap of {hit:g}"
    lesions = sum(len(one.truth) for one in images)
    rows = [[name, value.text()] for name, value in found.items()]
    if len(shape) == 2:
        precision = average_precision(images, kinds, shape)
        rows += [[name, f"{value:.3f}"] for name, value in precision.items()]
    each = froc([case.outcome for case in cases])
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
