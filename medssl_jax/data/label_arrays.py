"""Arrays of labels as files hold them become classes or findings."""

import numpy as np

from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED, Labels
from medssl_jax.errors import DataError


def classes_or_findings(array: np.ndarray, count: int, path: str, key: str) -> Labels:
    """Return (n,) or (n, 1) whole numbers as (n,) classes, (n, k) as k findings.

    Raises:
      DataError: naming `path` and `key`: other shapes or types, classes below -1,
        findings that are not 1 (present), 0 (absent) or -1 (unknown), no label at all.
    """
    if array.ndim not in (1, 2) or len(array) != count or not array.size:
        text = f"{key} has shape {array.shape}, and there are {count} images"
        raise DataError(path, f"{text}; it takes a class, or findings, for each")
    whole = array.dtype.kind in "biu" or (
        array.dtype.kind == "f" and np.all(array == np.round(array))
    )
    if not whole:
        raise DataError(path, f"{key} holds {array.dtype}, not whole numbers")
    labels = array.astype(np.int64)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    lowest, known = UNLABELLED, "a class (0, 1, 2, ...)"
    wrong = labels < lowest
    if labels.ndim == 2:
        wrong = ~np.isin(labels, (PRESENT, ABSENT, UNLABELLED))
        known = "1 (present), 0 (absent)"
    if wrong.any():
        place = np.argwhere(wrong)[0]
        text = f"{key}{place.tolist()} is {labels[tuple(place)]}, neither {known}"
        raise DataError(path, f"{text} nor -1 (unknown)")
    if np.all(labels == UNLABELLED):
        raise DataError(path, f"{key} is -1 throughout: no example has a label")
    return labels
