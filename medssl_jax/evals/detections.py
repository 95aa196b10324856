"""What a detector leaves of the cases it was tested on: a table, and some pictures."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.source import Source
from medssl_jax.evals.hits import Detected, Outcome, threshold_at
from medssl_jax.files import write_arrays, write_csv

FALSE_POSITIVES = 0.25  # an image, at which boxes are shown
_MISSED, _FALSE, _OTHERS = 6, 3, 3  # cases that are shown: of each sort, the worst
# columns of the table, and of which corner each is
_IN_PLANE = ("x0", "y0", "x1", "y1"), (1, 0, 3, 2)
_IN_SPACE = ("low0", "low1", "low2", "high0", "high1", "high2"), range(6)


def write_detections(
    path: Path,
    source: Source,
    boxes: Sequence[Float[np.ndarray, "_ corners"]],
    scores: Sequence[Float[np.ndarray, "_"]],
    kinds: Sequence[Int[np.ndarray, "_"]],
    names: Sequence[str] | None,
) -> None:
    """Write a CSV with a row for each box, and one of empty cells for images without.

    Of images path,x0,y0,x1,y1,label,patient,score, as `data.boxes` reads it, in pixels
    of the files; of volumes low0,low1,low2,high0,high1,high2, slices first.

    Args:
      boxes: of each example, in the voxels of its file, low corner, then high.
      names: of the kinds; None: their numbers.
    """
    ndim = next(row.shape[1] for row in boxes) // 2
    corners, order = _IN_PLANE if ndim == 2 else _IN_SPACE
    rows = []
    for i, found in enumerate(zip(boxes, scores, kinds, strict=True)):
        patient = [] if source.patients is None else [source.patients[i]]
        for box, score, kind in zip(*found, strict=True):
            label = str(kind) if names is None else names[kind]
            cells = [f"{x:.2f}" for x in box[list(order)]]
            rows.append([source.name(i), *cells, label, *patient, f"{score:.6g}"])
        if not len(found[0]):
            rows.append([source.name(i), *[""] * (2 * ndim + 1), *patient, ""])
    known = [] if source.patients is None else ["patient"]
    write_csv(path, ["path", *corners, "label", *known, "score"], rows)


def save_pictures(
    path: Path,
    source: Source,
    draw,
    images: Sequence[Detected],
    outcomes: Sequence[Outcome],
    names: Sequence[str],
) -> None:
    """Write some cases for the report: misses, then false alarms, then others.

    Boxes count that are as likely as leaves `FALSE_POSITIVES` an image. Arrays, n cases:
    image (n, rows, columns, c), name (n,), missed and false (n,); truth (n, m, 5) and
    found (n, k, 6) with the score last: low corner, high corner, kind, -1 where there
    is none. Of volumes the slice through the middle of the first box that matters.
    """
    least = threshold_at(outcomes, FALSE_POSITIVES)
    missed = [one.lesions - int((one.hit_scores >= least).sum()) for one in outcomes]
    false = [int((one.false_scores >= least).sum()) for one in outcomes]
    chosen = _chosen(missed, false)
    kept = {"image": [], "name": [], "truth": [], "found": []}
    for i in chosen:
        one = images[i]
        likely = one.scores >= least
        truth = np.column_stack([one.truth, one.truth_kinds])
        found = np.column_stack([one.boxes, one.kinds, one.scores])[likely]
        image = draw(source[i], None)["image"]
        if image.ndim == 4:
            image, truth, found = _slice(image, truth, found)
        values = (image, source.name(i), truth, found)
        for field, value in zip(kept, values, strict=True):
            kept[field].append(value)
    arrays = {
        "image": np.stack(kept["image"]),
        "name": np.array(kept["name"], str),
        "truth": _filled(kept["truth"], 5),
        "found": _filled(kept["found"], 6),
        "missed": np.array(missed)[chosen],
        "false": np.array(false)[chosen],
        "kinds": np.array(names, str),
    }
    write_arrays(path, arrays)


def _chosen(missed: Sequence[int], false: Sequence[int]) -> list[int]:
    """Return which cases are shown, in their order."""
    order = sorted(range(len(missed)), key=lambda i: (-missed[i], -false[i], i))
    sorts = (
        [i for i in order if missed[i]][:_MISSED],
        [i for i in order if false[i] and not missed[i]][:_FALSE],
        [i for i in order if not missed[i] and not false[i]][:_OTHERS],
    )
    return [i for some in sorts for i in some]


def _slice(image, truth, found):
    """Return one slice of a volume, and the boxes that reach into it."""
    first = np.concatenate([truth[:, :6], found[:, :6]])
    middle = 0.5 if not len(first) else (first[0, 0] + first[0, 3]) / 2
    here = [
        np.delete(rows, (0, 3), axis=1)[(rows[:, 0] <= middle) & (middle <= rows[:, 3])]
        for rows in (truth, found)
    ]
    place = min(int(middle * len(image)), len(image) - 1)
    return image[place], *here


def _filled(rows: Sequence[np.ndarray], columns: int) -> np.ndarray:
    most = max([1, *(len(some) for some in rows)])
    filled = np.zeros((len(rows), most, columns), np.float32)
    filled[..., 4] = -1
    for i, some in enumerate(rows):
        filled[i, : len(some)] = some
    return filled
