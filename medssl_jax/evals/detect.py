"""What a detector is worth: FROC, average precision, and the case as a whole."""

import numpy as np

from medssl_jax.data.boxes_back import check_whole, in_file
from medssl_jax.data.pipeline import eval_batches
from medssl_jax.data.source import NO_BOX, Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.detect_tables import results
from medssl_jax.evals.detections import save_pictures, write_detections
from medssl_jax.evals.hits import CENTRE, Detected
from medssl_jax.evals.judged import FILE, FROC, judge, values, write_judged
from medssl_jax.ranges import Part


def detect(context: Context, *, hit: str | Part) -> Evaluator:
    """Build validation by FROC and case AUC, and the test with intervals by patient.

    A case is positive if it has a box, and its score that of its likeliest one. FROC is
    the mean sensitivity at .01 to 8 false positives an image (`froc.RATES`). Of cases
    with boxes of one kind, accuracy is the share whose likeliest box is of that kind.
    In 2D, COCO's average precision too. Leaves detections.csv, a row for each box that
    was found, judged.csv, one for each image, and detections.npz, cases to look at.

    The run keeps the checkpoint of the highest validation AUC, as published, or of the
    highest FROC where all cases have boxes: `validation_loss` is 1 less that.

    Args:
      hit: "centre", a detection hits a lesion if its centre lies within, or the least
        intersection over union.

    Raises:
      ConfigError: if the method tells no boxes or the rule is not known; if there are no
        cases with boxes for validation or test.
      DataError: if an image is larger than what the network sees.
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
        check_whole(source[0], context.draw, source.name(0))  # all, as they are tested

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
        measured = values([judge(one, hit, kinds) for one in found])
        chosen = measured.get("AUC", measured[FROC])
        named = {f"validation_{name}": value for name, value in measured.items()}
        return {"validation_loss": 1 - chosen, **named}

    def final(params, aux):
        source, found = context.sources["test"], detected("test", params, aux)
        names = list(source.kind_names or map(str, range(kinds)))
        _write(context, source, found, names)
        judged = [judge(one, hit, kinds) for one in found]
        outcomes, path = [one.outcome for one in judged], "detections.npz"
        save_pictures(
            context.workdir / path, source, context.draw, found, outcomes, names
        )
        in_order = [source.name(i) for i in range(len(source))]
        path = context.workdir / FILE
        write_judged(path, in_order, source.patients, names, judged)
        return results(
            found,
            judged,
            names,
            hit=hit,
            shape=context.draw.shape,
            patients=source.patients,
            seed=context.seed,
        )

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


def _write(context: Context, source: Source, found: list[Detected], names) -> None:
    """Write the boxes that were found, where they lie in their files."""
    boxes = []
    for i, one in enumerate(found):
        origin, j = source.origin(i)
        grids = origin[j], source[i], context.prepare, context.draw
        boxes.append(in_file(one.boxes, *grids, source.name(i)))
    scores, kinds = ([getattr(one, x) for one in found] for x in ("scores", "kinds"))
    write_detections(
        context.workdir / "detections.csv", source, boxes, scores, kinds, names
    )
