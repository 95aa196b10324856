"""One DICOM file: its pixels, and of a slice where they lie."""

import math
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, get_decoder, pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medssl_jax.data.decoding import check_unpacked, decoding
from medssl_jax.errors import DataError

# nothing else of a file is parsed, so nothing else can leak
_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
]
_PIXELS = ("PixelData", "PhotometricInterpretation", "SamplesPerPixel")
_PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_PREAMBLE = 128 + 4 + 12  # and the magic word, and the group's length itself
_AT_ONCE = 2**20  # bytes
_GREY = ("MONOCHROME1", "MONOCHROME2")


class Slice(NamedTuple):
    """Pixels (rows, columns) float32, rescaled; geometry in mm, towards left,
    posterior, superior."""

    pixels: np.ndarray
    position: np.ndarray  # (3,) centre of the first pixel
    directions: np.ndarray  # (2, 3) of rows of increasing index, then of columns
    spacing_mm: tuple[float, float]  # between rows, between columns


class Flat(NamedTuple):
    """Pixels (rows, columns) float32, rescaled, or (rows, columns, 3) of colours."""

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None  # between rows, between columns


def read_slice(path: Path) -> Slice:
    """Read one slice of a series, rescaled (HU for CT), MONOCHROME1 inverted.

    Raises:
      DataError: if the file is damaged, compressed beyond what is installed, no single
        greyscale frame, or does not say where it lies. Its text quotes no header.
    """
    return _reading(_slice, path)


def read_flat(path: Path, *, most_pixels: float) -> Flat:
    """Read one image that need not lie anywhere, like a radiograph; as `read_slice`.

    Raises:
      DataError: as `read_slice`, but colours are read; if the image has more than
        `most_pixels`, or its colours are in a palette.
    """
    return _reading(_flat, path, most_pixels)


def _reading(read, path, *args):
    with decoding(path, "DICOM file", quotes=False):
        try:
            check_deflated(path)
            header = pydicom.dcmread(path, specific_tags=_TAGS)
        except InvalidDicomError:
            raise DataError(path, "is not DICOM, though it is called so") from None
        return read(path, header, *args)


def check_deflated(path):
    """Refuse a deflated file that would take all memory: pydicom inflates it at once.

    Raises:
      DataError: naming the file. What pydicom raises on a damaged one passes.
    """
    meta = read_file_meta_info(path)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    unpacked, inflate = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    with path.open("rb") as file:
        file.seek(_PREAMBLE + meta.FileMetaInformationGroupLength)
        while data := inflate.unconsumed_tail or file.read(_AT_ONCE):
            unpacked += len(inflate.decompress(data, _AT_ONCE))
            check_unpacked(path, unpacked, path.stat().st_size)


def _slice(path, header):
    _check_present(path, header, (*_PIXELS, *_PLACE), "slice of a volume")
    _check_single(path, header)
    if header.SamplesPerPixel != 1:
        text = f"has {header.SamplesPerPixel} samples per pixel, not one"
        raise DataError(path, f"{text}; colour images are for the images source")
    if header.PhotometricInterpretation not in _GREY:
        raise DataError(path, "has its colours in a palette: no slice of a volume")
    _check_decoder(path, header)
    position = np.array(header.ImagePositionPatient, float).reshape(3)
    # DICOM's first triple is the way of a row: of the index of columns
    directions = np.array(header.ImageOrientationPatient, float).reshape(2, 3)[::-1]
    if not np.allclose(directions @ directions.T, np.eye(2), atol=1e-2):
        raise DataError(path, "its ImageOrientationPatient is no pair of directions")
    return Slice(_rescaled(path, header), position, directions, _spacing_mm(header))


def _flat(path, header, most_pixels):
    _check_present(path, header, _PIXELS, "image")
    _check_single(path, header)
    if header.Rows * header.Columns > most_pixels:
        text = f"claims {header.Rows} x {header.Columns} pixels"
        raise DataError(path, f"{text}, more than {most_pixels:.0f}; reduce it")
    grey = header.SamplesPerPixel == 1
    if grey and header.PhotometricInterpretation not in _GREY:
        raise DataError(path, "has its colours in a palette; convert it to PNG")
    _check_decoder(path, header)
    pixels = _rescaled(path, header) if grey else pixel_array(header)
    return Flat(pixels, _spacing_mm(header) if header.get("PixelSpacing") else None)


def _check_present(path, header, names, kind):
    missing = [name for name in names if header.get(name) in (None, "")]
    if missing:
        text = f"has no {', '.join(missing)}: no {kind}"
        hint = "" if kind == "image" else "; radiographs are for the images source"
        raise DataError(path, text + hint)


def _check_single(path, header):
    if int(header.get("NumberOfFrames") or 1) > 1:
        text = "is a multi-frame file, which is not supported"
        raise DataError(path, f"{text}; convert it (dcm2niix) to use the nifti source")


def _spacing_mm(header):
    between_rows, between_columns = map(float, header.PixelSpacing)
    return between_rows, between_columns


def _check_decoder(path, header):
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DataError(path, "has no TransferSyntaxUID: its pixels cannot be decoded")
    known = syntax.is_transfer_syntax and not syntax.is_private
    if known and not syntax.is_compressed:
        return
    try:
        decodable = known and get_decoder(syntax).is_available
    except NotImplementedError:
        known = False
    if not known:
        raise DataError(path, "has a transfer syntax that is not supported")
    if not decodable:
        raise DataError(
            path,
            f"is compressed ({syntax.name}) beyond what is installed; pip install "
            "'medssl_jax[dicom]'",
        )


def _rescaled(path, header):
    if not math.isfinite(slope := float(header.get("RescaleSlope") or 0)) or (
        "RescaleSlope" in header and slope == 0
    ):
        raise DataError(path, f"has a RescaleSlope of {slope:g}; mend it")
    claimed = header.Rows * header.Columns * header.BitsAllocated // 8
    check_unpacked(path, claimed, path.stat().st_size)
    stored = header.pixel_array
    if stored.shape != (header.Rows, header.Columns):
        text = f"has pixel data of {stored.shape}, and its header says"
        raise DataError(path, f"{text} {header.Rows} x {header.Columns}")
    if header.PhotometricInterpretation == "MONOCHROME1":
        # white is lowest: mirror the range of stored values
        bits, signed = header.BitsStored, header.PixelRepresentation
        ends = -1 if signed else 2**bits - 1  # lowest + highest
        stored = ends - stored.astype(np.int64)
    return apply_modality_lut(stored, header).astype(np.float32)
