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
    pairs = zip(spacing_mm, new_spacing_mm, strict=True)
    steps = np.array([1.0 if new is None else new / old for old, new in pairs] + [1.0])
    steps[np.abs(steps - 1) < _SAME] = 1.0
    if np.all(steps == 1):
        return image
    old_shape = np.array(image.shape)
    shape = np.maximum(1, np.rint(old_shape / steps)).astype(int)
    smooth = ndimage.gaussian_filter(
        image.astype(np.float32), np.maximum(0, (steps - 1) / 2), mode="nearest"
    )
    first = (old_shape - 1) / 2 - (shape - 1) / 2 * steps
    resampled = ndimage.affine_transform(
        smooth, steps, first, tuple(int(n) for n in shape), order=1, mode="nearest"
    )
    if image.dtype == np.uint8:
        return np.rint(resampled).astype(np.uint8)
    return resampled
