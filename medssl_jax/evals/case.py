"""The table of segmented cases, and what is measured of each."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from medssl_jax.evals.overlap import dice_of
from medssl_jax.files import write_csv


class Case(NamedTuple):
    """One case's measures over its k structures.

    overlaps: twice the shared voxels, and those of truth and prediction together.
    hd95_mm, nsd: None where surfaces were not looked at.
    in_mm: false where the file has no spacing, and a pixel counts for a millimetre.
    """

    name: str
    patient: str
    overlaps: Int[np.ndarray, "k 2"]
    hd95_mm: Float[np.ndarray, "k"] | None
    nsd: Float[np.ndarray, "k"] | None
    in_mm: bool = True

    @property
    def dice(self) -> Float[np.ndarray, "k"]:
        return dice_of(self.overlaps)

    @property
    def mean_dice(self) -> float:
        """Over the structures that count; nan where none does."""
        counted = self.dice[~np.isnan(self.dice)]
        return float(counted.mean()) if len(counted) else float("nan")


def structure(mask: np.ndarray, k: int, ndim: int) -> Bool[np.ndarray, "*s"]:
    """Return where structure k is: class k + 1 of (*s,), or region k of (*s, r)."""
    return mask == k + 1 if mask.ndim == ndim else mask[..., k] > 0


def count_in(mask: np.ndarray, ndim: int) -> int:
    """Return how many structures a mask can have: its highest class, or its regions."""
    return int(mask.max()) if mask.ndim == ndim else mask.shape[-1]


def write_cases(path: Path, cases: Sequence[Case], names: Sequence[str]) -> None:
    """Write a CSV with a row per case: name, patient, measures of each structure.

    `dice NAME`, `hd95_mm NAME` and `nsd NAME`; empty where neither truth nor prediction
    has the structure, inf where one of them lacks it.
    """
    kinds = ("dice", "hd95_mm", "nsd")
    rows = []
    for case in cases:
        measured = np.stack([getattr(case, kind) for kind in kinds], axis=1)
        cells = ["" if np.isnan(x) else f"{x:.6g}" for x in measured.ravel()]
        rows.append([case.name, case.patient, *cells])
    columns = [f"{kind} {name}" for name in names for kind in kinds]
    write_csv(path, ["name", "patient", *columns], rows)
