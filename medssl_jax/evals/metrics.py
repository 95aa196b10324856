"""What a classifier's scores are worth: arrays in, one float out.

Scores are probabilities, (n,) of class 1 for two classes, else (n, classes); of
findings (n, findings), whose labels are (n, findings) too, -1 where unknown.

A metric that needs a class which the labels lack is NaN, never an error: a bootstrap
resample may lose a class, and `bootstrap` leaves such resamples out.

They are written out on NumPy because scikit-learn's take 1 to 3 ms a call to check
what they are given: half a minute for the intervals of one table. The tests hold them
equal to scikit-learn's.
"""

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED, Labels
from medssl_jax.ranges import Share

Classes = Int[np.ndarray, "n"]
Findings = Int[np.ndarray, "n findings"]
Scores = Float[np.ndarray, "n"] | Float[np.ndarray, "n classes"]
Groups = Sequence[Hashable] | np.ndarray  # each example's patient
Metric = Callable[[Labels, Scores], float]

THRESHOLD = 0.5


def accuracy(labels: Classes, scores: Scores, threshold: float = THRESHOLD) -> float:
    """Return the share of examples whose predicted class is the true one."""
    return _mean(predicted(scores, threshold) == labels)


def sensitivity(
    labels: Classes, scores: Float[np.ndarray, "n"], threshold: float = THRESHOLD
) -> float:
    """Return the share of class 1 that is found; NaN without class 1."""
    return _mean(predicted(scores, threshold)[labels == 1] == 1)


def specificity(
    labels: Classes, scores: Float[np.ndarray, "n"], threshold: float = THRESHOLD
) -> float:
    """Return the share of class 0 that is left alone; NaN without class 0."""
    return _mean(predicted(scores, threshold)[labels == 0] == 0)


def only_class(scores: Scores, threshold: float = THRESHOLD) -> int | None:
    """Return the class that every example is called, or None where there are two.

    Sensitivity and specificity are then 0 and 1, or the reverse, whatever the AUC is.
    """
    called = np.unique(predicted(scores, threshold))
    return int(called[0]) if len(called) == 1 else None


def quadratic_kappa(labels: Classes, predicted: Classes, classes: int) -> float:
    """Return Cohen's kappa with quadratic weights, of classes that are ordered.

    1 - the mean squared difference of the two, over that of pairs drawn from all of
    either; NaN where these never differ. The weights are of 0 to classes - 1, also
    where some of them are absent.

    Source: Cohen 1968, Psychological Bulletin 70:213.
    """
    given, called = (np.bincount(x, minlength=classes) for x in (labels, predicted))
    grade = np.arange(classes)
    squared = np.square(grade[:, None] - grade[None])
    by_chance = given @ squared @ called / max(len(labels), 1)
    if not by_chance:
        return float("nan")
    return float(1 - np.square(labels - predicted).sum() / by_chance)


def auc(labels: Classes, scores: Float[np.ndarray, "n"]) -> float:
    """Return the area under the ROC curve; NaN where only one class is present.

    It is the share of (positive, negative) pairs in the right order, ties counting
    half: Mann and Whitney's U over the number of pairs (Hanley and McNeil 1982,
    Radiology 143:29).
    """
    positives, negatives = scores[labels == 1], np.sort(scores[labels != 1])
    pairs = len(positives) * len(negatives)
    if not pairs:
        return float("nan")
    below = np.searchsorted(negatives, positives, side="left").sum()
    below_or_equal = np.searchsorted(negatives, positives, side="right").sum()
    return float((below + below_or_equal) / (2 * pairs))


def average_precision(labels: Classes, scores: Float[np.ndarray, "n"]) -> float:
    """Return the mean, over the positives, of the precision where each is found.

    Equal scores are found together; NaN without class 1.
    """
    if not (labels == 1).any():
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.diff(scores[order]) != 0, True)  # of each run of equal scores
    found = np.cumsum(labels[order] == 1)[ends]
    precision = found / (np.flatnonzero(ends) + 1)
    return float(np.diff(found, prepend=0) @ precision / found[-1])


def macro_auc(labels: Classes, scores: Float[np.ndarray, "n classes"]) -> float:
    """Return the mean over classes of the AUC of each against the rest.

    NaN where the labels lack a class: a mean over fewer classes is another metric.
    """
    classes = range(scores.shape[1])
    areas = [auc((labels == c).astype(np.int64), scores[:, c]) for c in classes]
    return float(np.mean(areas))


def auc_of(finding: int) -> Metric:
    """Return the AUC of one finding over the examples where it is known."""

    def metric(labels: Findings, scores: Float[np.ndarray, "n findings"]) -> float:
        known = labels[:, finding] != UNLABELLED
        return auc(labels[known, finding], scores[known, finding])

    return metric


def mean_auc(findings: Sequence[int]) -> Metric:
    """Return the mean of the AUCs of these findings.

    NaN where one of them lacks a positive or a negative, as in `macro_auc`, and where
    there are none.
    """
    each = [auc_of(finding) for finding in findings]

    def metric(labels: Findings, scores: Float[np.ndarray, "n findings"]) -> float:
        return _mean(np.array([one(labels, scores) for one in each]))

    return metric


def scorable(labels: Findings) -> list[int]:
    """Return the findings that have a positive and a negative."""
    both = (labels == PRESENT).any(axis=0) & (labels == ABSENT).any(axis=0)
    return np.flatnonzero(both).tolist()


def masked_log_loss(labels: Findings, scores: Float[np.ndarray, "n findings"]) -> float:
    """Return `labels.masked_cross_entropy` of probabilities, mean over examples."""
    scores = scores.astype(np.float64)
    right = np.where(labels == PRESENT, scores, 1 - scores)
    # float32's sigmoid can be 1: as far off as it can tell
    right = np.maximum(right, np.finfo(np.float32).tiny)
    return float(np.where(labels == UNLABELLED, 0, -np.log(right)).mean())


def metrics(
    scores: Scores, *, ordered: bool = False, threshold: Share | None = None
) -> Mapping[str, Metric]:
    """Return the metrics of classes that fit scores of this shape, by name.

    Of three classes and more, accuracy is that of the first guess (top-1), and AUC the
    mean over classes. Where they are ordered, kappa of the first guess comes first. Of
    two with a `threshold`, an operating point, there is the average precision, "AP", too, and
    what depends on the point names it: "accuracy_at_0.6".
    """
    if scores.ndim == 2:
        graded = {"kappa": _kappa_of_guess} if ordered else {}
        return {**graded, "accuracy": accuracy, "AUC": macro_auc}
    called = {"sensitivity": sensitivity, "specificity": specificity}
    if threshold is None:
        return {"accuracy": accuracy, "AUC": auc, **called}
    at = functools.partial(_at, threshold)
    found = {"AUC": auc, "AP": average_precision}
    return found | dict(map(at, ({"accuracy": accuracy} | called).items()))


def predicted(scores: Scores, threshold: float = THRESHOLD) -> Int[np.ndarray, "n"]:
    """Return the first guess: the likeliest class, of two the second from a threshold."""
    if scores.ndim == 2:
        return scores.argmax(axis=1)
    return (scores >= threshold).astype(np.int64)


def binary_scores(probabilities: Float[np.ndarray, "n classes"]) -> Scores:
    """Return the probability of class 1 where there are two classes, else all."""
    return probabilities[:, 1] if probabilities.shape[1] == 2 else probabilities


def _kappa_of_guess(labels: Classes, scores: Float[np.ndarray, "n classes"]) -> float:
    return quadratic_kappa(labels, predicted(scores), scores.shape[1])


def _at(threshold: float, named: tuple[str, Callable]) -> tuple[str, Metric]:
    name, metric = named
    return f"{name}_at_{threshold:g}", functools.partial(metric, threshold=threshold)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
