"""The slices of a DICOM series as one volume."""

from typing import NamedTuple

import numpy as np

from medssl_jax.data.dicom_slice import Slice
from medssl_jax.errors import DataError

# of the median distance; a missing slice is 1, positions rounded to .1 mm stay below
_UNEVEN = 0.2
_SAME_MM = 1e-3
_SAME_DIRECTION = 1e-3


class Stack(NamedTuple):
    """Slices as a volume.

    volume: (slices, rows, columns).
    affine: (4, 4), voxel index to mm towards right, anterior, superior.
    order: which of the slices stands at each place.
    """

    volume: np.ndarray
    affine: np.ndarray
    spacing_mm: tuple[float, float, float]
    order: np.ndarray


def stack(slices: list[Slice], folder: str) -> Stack:
    """Sort slices along their normal.

    Raises:
      DataError: naming the folder, if they are no volume.
    """
    first = slices[0]
    _refuse_mixture(slices, folder)
    normal = np.cross(first.directions[1], first.directions[0])
    heights = np.array([s.position @ normal for s in slices])
    order = np.argsort(heights)
    between = _slice_distance(heights[order], folder)
    _refuse_shifted(slices, heights, normal, folder)
    volume = np.stack([slices[i].pixels for i in order])
    spacing_mm = (between, *first.spacing_mm)
    axes = np.stack([normal, *first.directions])
    affine = np.eye(4)
    affine[:3, :3] = (axes * np.array(spacing_mm)[:, np.newaxis]).T
    affine[:3, 3] = slices[order[0]].position
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return Stack(volume, affine, spacing_mm, order)


def _refuse_mixture(slices, folder):
    sizes = sorted({s.pixels.shape for s in slices})
    if len(sizes) > 1:
        text = ", ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise DataError(folder, f"its slices have mixed sizes: {text}")
    if np.ptp([s.directions for s in slices], axis=0).max() > _SAME_DIRECTION:
        text = "its slices lie in different planes"
        raise DataError(folder, f"{text}: a localizer is no volume; leave it out")
    if np.ptp([s.spacing_mm for s in slices], axis=0).max() > _SAME_MM:
        raise DataError(folder, "its slices have mixed pixel spacings")


def _refuse_shifted(slices, heights, normal, folder):
    """Refuse a slice beside the line of the others, which a tilted gantry may slant."""
    positions = np.array([s.position for s in slices])
    across = positions - np.outer(heights, normal)
    steps = np.diff(across[np.argsort(heights)], axis=0)
    off = np.abs(steps - np.median(steps, axis=0)).max(axis=1)
    if (beside := off > max(slices[0].spacing_mm)).any():
        i = int(np.flatnonzero(beside)[0])
        text = f"slice {i + 2} of {len(slices)} lies {off[i]:.1f} mm beside the others"
        raise DataError(folder, f"{text}; find out which is wrong")


def _slice_distance(heights, folder):
    if len(heights) < 2:
        raise DataError(folder, "has one slice only: no volume, its spacing unknown")
    distances = np.diff(heights)
    usual = float(np.median(distances))
    if distances.min() < _SAME_MM:
        count = np.count_nonzero(distances < _SAME_MM)
        text = f"{count} of its slices lie where another one does"
        raise DataError(folder, f"{text}: several volumes or copies in one series")
    uneven = np.flatnonzero(np.abs(distances - usual) > _UNEVEN * usual)
    if uneven.size:
        i = int(uneven[0])
        raise DataError(
            folder,
            f"has a gap: slices {i + 1} and {i + 2} of {len(heights)} are "
            f"{distances[i]:.2f} mm apart, others {usual:.2f} mm; {uneven.size} such "
            "place(s): find the missing slices",
        )
    return float(np.mean(distances))
