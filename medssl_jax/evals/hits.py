"""Which detections hit a lesion, which are false, and how many lesions there are."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from medssl_jax.evals.froc import RATES, sensitivities

CENTRE = "centre"  # the rule that a detection's centre lies in the lesion


class Detected(NamedTuple):
    """The boxes of one image: those there are and those that were found.

    Corners, lower before upper, as fractions of the image; kinds from 0.
    """

    truth: Float[np.ndarray, "m corners"]
    truth_kinds: Int[np.ndarray, "m"]
    boxes: Float[np.ndarray, "n corners"]
    scores: Float[np.ndarray, "n"]
    kinds: Int[np.ndarray, "n"]


class Outcome(NamedTuple):
    """What became of an image's detections.

    false_scores: of those that hit nothing.
    hit_scores: of each lesion that was hit, its best score.
    lesions: how many there are.
    """

    false_scores: Float[np.ndarray, "f"]
    hit_scores: Float[np.ndarray, "h"]
    lesions: int


def outcome(detected: Detected, rule: str | float) -> Outcome:
    """Sort an image's detections by the lesions of their kind that they hit.

    A detection that hits several is a hit of each; of several on one lesion the best
    score counts, and none is false.

    Args:
      rule: "centre", the detection's centre lies within the lesion, or the least
        intersection over union.
    """
    hits = _hits(detected, rule)
    hits &= detected.kinds[:, None] == detected.truth_kinds[None]
    best = np.where(hits, detected.scores[:, None], -np.inf).max(
        axis=0, initial=-np.inf
    )
    false = detected.scores[~hits.any(axis=1)]
    return Outcome(false, best[np.isfinite(best)], len(detected.truth))


def matched(detected: Detected, overlap: float) -> Outcome:
    """Match the detections of an image, the likeliest first, as COCO does.

    Each takes the box of its kind that it overlaps most, if that is `overlap` or more
    and none before it has taken it; else it is false.
    """
    overlaps = _overlaps(detected)
    overlaps *= detected.kinds[:, None] == detected.truth_kinds[None]
    taken = np.zeros(len(detected.truth), bool)
    right = np.zeros(len(detected.boxes), bool)
    for i in np.argsort(-detected.scores, kind="stable"):
        free = np.where(taken, 0.0, overlaps[i])
        if len(free) and free.max() >= overlap:
            right[i] = taken[free.argmax()] = True
    scores = detected.scores
    return Outcome(scores[~right], scores[right], len(detected.truth))


def froc(
    outcomes: Sequence[Outcome], at: Sequence[float] = RATES
) -> Float[np.ndarray, " k"]:
    """Return the sensitivity over images at each rate of false positives an image."""
    false, hit = (
        np.concatenate([getattr(one, name) for one in outcomes])
        for name in ("false_scores", "hit_scores")
    )
    lesions = sum(one.lesions for one in outcomes)
    return sensitivities(false, hit, lesions=lesions, images=len(outcomes), at=at)


def of_kind(detected: Detected, kind: int) -> Detected:
    """Return what there is and what was found of one kind."""
    true, found = detected.truth_kinds == kind, detected.kinds == kind
    return Detected(
        detected.truth[true],
        detected.truth_kinds[true],
        detected.boxes[found],
        detected.scores[found],
        detected.kinds[found],
    )


def threshold_at(outcomes: Sequence[Outcome], rate: float) -> float:
    """Return the least score of so many false positives an image, or fewer."""
    false = np.sort(np.concatenate([one.false_scores for one in outcomes]))[::-1]
    allowed = int(rate * len(outcomes) + 1e-9)
    if allowed >= len(false):
        return 0.0
    # those that tie with the first that is too many are too many
    return float(np.nextafter(false[allowed], np.inf))


def _hits(detected: Detected, rule: str | float) -> Bool[np.ndarray, "n m"]:
    if rule != CENTRE:
        return _overlaps(detected) >= rule
    low, high = np.split(detected.boxes[:, None], 2, axis=-1)
    true_low, true_high = np.split(detected.truth[None], 2, axis=-1)
    middle = (low + high) / 2
    return ((middle >= true_low) & (middle <= true_high)).all(axis=-1)


def _overlaps(detected: Detected) -> Float[np.ndarray, "n m"]:
    """Return intersections over unions; 0 where both are without extent."""
    low, high = np.split(detected.boxes[:, None], 2, axis=-1)
    true_low, true_high = np.split(detected.truth[None], 2, axis=-1)
    sides = np.minimum(high, true_high) - np.maximum(low, true_low)
    shared = np.maximum(sides, 0).prod(axis=-1)
    union = (high - low).prod(axis=-1) + (true_high - true_low).prod(axis=-1) - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0.0)
