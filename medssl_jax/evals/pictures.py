"""Slices of the best, the middle and the worst case, for the report."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medssl_jax.evals.whole import Segmented
from medssl_jax.files import write_arrays

KINDS = ("worst", "middle", "best")
_SLICES = 3  # of a volume


class _Shown(NamedTuple):
    """Slices of a case.

    aspect: how high a voxel is, as a part of its width.
    slices: their places in the volume, from 0.
    """

    name: str
    score: float
    aspect: float
    slices: list[int]
    image: np.ndarray  # (slices, rows, columns, c)
    truth: np.ndarray
    found: np.ndarray


class Pictures:
    """Keeps a few slices of every case, and saves those of three."""

    def __init__(self, structures: Sequence[str]):
        self._structures = structures
        self._shown: list[_Shown] = []

    def take(self, name: str, case: Segmented, score: float) -> None:
        """Keep slices through the structures; a case without a score (nan) is left."""
        if np.isnan(score):
            return
        (record, found), ndim = case, case.record["image"].ndim - 1
        places = _places(record["mask"], found, ndim)
        arrays = (record["image"], record["mask"], found)
        if ndim == 2:
            arrays = tuple(array[None] for array in arrays)
        cut = (np.array(array[places]) for array in arrays)
        *_, high, wide = record.get("spacing_mm", (1.0,) * ndim)
        self._shown.append(_Shown(name, score, high / wide, places, *cut))

    def save(self, path: Path) -> None:
        """Write KIND/FIELD of each of `KINDS` and every field of `_Shown`.

        `structures` are the names of all structures.
        """
        if not self._shown:
            return
        order = sorted(self._shown, key=lambda shown: shown.score)
        chosen = (order[0], order[len(order) // 2], order[-1])
        arrays = {
            f"{kind}/{field}": np.asarray(value)
            for kind, shown in zip(KINDS, chosen, strict=True)
            for field, value in shown._asdict().items()
        }
        names = np.array(self._structures, str)
        write_arrays(path, {"structures": names, **arrays})


def _places(truth, found, ndim):
    """Return slices at a quarter, the half and three quarters of what is there."""
    if ndim == 2:
        return [0]
    axes = tuple(range(1, ndim))
    there = np.zeros(len(truth))
    for mask in (truth, found):
        mask = mask if mask.ndim == ndim else mask.any(axis=-1)
        there += (mask > 0).sum(axis=axes)
    if not there.any():
        there[:] = 1
    share = np.cumsum(there) / there.sum()
    quarters = (np.arange(_SLICES) + 1) / (_SLICES + 1)
    return sorted({int(np.searchsorted(share, quarter)) for quarter in quarters})
