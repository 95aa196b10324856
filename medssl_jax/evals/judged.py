"""A detector's test image by image: what is measured of any of them, and their table."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medssl_jax.evals.hits import Detected, Outcome, froc, matched, of_kind, outcome
from medssl_jax.evals.metrics import auc, average_precision
from medssl_jax.files import inert, write_csv

FILE = "judged.csv"
FROC = "FROC"
_OVERLAP = 0.5  # of the average precision


class Judged(NamedTuple):
    """What is measured of an image, found once however often it is drawn.

    outcome: by the rule of hits, over all kinds.
    score: of its likeliest box, 0 without one.
    kind: of its boxes; None where they have none, or several.
    guess: the likeliest box's kind, -1 without one.
    each: outcomes of each kind, matched at an overlap of .5 as COCO does.
    """

    outcome: Outcome
    score: float
    kind: int | None
    guess: int
    each: tuple[Outcome, ...]


def judge(one: Detected, hit: str | float, kinds: int) -> Judged:
    """Judge an image, of which so many kinds of boxes are told."""
    present = set(one.truth_kinds.tolist())
    kind = present.pop() if len(present) == 1 else None
    guess = int(one.kinds[one.scores.argmax()]) if len(one.scores) else -1
    each = tuple(matched(of_kind(one, k), _OVERLAP) for k in range(kinds))
    score = float(one.scores.max(initial=0.0))
    return Judged(outcome(one, hit), score, kind, guess, each)


def values(images: Sequence[Judged]) -> dict[str, float]:
    """Return those of `MEASURES` that can be known."""
    found = {name: measure(images) for name, measure in MEASURES.items()}
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _froc(images: Sequence[Judged]) -> float:
    return float(froc([one.outcome for one in images]).mean())


def _auc(images: Sequence[Judged]) -> float:
    positive = np.array([int(one.outcome.lesions > 0) for one in images])
    return auc(positive, np.array([one.score for one in images]))


def _accuracy(images: Sequence[Judged]) -> float:
    known = [one for one in images if one.kind is not None]
    if len({one.kind for one in known}) < 2:
        return float("nan")
    return float(np.mean([one.guess == one.kind for one in known]))


def _precision(images: Sequence[Judged]) -> float:
    """Return the area under precision by recall, without interpolation; over kinds."""
    found = []
    for outcomes in zip(*(one.each for one in images), strict=True):
        boxes = sum(one.lesions for one in outcomes)
        right = np.concatenate([one.hit_scores for one in outcomes])
        wrong = np.concatenate([one.false_scores for one in outcomes])
        if not boxes:
            continue
        labels = np.repeat([1, 0], [len(right), len(wrong)])
        area = 0.0
        if len(right):
            area = average_precision(labels, np.concatenate([right, wrong]))
        found.append(area * len(right) / boxes)  # the others are never found
    return float(np.mean(found)) if found else float("nan")


# better when higher; NaN where unknown
MEASURES: Mapping[str, Callable[[Sequence[Judged]], float]] = {
    FROC: _froc,
    "AUC": _auc,
    "accuracy": _accuracy,
    "mAP50": _precision,
}


def write_judged(
    path: Path,
    names: Sequence[str],
    patients: Sequence[str] | None,
    kinds: Sequence[str],
    images: Sequence[Judged],
) -> None:
    """Write a row for each image: who it is, and everything that `Judged` has.

    Scores are separated by spaces.
    """
    columns = ["name", "patient", "score", "kind", "guess", *_columns("")]
    columns += [column for kind in kinds for column in _columns(f" {kind}")]
    rows = []
    for i, one in enumerate(images):
        known = "" if one.kind is None else kinds[one.kind]
        guess = "" if one.guess < 0 else kinds[one.guess]
        patient = "" if patients is None else patients[i]
        cells = [cell for part in (one.outcome, *one.each) for cell in _cells(part)]
        rows.append([names[i], patient, repr(one.score), known, guess, *cells])
    write_csv(path, columns, rows)


def parse_judged(
    rows: Sequence[Mapping[str, str]],
) -> tuple[list[str], list[Judged]]:
    """Return the kinds' names and the images of a table as `write_judged` writes it.

    Raises:
      KeyError: if a column is not there.
      ValueError: if a cell is none that it can be.
    """
    start = "boxes "
    kinds = [name.removeprefix(start) for name in rows[0] if name.startswith(start)]
    numbers = {inert(name): k for k, name in enumerate(kinds)}
    found = []
    for row in rows:
        named = [row["kind"], row["guess"]]
        if unknown := set(named) - {*numbers, ""}:
            raise ValueError(f"{unknown.pop()!r} is no kind of boxes in it")
        kind, guess = (numbers.get(name) for name in named)
        outcomes = [_outcome(row, end) for end in ("", *(f" {name}" for name in kinds))]
        whole, *each = outcomes
        guess = -1 if guess is None else guess
        found.append(Judged(whole, float(row["score"]), kind, guess, tuple(each)))
    return kinds, found


def _columns(end: str) -> list[str]:
    return [f"{name}{end}" for name in ("boxes", "hits", "false")]


def _cells(one: Outcome) -> list[str]:
    scores = (one.hit_scores, one.false_scores)
    return [str(one.lesions), *(" ".join(map(repr, s.tolist())) for s in scores)]


def _outcome(row: Mapping[str, str], end: str) -> Outcome:
    boxes, hits, false = (row[column] for column in _columns(end))
    hit_scores, false_scores = (
        np.array([float(score) for score in cell.split()]) for cell in (hits, false)
    )
    if not len(hit_scores) <= int(boxes) or not np.isfinite(hit_scores).all():
        raise ValueError(f"{hits!r} are no scores of {boxes} boxes")
    if not np.isfinite(false_scores).all():
        raise ValueError(f"{false!r} are no scores")
    return Outcome(false_scores, hit_scores, int(boxes))
