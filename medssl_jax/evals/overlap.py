"""How much two masks overlap: the Dice of a case, of its classes, of many cases.

Empty masks: where neither has a voxel there is nothing to find, NaN, not counted; where
one has none, a structure was missed or made up, 0.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Integer

Mask = Bool[np.ndarray, "*s"]
Classes = Integer[np.ndarray, "*s"]  # of each voxel


def dice(truth: Mask, prediction: Mask) -> float:
    """Return twice the shared voxels over the voxels of both masks.

    Source: Dice 1945, Ecology 26:297.
    """
    return float(dice_of(overlap(truth, prediction)))


def dice_per_class(
    truth: Classes, prediction: Classes, classes: Sequence[int]
) -> Float[np.ndarray, " k"]:
    """Return the Dice of each of k classes."""
    return dice_of(overlap_per_class(truth, prediction, classes))


def mean_dice(per_case: Float[np.ndarray, "cases k"]) -> float:
    """Return the mean over classes of each class's mean over the cases that count it.

    nnU-Net's order; means over a case's classes first would give the classes of cases
    that lack some more weight. NaN where no case counts a class: a mean over fewer
    classes is another metric.
    """
    counted = ~np.isnan(per_case)
    sums = np.where(counted, per_case, 0).sum(axis=0)
    return float(np.mean(_ratio(sums, counted.sum(axis=0))))


def overlap(truth: Mask, prediction: Mask) -> Int[np.ndarray, "2"]:
    """Count the voxels of both masks that are shared, and all: Dice is their ratio."""
    shared = 2 * np.count_nonzero(truth & prediction)
    return np.array([shared, np.count_nonzero(truth) + np.count_nonzero(prediction)])


def overlap_per_class(
    truth: Classes, prediction: Classes, classes: Sequence[int]
) -> Int[np.ndarray, "k 2"]:
    """Return the `overlap` of each of k classes."""
    return np.stack([overlap(truth == c, prediction == c) for c in classes])


def dice_of(overlaps: Int[np.ndarray, "*n 2"]) -> Float[np.ndarray, "*n"]:
    """Return the Dice of each overlap.

    Of the sum of many cases' it is their pooled Dice, in which large structures weigh
    more, and a case without any still counts what was made up.
    """
    return _ratio(overlaps[..., 0], overlaps[..., 1])


def _ratio(part, whole):
    return np.where(whole > 0, part / np.maximum(whole, 1), np.nan)
