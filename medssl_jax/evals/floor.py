"""What a classifier of plain pixels reaches: an encoder below it is not worth sharing."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from sklearn.decomposition import PCA

from medssl_jax.data.pipeline import DrawRecord
from medssl_jax.data.source import UNLABELLED, Source, Subset, has_findings, is_labelled
from medssl_jax.evals.base import apply_to_all, class_count
from medssl_jax.evals.bootstrap import interval, paired_difference
from medssl_jax.evals.linear import Unlearnable, linear_probe
from medssl_jax.evals.metrics import auc, binary_scores, macro_auc, mean_auc, scorable

_SIDE = {2: 32, 3: 16}  # pixels at most, along each axis
_COMPONENTS = 64
_MOST = 8192  # training examples: more take longer than they move
TITLE = "Floor: principal components of pixels, logistic regression"

Scores = Float[np.ndarray, "m"] | Float[np.ndarray, "m k"]


class Floor(NamedTuple):
    """The floor's test scores, and the AUC that suits the labels.

    lacking: why there are none; "" where there are.
    """

    scores: Scores
    metric: Callable[[Any, Any], float]
    lacking: str

    def value(self, test: Source) -> float | None:
        """Return the AUC on `test`, whose scores these are; None where there are none."""
        if self.lacking:
            return None
        return float(self.metric(np.asarray(test.labels), self.scores))


def pixel_floor(
    train: Source, test: Source, draw: DrawRecord, *, batch_size: int, seed: int
) -> Floor:
    """Learn labels from pixels: 64 principal components, and `linear.linear_probe`.

    Images are as an evaluation gives them to the network, in blocks' means: 32 pixels a
    side, 16 of volumes. Of findings, each is learnt where it is known.

    Args:
      train: of whose labelled examples up to `_MOST` are learnt from, evenly apart,
        each once.
      test: labelled examples.
    """
    train = _some(train)
    learnt, tested = (_pixels(one, draw, batch_size) for one in (train, test))
    reduce = PCA(min(_COMPONENTS, *learnt.shape), random_state=seed)
    with np.errstate(invalid="ignore"):  # shares of no variance, where all are alike
        reduce.fit(learnt)
    features = reduce.transform(learnt), reduce.transform(tested)
    try:
        return _scored(train, test, *features, seed=seed)
    except Unlearnable as error:
        return Floor(np.empty(0), auc, str(error))


def table(
    found: Floor, test: Source, ours: Mapping[str, Scores], *, seed: int
) -> dict[str, Any]:
    """Lay out the floor's AUC, and how far others are above it.

    Args:
      ours: test scores by the name of what they are of.
    """
    labels, drawn = np.asarray(test.labels), {"groups": test.patients, "seed": seed}
    what = {"title": TITLE, "columns": ["of", "AUC (95 % interval)", "above the floor"]}
    if found.lacking:
        return what | {"note": f"None: {found.lacking}.", "rows": []}
    here = interval(found.metric, labels, found.scores, **drawn).text()
    rows = [["the floor", here, ""]]
    for name, scores in ours.items():
        above = paired_difference(found.metric, labels, scores, found.scores, **drawn)
        value = interval(found.metric, labels, scores, **drawn).text()
        rows.append([name, value, above.text(signed=True)])
    note = (
        f"Learnt from the labels of training, at most {_MOST:,} of them; the difference is "
        "paired. An encoder that is not above it is not worth sharing."
    )
    return what | {"note": note, "rows": rows}


def _scored(train, test, learnt, tested, *, seed) -> Floor:
    labels = np.asarray(train.labels)
    if not has_findings(train):
        classes = class_count(train, test)
        p = linear_probe(
            learnt, labels, tested, groups=train.patients, classes=classes, seed=seed
        )
        scores = binary_scores(p)
        return Floor(scores, auc if scores.ndim == 1 else macro_auc, "")
    scores, used = np.zeros((len(tested), labels.shape[1])), []
    for j in scorable(np.asarray(test.labels)):
        known = np.flatnonzero(labels[:, j] != UNLABELLED)
        groups = train.patients and [train.patients[i] for i in known]
        of_it = learnt[known], labels[known, j], tested
        try:
            p = linear_probe(*of_it, groups=groups, classes=2, seed=seed)
        except Unlearnable:
            continue
        scores[:, j] = p[:, 1]
        used.append(j)
    lacking = "" if used else "no finding can be learnt and tested"
    return Floor(scores, mean_auc(used), lacking)


def _some(source: Source) -> Source:
    """Return labelled examples, each once, or as many as are used, evenly apart."""
    known = np.flatnonzero(is_labelled(np.asarray(source.labels)))
    firsts = {source.name(i): i for i in known[::-1].tolist()}
    once = np.sort([*firsts.values()])
    if len(once) > _MOST:
        once = once[np.arange(_MOST) * len(once) // _MOST]
    return Subset(source, once)


def _pixels(
    source: Source, draw: DrawRecord, batch_size: int
) -> Float[np.ndarray, "n d"]:
    return apply_to_all(
        lambda images: blocks(images).reshape(len(images), -1), source, draw, batch_size
    )


def blocks(images: np.ndarray) -> Float[np.ndarray, "b *s c"]:
    """Return the means of equal blocks, 32 a side at most, of volumes 16."""
    found = images.astype(np.float32)
    for axis in range(1, images.ndim - 1):
        length = found.shape[axis]
        count = min(length, _SIDE[images.ndim - 2])
        starts = np.arange(count) * length // count
        sizes = np.diff([*starts, length])
        shape = [-1 if a == axis else 1 for a in range(found.ndim)]
        found = np.add.reduceat(found, starts, axis) / sizes.reshape(shape)
    return found
