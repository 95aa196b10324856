"""Volumes in a tree of NIfTI files, brought to one orientation."""

import gzip
import io
import zlib
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError, ImageDataError
from nibabel.wrapstruct import WrapStructError

from medssl_jax.data import tree
from medssl_jax.data.host import check
from medssl_jax.data.orient import ACQUIRED, check_orientation, orient
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples
from medssl_jax.errors import DataError

_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
_DAMAGED = (
    OSError,
    EOFError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    ImageDataError,
    WrapStructError,
    ValueError,
    OverflowError,
    MemoryError,  # a damaged header asks for any size
)


def nifti(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    orientation: str = "SPL",
) -> Examples:
    """Read every .nii and .nii.gz below `root` as a volume of one channel.

    Args:
      labels: CSV `path,label,patient`, or empty (`table.examples`).
      unlisted: what becomes of files without a row, "raise" or "drop".
      orientation: where slices, rows and columns run to: "SPL" are axial slices
        upwards, rows to the back, columns to the left; "acquired" leaves the order on
        disk, its slowest axis first.

    Raises:
      ConfigError: if the orientation is not known.
      DataError: if root or table cannot be used; on reading, if a file is damaged, no
        single volume, holds NaN, infinities or one value only, or does not say how it
        is oriented.
    """
    check_orientation(orientation)
    names = tree.files(root, (".nii", ".nii.gz"), holds="*.nii or *.nii.gz")
    read = _Read(root, orientation)
    return examples(names, read, read.stamp, labels=labels, unlisted=unlisted)


@dataclass(frozen=True)
class _Read:
    root: str
    orientation: str

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        volume, header = _load(path)
        spacing_mm = _spacing_mm(path, header)
        volume, spacing_mm = orient(
            # the file's first index runs fastest, an array's last one does
            volume.transpose(),
            _affine(path, header, self.orientation)[:, [2, 1, 0, 3]],
            spacing_mm[::-1],
            self.orientation,
        )
        record = {"image": volume[..., np.newaxis], "spacing_mm": spacing_mm}
        return check(record, str(path))

    def stamp(self, name: str) -> str:
        return f"nifti {self.orientation} {tree.stamp(Path(self.root) / name)}"


def _load(path):
    try:
        packed = path.read_bytes()
        # all of it at once: gzip's checksum stands at the end
        data = gzip.decompress(packed) if packed[:2] == b"\x1f\x8b" else packed
        kind = nib.Nifti2Image if b"n+2" == data[4:7] else nib.Nifti1Image
        image = kind.from_stream(io.BytesIO(data))
        if image.get_data_dtype().kind not in "iuf":
            text = f"holds {image.get_data_dtype()} voxels"
            raise DataError(path, f"{text}, not one real number each")
        shape = image.shape
        if len(shape) < 3 or any(n != 1 for n in shape[3:]):
            text = f"is {len(shape)}D {shape}, not one 3D volume"
            raise DataError(path, f"{text}; write one file for each volume")
        stored = kind.header_class(data[: kind.header_class.sizeof_hdr], check=False)
        if not np.all(stored["pixdim"][1:4]):  # nibabel would make it 1
            raise DataError(path, "has a voxel spacing of 0 in its header; mend it")
        with np.errstate(over="ignore"):  # infinities are found later
            volume = _native(np.asanyarray(image.dataobj))
        return volume.reshape(shape[:3]), image.header
    except _DAMAGED as error:
        raise DataError(path, f"is no readable NIfTI file ({error})") from error


def _native(volume):
    if volume.dtype.kind == "f":
        return volume.astype(np.float32)
    return volume.astype(volume.dtype.newbyteorder("="), copy=False)


def _spacing_mm(path, header):
    try:
        unit_mm = _MM[header.get_xyzt_units()[0]]
    except KeyError:
        raise DataError(path, "has an unknown unit in its header; mend it") from None
    return tuple(float(size) * unit_mm for size in header.get_zooms()[:3])


def _affine(path, header, orientation):
    if orientation != ACQUIRED and not (header["qform_code"] or header["sform_code"]):
        raise DataError(
            path,
            "does not say how it is oriented (qform_code and sform_code are 0); mend "
            f"its header, or set data.orientation to {ACQUIRED!r}",
        )
    affine = header.get_best_affine()
    finite = np.all(np.isfinite(affine))
    if not finite or np.isnan(nib.orientations.io_orientation(affine)).any():
        raise DataError(path, "has a senseless affine in its header; mend it")
    return affine
