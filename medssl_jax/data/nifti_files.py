"""Single NIfTI files: a volume with its geometry, and a mask written on its grid."""

import gzip
import io
import math
from pathlib import Path

import nibabel as nib
import numpy as np
from jaxtyping import UInt8

from medssl_jax.data.decoding import check_unpacked, decoding
from medssl_jax.data.masks import stem
from medssl_jax.data.volume import (
    Volume,
    check_affine,
    check_channels,
    check_real,
    check_spacing,
    native,
)
from medssl_jax.data.volume_files import Format
from medssl_jax.errors import DataError

_LARGEST_HEADER = 540
_BEHIND = 100  # a hundredth after the last voxel may be what some program left
_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1e3, "micron": 1e-3}
# all that says where voxels lie; texts and names stay behind
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)


def load(path: Path, channels: int = 1) -> Volume:
    """Read a file of one volume, its channels in a fourth axis if there are several.

    Raises:
      DataError: if the file is damaged, holds something else, or other channels, or its
        header has a senseless affine or spacing, or a unit that is none of length.
    """
    with decoding(path, "NIfTI file"):
        data = _unpacked(path)
        kind = _kind(data)
        image = kind.from_stream(io.BytesIO(data))
        check_real(image.get_data_dtype(), path)
        check_channels(image.shape, channels, path)
        stored = kind.header_class(data[: kind.header_class.sizeof_hdr], check=False)
        return placed(image, stored, channels, path)


def placed(
    image: nib.Nifti1Pair, stored: nib.Nifti1Header, channels: int, path: Path
) -> Volume:
    """Return an opened image's voxels where its header places them.

    `stored` is its header as the file has it, which nibabel may have mended.

    Raises:
      DataError: naming the file, if that is nowhere.
    """
    check_spacing(stored["pixdim"][1:4], path)
    header = image.header
    with np.errstate(over="ignore"):  # infinities are found later
        voxels = native(np.asanyarray(image.dataobj))
    spacing_mm = _spacing_mm(header, path)
    affine = header.get_best_affine()
    check_affine(affine, path)
    said = header["qform_code"] or header["sform_code"]
    unsaid = "" if said else "qform_code and sform_code are 0"
    voxels = voxels.reshape(*image.shape[:3], channels)
    return Volume(voxels, affine, spacing_mm, unsaid, header)


def save_mask(
    mask: UInt8[np.ndarray, "i j k *regions"], image: Volume, path: Path
) -> None:
    """Write a mask of 8 bits where its image lies, regions as a fourth axis."""
    second = isinstance(image.header, nib.Nifti2Header)
    save_as(nib.Nifti2Image if second else nib.Nifti1Image, mask, image.header, path)


def save_as(
    kind: type[nib.Nifti1Pair],
    mask: UInt8[np.ndarray, "i j k *regions"],
    placing: nib.Nifti1Header,
    path: Path,
) -> None:
    """Write a mask as a kind of NIfTI, placed by another header."""
    header = kind.header_class()
    for field in _GEOMETRY:
        header[field] = placing[field]
    header.set_data_dtype(np.uint8)
    affine = header.get_best_affine()  # its own, so that nothing is written over it
    nib.save(kind(mask, affine, header), path)


def _kind(data: bytes) -> type[nib.Nifti1Image]:
    return nib.Nifti2Image if data[4:7] == b"n+2" else nib.Nifti1Image


def _spacing_mm(header: nib.Nifti1Header, path: Path) -> tuple[float, ...]:
    try:
        unit_mm = _MM[header.get_xyzt_units()[0]]
    except KeyError:
        raise DataError(path, "has an unknown unit in its header; mend it") from None
    return tuple(float(size) * unit_mm for size in header.get_zooms()[:3])


def _unpacked(path: Path) -> bytes:
    """Return the file's bytes, as many as its header says that there are.

    Raises:
      DataError: if there are others, or it claims more than a file of its size can hold.
    """
    packed = path.stat().st_size
    with path.open("rb") as file:
        gzipped = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        if gzipped:
            file = gzip.GzipFile(fileobj=file)
        head = file.read(_LARGEST_HEADER)
        header = _kind(head).header_class(head[: _kind(head).header_class.sizeof_hdr])
        offset = int(header["vox_offset"])
        if offset < header.single_vox_offset:
            raise DataError(path, f"has voxels at byte {offset}, within its header")
        voxels = math.prod(map(int, header.get_data_shape()))
        size = offset + voxels * int(header["bitpix"]) // 8
        check_unpacked(path, size, packed)
        most = size + size // _BEHIND
        # to the end, where gzip's checksum stands, and no further than it should be
        data = head + file.read(max(most - len(head), 0))
        if file.read(1) or len(data) > most:
            shape = header.get_data_shape()
            text = (
                f"has more voxels than its header's {shape} {header.get_data_dtype()}"
            )
            raise DataError(path, text)
    return data


def _mask_name(name: str) -> str:
    return f"{stem(name)}.nii.gz"


def _parts(path: Path) -> list[Path]:
    return [path]


NIFTI = Format(
    "nifti",
    (".nii", ".nii.gz"),
    holds="*.nii or *.nii.gz",
    load=load,
    save_mask=save_mask,
    mask_name=_mask_name,
    parts=_parts,
)
