"""How far apart the surfaces of two masks are, in mm.

A surface is the voxels of a mask that have a neighbour outside it along an axis;
outside the array is outside the mask. Distances are between centres of voxels.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool
from scipy import ndimage

Mask = Bool[np.ndarray, "*s"]

_ROUNDING = 1e-6  # files keep spacings in float32: five voxels of .8 mm exceed 4 mm


def hd95(truth: Mask, prediction: Mask, spacing_mm: Sequence[float]) -> float:
    """Return the 95th percentile of the distances from one surface to the other.

    The larger of the two directions, in mm. NaN where both masks are empty, infinite
    where one is.

    Source: as MONAI has it; medpy's, one percentile of both directions together, is
    smaller.
    """
    return hd95_and_nsd(truth, prediction, spacing_mm, 0.0)[0]


def nsd(
    truth: Mask, prediction: Mask, spacing_mm: Sequence[float], tolerance_mm: float
) -> float:
    """Return the share of both surfaces' voxels within the tolerance of the other.

    NaN where both masks are empty, 0 where one is.

    Source: normalised surface Dice, arXiv:1809.04430; every voxel of a surface weighs
    the same, as in MONAI.
    """
    return hd95_and_nsd(truth, prediction, spacing_mm, tolerance_mm)[1]


def hd95_and_nsd(
    truth: Mask, prediction: Mask, spacing_mm: Sequence[float], tolerance_mm: float
) -> tuple[float, float]:
    """Return both from the same distances, which are what takes the time."""
    empty = not truth.any(), not prediction.any()
    if all(empty):
        return float("nan"), float("nan")
    if any(empty):
        return float("inf"), 0.0
    there, back = _distances_mm(truth, prediction, spacing_mm)
    within = np.concatenate([there, back]) <= tolerance_mm * (1 + _ROUNDING)
    farther = max(np.percentile(there, 95), np.percentile(back, 95))
    return float(farther), float(within.mean())


def _distances_mm(truth, prediction, spacing_mm):
    """Measure from each voxel of either surface to the other surface."""
    # all that lies between two surfaces is in the box of both: volumes are large,
    # structures small
    (box,) = ndimage.find_objects((truth | prediction).view(np.int8))
    ours, theirs = (
        mask[box] ^ ndimage.binary_erosion(mask[box]) for mask in (truth, prediction)
    )
    to_ours, to_theirs = (
        ndimage.distance_transform_edt(~surface, sampling=spacing_mm)
        for surface in (ours, theirs)
    )
    return to_theirs[ours], to_ours[theirs]
