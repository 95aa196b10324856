"""Another voxel spacing."""

import numpy as np
from scipy import ndimage

_SAME = 1e-3  # headers round: 0.666667 is 2/3


def resample(
    image: np.ndarray,
    spacing_mm: tuple[float, ...],
    new_spacing_mm: tuple[float | None, ...],
) -> np.ndarray:
    """Interpolate (*s, c) linearly to another voxel spacing, None for an axis to leave.

    An axis of n voxels gets round(n * old / new), at least one, exactly `new` apart,
    about the same centre: the field of view stays to half a new voxel a side, where
    the nearest voxel is repeated. Where voxels grow, a Gaussian of (new / old - 1) / 2
    voxels, scikit-image's rule for resizing, goes first, against aliasing.

    Returns:
      float32, or uint8 rounded where the image is uint8; the image where nothing
      changes.
    """
    grid = _grid(image.shape[:-1], spacing_mm, new_spacing_mm)
    if grid is None:
        return image
    steps, first, shape = (
        np.append(values, last)
        for values, last in zip(grid, (1.0, 0.0, image.shape[-1]), strict=True)
    )
    smooth = ndimage.gaussian_filter(
        image.astype(np.float32), np.maximum(0, (steps - 1) / 2), mode="nearest"
    )
    resampled = ndimage.affine_transform(
        smooth, steps, first, tuple(int(n) for n in shape), order=1, mode="nearest"
    )
    if image.dtype == np.uint8:
        return np.rint(resampled).astype(np.uint8)
    return resampled


def resample_nearest(
    mask: np.ndarray,
    spacing_mm: tuple[float, ...],
    new_spacing_mm: tuple[float | None, ...],
) -> np.ndarray:
    """Bring a mask, (*s,) or (*s, k), to the grid of `resample` by nearest voxels."""
    ndim = len(spacing_mm)
    grid = _grid(mask.shape[:ndim], spacing_mm, new_spacing_mm)
    if grid is None:
        return mask
    for axis, (step, first, n) in enumerate(zip(*grid, strict=True)):
        places = np.floor(first + step * np.arange(int(n)) + 0.5).astype(int)
        mask = mask.take(np.clip(places, 0, mask.shape[axis] - 1), axis)
    return mask


def places(
    shape: tuple[int, ...],
    spacing_mm: tuple[float, ...],
    new_spacing_mm: tuple[float | None, ...],
) -> list[np.ndarray]:
    """Return where voxels of (*s,) lie in the grid of `resample`, in its voxels.

    One rising array for each axis: the first and the last may lie outside.
    """
    grid = _grid(shape, spacing_mm, new_spacing_mm)
    if grid is None:
        return [np.arange(n, dtype=float) for n in shape]
    return [
        (np.arange(n) - first) / step
        for n, step, first in zip(shape, *grid[:2], strict=True)
    ]


def _grid(old_shape, spacing_mm, new_spacing_mm):
    """Return steps, first positions and sizes in old voxels; None: nothing changes."""
    pairs = zip(spacing_mm, new_spacing_mm, strict=True)
    steps = np.array([1.0 if new is None else new / old for old, new in pairs])
    steps[np.abs(steps - 1) < _SAME] = 1.0
    if np.all(steps == 1):
        return None
    old_shape = np.array(old_shape)
    shape = np.maximum(1, np.rint(old_shape / steps)).astype(int)
    return steps, (old_shape - 1) / 2 - (shape - 1) / 2 * steps, shape
