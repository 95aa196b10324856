"""How many lesions are found at how many false alarms an image: FROC."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

# false positives an image of the published mean (arXiv:2201.01283)
RATES = (0.01, 0.05, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


def sensitivities(
    false_scores: Float[np.ndarray, " f"] | Sequence[float],
    hit_scores: Float[np.ndarray, " h"] | Sequence[float],
    *,
    lesions: int,
    images: int,
    at: Sequence[float] = RATES,
) -> Float[np.ndarray, " k"]:
    """Return the share of lesions found at each rate of false positives an image.

    The largest that a threshold reaches with at most so many: a step function, nothing
    is interpolated. A threshold takes all detections of its score or none. NaN where
    there are no lesions.

    Args:
      false_scores: of the detections that hit nothing, over all images.
      hit_scores: of each lesion that was hit the best score. At most `lesions`.
      lesions, images: how many there are, those without any detection included.
      at: false positives an image.

    Raises:
      ValueError: if there are more hits than lesions, no images, a score that is not a
        finite number, or a rate below 0.

    Source: the step rule of LUNA16's mean over rates, arXiv:1612.08012.
    """
    false_scores, hit_scores, at = (
        np.asarray(x, np.float64) for x in (false_scores, hit_scores, at)
    )
    if len(hit_scores) > lesions:
        raise ValueError(f"{len(hit_scores)} hits of {lesions} lesions")
    if images < 1:
        raise ValueError(f"{images} images")
    if not all(np.isfinite(x).all() for x in (false_scores, hit_scores)):
        raise ValueError("a score that is not a finite number")
    if (at < 0).any():
        raise ValueError(f"a rate below 0 in {at}")
    if not lesions:
        return np.full(len(at), np.nan)
    false_scores = np.sort(false_scores)[::-1]
    # the highest that may not be reached: its rank is one more than are allowed
    allowed = np.floor(at * images + 1e-9).astype(int)
    limits = np.append(false_scores, -np.inf)[np.minimum(allowed, len(false_scores))]
    return (hit_scores[None] > limits[:, None]).sum(axis=1) / lesions
