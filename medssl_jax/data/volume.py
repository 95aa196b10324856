"""A volume as its file has it: voxels, where they lie, and a mask on the same grid."""

import math
from pathlib import Path
from typing import Any, NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped

from medssl_jax.data.orient import ACQUIRED
from medssl_jax.errors import DataError

# of the smallest side of a voxel, anywhere in the volume: headers are float32, and some
# programs round them
_TOLERANCE = 0.1


class Volume(NamedTuple):
    """A file's voxels, its first index first, and their geometry.

    affine: voxel index to the file's unit towards right, anterior, superior.
    spacing_mm: the voxel's sides.
    unsaid: what the file lacks to say how it is oriented; "" if it says so, else
      `affine` is a guess.
    header: what its format writes a mask of it with.
    """

    voxels: Shaped[np.ndarray, "i j k c"]
    affine: Float[np.ndarray, "4 4"]
    spacing_mm: tuple[float, float, float]
    unsaid: str
    header: Any

    def check_oriented(self, path: Path, orientation: str) -> None:
        """Refuse a file that does not say what `orientation` needs.

        Raises:
          DataError: naming the file.
        """
        if self.unsaid and orientation != ACQUIRED:
            raise DataError(
                path,
                f"does not say how it is oriented ({self.unsaid}); "
                f"mend its header, or set data.orientation to {ACQUIRED!r}",
            )


def check_real(dtype: np.dtype, path: Path) -> None:
    """Refuse voxels that are no real numbers.

    Raises:
      DataError: naming the file.
    """
    if dtype.kind not in "iuf":
        raise DataError(path, f"holds {dtype} voxels, not one real number each")


def check_channels(shape: tuple[int, ...], channels: int, path: Path) -> None:
    """Refuse what is no volume of as many channels, which follow its three axes.

    Raises:
      DataError: naming the file.
    """
    count = math.prod(shape[3:])
    if len(shape) < 3 or sum(n != 1 for n in shape[3:]) > 1 or channels == 1 != count:
        text = f"is {len(shape)}D {shape}, not one 3D volume"
        advice = "write one file for each volume"
        if len(shape) > 3:
            advice += f", or set data.channels if it has {count} channels"
        raise DataError(path, f"{text}; {advice}")
    if count != channels:
        text = f"has {count} channel(s), and {channels} are asked for"
        raise DataError(path, f"{text}; every case needs the same")


def check_spacing(sides: np.ndarray, path: Path) -> None:
    """Refuse a side of 0, which libraries make 1 or stumble over.

    Raises:
      DataError: naming the file.
    """
    if not np.all(sides):
        raise DataError(path, "has a voxel spacing of 0 in its header; mend it")


def check_affine(affine: np.ndarray, path: Path) -> None:
    """Refuse an affine that no volume can have.

    Raises:
      DataError: naming the file.
    """
    finite = np.all(np.isfinite(affine))
    if not finite or np.isnan(nib.orientations.io_orientation(affine)).any():
        raise DataError(path, "has a senseless affine in its header; mend it")


def native(voxels: np.ndarray) -> np.ndarray:
    """Return voxels in this machine's byte order, fractions as float32."""
    if voxels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinities are found later
            return voxels.astype(np.float32)
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def check_grid(mask: Volume, image: Volume, path: Path, image_path: Path) -> None:
    """Compare the corners' places; of files that say none, those from their spacing.

    Raises:
      DataError: naming the mask's file, if orientation, spacing or position are not the
        image's, within a tenth of the smallest side of a voxel at every corner.
    """
    affine, wanted = mask.affine, image.affine
    if mask.unsaid or image.unsaid:
        affine, wanted = (np.diag([*v.spacing_mm, 1.0]) for v in (mask, image))
    corners = [[n - 1, 0] for n in image.voxels.shape[:3]]
    corners = np.stack([*map(np.ravel, np.meshgrid(*corners)), np.ones(8)])
    off = np.linalg.norm(((affine - wanted) @ corners)[:3], axis=0).max()
    side = np.linalg.norm(wanted[:3, :3], axis=0).min()
    if off <= _TOLERANCE * side:
        return
    turned, expected = (nib.aff2axcodes(a) for a in (affine, wanted))
    spacing_mm, wanted_mm = mask.spacing_mm, image.spacing_mm
    if turned != expected:
        reason = f"its axes run to {''.join(turned)}, those of its image to "
        reason += "".join(expected)
    elif not np.allclose(spacing_mm, wanted_mm, rtol=1e-3):
        reason = f"its spacing is {_mm(spacing_mm)}, that of its image {_mm(wanted_mm)}"
    else:
        reason = f"it lies up to {off / side:.2g} voxels away from it"
    raise DataError(path, f"is not on the grid of {image_path.name}: {reason}")


def _mm(spacing_mm):
    return " x ".join(f"{side:.4g}" for side in spacing_mm) + " mm"
