"""One orientation for all volumes."""

import nibabel as nib
import numpy as np

from medssl_jax.errors import ConfigError

ACQUIRED = "acquired"


def check_orientation(orientation: str) -> None:
    """Refuse what is neither "acquired" nor one letter of each pair LR, AP, IS.

    Raises:
      ConfigError: naming the field.
    """
    axes = sorted("LAI"["LRAPIS".find(letter) // 2] for letter in orientation)
    known = set(orientation) <= set("LRAPIS") and axes == ["A", "I", "L"]
    if orientation != ACQUIRED and not known:
        raise ConfigError(
            f"data.orientation {orientation!r} is not known; use three letters for "
            "where slices, rows and columns run to, like 'SPL' (axial slices upwards, "
            f"rows to the back, columns to the left), or {ACQUIRED!r}"
        )


def orient(
    volume: np.ndarray,
    affine: np.ndarray,
    spacing_mm: tuple[float, ...],
    orientation: str,
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Permute and flip axes until they run to the letters of `orientation`.

    Args:
      volume: (slices, rows, columns) in any order of axes; further axes stay.
      affine: (4, 4), voxel index to mm towards right, anterior, superior.
      spacing_mm: of the volume's axes.
      orientation: as `check_orientation`; "acquired" changes nothing. An oblique
        volume comes to the nearest orientation: nothing is interpolated.

    Returns:
      The volume, contiguous, with its spacing.
    """
    if orientation == ACQUIRED:
        return np.ascontiguousarray(volume), spacing_mm
    change = nib.orientations.ornt_transform(
        nib.orientations.io_orientation(affine),
        nib.orientations.axcodes2ornt(tuple(orientation)),
    )
    oriented = nib.orientations.apply_orientation(volume, change)
    by_axis = dict(zip(change[:, 0].astype(int), spacing_mm, strict=True))
    return np.ascontiguousarray(oriented), tuple(by_axis[axis] for axis in range(3))


def restore(volume: np.ndarray, affine: np.ndarray, orientation: str) -> np.ndarray:
    """Undo `orient`: return the volume with the axes that `affine` is of."""
    if orientation == ACQUIRED:
        return volume
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt(tuple(orientation)),
        nib.orientations.io_orientation(affine),
    )
    return nib.orientations.apply_orientation(volume, change)
