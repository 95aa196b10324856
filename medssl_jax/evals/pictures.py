"""Slices of the best, the middle and the worst case, for the report."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from medssl_jax.evals import frames
from medssl_jax.evals.whole import Segmented
from medssl_jax.files import write_arrays

_SIDE = 256  # pixels, of a volume's slices
KINDS = ("worst", "middle", "best")


class _Shown(NamedTuple):
    """Slices of a case, `evals.frames` says which and how large.

    aspect: how high a voxel is, as a part of its width.
    slices: their places in the volume, from 0.
    """

    name: str
    score: float
    aspect: float
    slices: list[int]
    image: np.ndarray  # (slices, rows, columns), of colours (slices, rows, columns, 3)
    truth: np.ndarray
    found: np.ndarray


class Pictures:
    """Keeps slices of every case in a temporary folder, and saves those of three."""

    def __init__(self, structures: Sequence[str]):
        self._structures = structures
        self._scores: list[float] = []
        self._folder = tempfile.TemporaryDirectory()

    def take(self, name: str, case: Segmented, score: float) -> None:
        """Keep slices of a case; one without a score (nan) is left.

        Raises:
          UserError: if the folder of temporary files has no room; TMPDIR sets another.
        """
        if np.isnan(score):
            return
        (record, found), ndim = case, case.record["image"].ndim - 1
        arrays = (record["image"], record["mask"], found)
        if ndim == 2:
            arrays = tuple(array[None] for array in arrays)
        places = frames.places(_there(*arrays[1:]))
        image, truth, found = (np.asarray(array[places]) for array in arrays)
        *_, high, wide = record.get("spacing_mm", (1.0,) * ndim)
        if ndim == 3:
            image = frames.shrunk(image, _SIDE, mean=True)
            truth, found = (
                frames.shrunk(mask, _SIDE, mean=False) for mask in (truth, found)
            )
        image = frames.grey_or_colour(image)
        shown = _Shown(name, score, high / wide, places, image, truth, found)
        fields = {k: np.asarray(v) for k, v in shown._asdict().items()}
        write_arrays(self._file(len(self._scores)), fields)
        self._scores.append(score)

    def save(self, path: Path) -> None:
        """Write KIND/FIELD of each of `KINDS` and every field of `_Shown`.

        `structures` are the names of all structures.
        """
        if not self._scores:
            return
        order = np.argsort(self._scores, kind="stable").tolist()
        chosen = (order[0], order[len(order) // 2], order[-1])
        arrays = {"structures": np.array(self._structures, str)}
        for kind, i in zip(KINDS, chosen, strict=True):
            with np.load(self._file(i)) as shown:
                arrays |= {f"{kind}/{field}": value for field, value in shown.items()}
        write_arrays(path, arrays)

    def _file(self, i: int) -> Path:
        return Path(self._folder.name, f"{i}.npz")


def _there(*masks: np.ndarray) -> np.ndarray:
    """Return which slices have a structure in one of the masks."""
    return np.any([mask.reshape(len(mask), -1).any(axis=1) for mask in masks], axis=0)
