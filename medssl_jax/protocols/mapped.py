"""Some test slices with the map that they were classified beside, for the report."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from medssl_jax.data.attended import Attended
from medssl_jax.files import write_arrays

_OF_EACH = 4


def write_mapped(
    path: Path, source: Attended, names: Sequence[str], scores: Float[np.ndarray, "n"]
) -> None:
    """Write slices with lesions, and as many without, those that were misjudged first.

    The arrays are `image` (m, *s), `map`, `mask`, and `name`, `label`, `probability`
    (m,): of slices with lesions the likeliest two and the least likely, of the others
    the likeliest.

    Args:
      source: the test's.
      names, scores: of its slices, in any order, and how likely they have a lesion.
    """
    likely = dict(zip(names, scores, strict=True))
    scores = np.array([likely[source.name(i)] for i in range(len(source))])
    chosen = _chosen(np.asarray(source.labels), scores).tolist()
    slices = [_slice(source, i) for i in chosen]
    write_arrays(
        path,
        {field: np.stack([one[field] for one in slices]) for field in slices[0]}
        | {
            "name": np.array([source.name(i) for i in chosen]),
            "label": np.asarray(source.labels)[chosen],
            "probability": scores[chosen],
        },
    )


def _chosen(labels: np.ndarray, scores: np.ndarray) -> Int[np.ndarray, "m"]:
    by_score = np.argsort(scores, kind="stable")
    has = labels[by_score] == 1
    with_lesions, without = by_score[has], by_score[~has][::-1]
    few = _OF_EACH // 2
    ends = np.concatenate([with_lesions[:few], with_lesions[few:][-few:]])
    return np.concatenate([ends, without[:_OF_EACH]])


def _slice(source: Attended, i: int) -> Mapping[str, np.ndarray]:
    image, mask = (source.middle(i, field) for field in ("image", "mask"))
    fed = source[i]["image"]
    if mask.ndim == image.ndim:  # regions
        mask = mask.any(axis=-1)
    unit = np.float32(255 if fed.dtype == np.uint8 else 1)
    return {"image": image[..., 0] / unit, "map": fed[..., -1] / unit, "mask": mask > 0}
