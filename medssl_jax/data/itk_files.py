"""Files that SimpleITK reads, MetaImage and NRRD: a volume with its geometry, a mask.

Of a header only what places voxels is kept. What ITK says of a damaged file may quote
its text, and is not repeated.
"""

import math
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from medssl_jax.data.decoding import COPY, check_unpacked, decoding
from medssl_jax.data.volume import (
    Volume,
    check_affine,
    check_channels,
    check_spacing,
    native,
)
from medssl_jax.errors import DataError

_READERS = {
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
}
META, NRRD = (".mha", ".mhd"), (".nrrd", ".nhdr")
_DATA_FILE = re.compile(rb"(?m)^(?:ElementDataFile\s*=|data ?file:)[ \t]*(.*?)\s*$")
_DIRECTION = re.compile(rb"(?m)^(?:TransformMatrix|Rotation|Orientation)\s*=")
_LAST_LINE = re.compile(rb"(?m)^(?:ElementDataFile.*|\r?)$")  # voxels may follow
_LONGEST_HEADER = 2**16
_NOT_ONE = re.compile("(?i)LOCAL$|LIST|.*%|.* ")  # but a file for each slice
_TO_RAS = np.array([-1.0, -1.0, 1.0])  # ITK's patients are measured to L, P, S
_ONE = 1e-2  # of a direction's length


def load(path: Path, channels: int) -> Volume:
    """Read a file of one volume, its channels in its voxels or in a fourth axis.

    Raises:
      DataError: if the file is damaged, its data file missing, or it holds something
        else, or other channels, or its header has a senseless direction or spacing.
    """
    import SimpleITK as sitk  # not everybody has it

    with decoding(path, "MetaImage or NRRD file", quotes=False, mend=COPY):
        _check_data_files(path)
        reader = sitk.ImageFileReader()
        reader.SetGlobalWarningDisplay(False)  # ITK's would quote headers
        reader.SetImageIO(_READERS[path.suffix.lower()])
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        many = reader.GetNumberOfComponents()
        shape = *reader.GetSize(), *([many] if many > 1 else [])
        check_channels(shape, channels, path)
        check_spacing(np.array(reader.GetSpacing()), path)
        _check_direction(np.array(reader.GetDirection()), path)
        packed = sum(part.stat().st_size for part in parts(path))
        kind = sitk.Image([1, 1], reader.GetPixelID())
        size = math.prod(shape) * kind.GetSizeOfPixelComponent()
        check_unpacked(path, size, packed)
        image = reader.Execute()
        voxels = native(sitk.GetArrayFromImage(image))
        unsaid = _unsaid(path, image)
    axes = range(len(image.GetSize()))
    voxels = voxels.transpose(*axes[::-1], *range(len(axes), voxels.ndim))
    ndim = len(axes)
    direction = np.array(image.GetDirection()).reshape(ndim, ndim)[:3, :3]
    spacing_mm = image.GetSpacing()[:3]
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing_mm * _TO_RAS[:, np.newaxis]
    affine[:3, 3] = _TO_RAS * image.GetOrigin()[:3]
    check_affine(affine, path)
    placing = direction.ravel().tolist(), image.GetOrigin()[:3]
    voxels = voxels.reshape(*image.GetSize()[:3], channels)
    return Volume(voxels, affine, spacing_mm, unsaid, placing)


def save_mask(
    mask: UInt8[np.ndarray, "i j k *regions"], image: Volume, path: Path
) -> None:
    """Write a mask of 8 bits where its image lies, regions as parts of each voxel."""
    import SimpleITK as sitk

    array = mask.transpose(2, 1, 0, *range(3, mask.ndim))
    written = sitk.GetImageFromArray(array, isVector=mask.ndim > 3)
    direction, origin = image.header
    written.SetDirection(direction)
    written.SetOrigin(origin)
    written.SetSpacing(image.spacing_mm)
    sitk.WriteImage(written, str(path), useCompression=True)


def parts(path: Path) -> list[Path]:
    """Return a header and the data file that it names, as far as it is there."""
    return [path, *(data for data in _data_files(path) if data.is_file())]


def _check_data_files(path):
    if any(not data.is_file() for data in _data_files(path)):
        text = "names a data file that is not there"  # a header's text: not quoted
        line = "ElementDataFile" if path.suffix.lower() in META else "data file"
        raise DataError(path, f"{text}; put it there, or correct its line {line!r}")


def _data_files(path: Path) -> list[Path]:
    """Return the one data file that a header names; none of several, or of itself."""
    found = _DATA_FILE.search(_header(path)) if path.is_file() else None
    name = found[1].decode(errors="surrogateescape") if found else "LOCAL"
    return [] if _NOT_ONE.match(name) else [path.parent / name]


def _unsaid(path: Path, image) -> str:
    """Return what a file lacks to say how it is oriented; libraries make up the rest."""
    if path.suffix.lower() in NRRD:
        # libraries turn every space of patients to this one
        said = image.HasMetaDataKey("NRRD_space") and image.GetMetaData(
            "NRRD_space"
        ).startswith("left-posterior-superior")
        return "" if said else "it names no space of the patient"
    return "" if _DIRECTION.search(_header(path)) else "it has no TransformMatrix"


def _check_direction(direction, path):
    ndim = int(len(direction) ** 0.5)
    direction = direction.reshape(ndim, ndim)[:3, :3]
    lengths = np.linalg.norm(direction, axis=0)
    # a slanted one is that of a tilted gantry
    if not np.allclose(lengths, 1, atol=_ONE) or abs(np.linalg.det(direction)) < _ONE:
        text = "has directions in its header that no volume can have"
        raise DataError(path, f"{text}; mend it")


def _header(path: Path) -> bytes:
    with path.open("rb") as file:
        text = file.read(_LONGEST_HEADER)
    last = _LAST_LINE.search(text)
    return text[: last.end()] if last else text
