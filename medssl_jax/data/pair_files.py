"""Volumes in pairs of files, .hdr with .img: Analyze 7.5, SPM's, and NIfTI's.

Read by nibabel, not by SimpleITK, which fills up a truncated .img with zeros, and can
write no Analyze.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import UInt8

from medssl_jax.data.decoding import COPY, decoding
from medssl_jax.data.nifti_files import placed, save_as
from medssl_jax.data.volume import (
    Volume,
    check_channels,
    check_real,
    check_spacing,
    native,
)
from medssl_jax.errors import DataError

_UNSAID = "Analyze does not"
_SIZES = slice(1, 4)  # of pixdim


def load_pair(path: Path, channels: int) -> Volume:
    """Read the volume of a .hdr; as `nifti_files.load`.

    Raises:
      DataError: as there; if its .img is missing.
    """
    if not _data(path):
        text = "has no .img beside it, where its voxels are"
        raise DataError(path, f"{text}; put it there, under the same name")
    with decoding(path, "Analyze or NIfTI pair", quotes=False, mend=COPY):
        image = nib.load(path, mmap=False)
        if not isinstance(image, nib.AnalyzeImage | nib.Nifti1Pair):
            raise DataError(path, "is neither Analyze nor NIfTI; convert it")
        check_real(image.get_data_dtype(), path)
        check_channels(image.shape, channels, path)
        kind = type(image.header)
        stored = kind(path.read_bytes()[: kind.sizeof_hdr], check=False)
        if isinstance(image, nib.Nifti1Pair):
            return placed(image, stored, channels, path)
        check_spacing(stored["pixdim"][_SIZES], path)
        with np.errstate(over="ignore"):
            voxels = native(np.asanyarray(image.dataobj))
    spacing_mm = tuple(float(side) for side in image.header.get_zooms()[:3])
    voxels = voxels.reshape(*image.shape[:3], channels)
    affine = np.diag([*spacing_mm, 1.0])
    return Volume(voxels, affine, spacing_mm, _UNSAID, image.header)


def save_pair_mask(
    mask: UInt8[np.ndarray, "i j k *regions"], image: Volume, path: Path
) -> None:
    """Write a mask of 8 bits as its image is: NIfTI's, or Analyze, which says no place."""
    if isinstance(image.header, nib.Nifti1Header):
        save_as(nib.Nifti1Pair, mask, image.header, path)
        return
    header = nib.AnalyzeHeader()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(mask.shape)
    header.set_zooms([*image.spacing_mm, *[1.0] * (mask.ndim - 3)])
    nib.save(nib.AnalyzeImage(mask, None, header), path)


def pair_parts(path: Path) -> list[Path]:
    """Return a .hdr and its .img, as far as it is there."""
    return [path, *_data(path)]


def _data(path: Path) -> list[Path]:
    found = [path.with_suffix(suffix) for suffix in (".img", ".IMG")]
    return [data for data in found if data.is_file()][:1]
