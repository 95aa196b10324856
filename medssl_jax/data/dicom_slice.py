"""One image of a DICOM file: its pixels, and of a slice where they lie."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels import pixel_array

from medssl_jax.data.dicom_pixels import (
    GREY,
    NEEDED,
    check_decoder,
    check_present,
    frames_of,
    opened,
    rescaled,
    stored,
)
from medssl_jax.errors import DataError

PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_OTHER_SOURCE = "radiographs are for the images source"


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


def slice_of(path: Path, header: Dataset) -> Slice:
    """Return the slice of an opened file.

    Raises:
      DataError: if it is compressed beyond what is installed, no greyscale image, or
        does not say where it lies.
    """
    check_present(path, header, NEEDED, "slice of a volume", _OTHER_SOURCE)
    check_present(path, header, PLACE, "slice of a volume", _OTHER_SOURCE)
    check_grey(path, header)
    pixels = rescaled(path, stored(path, header), header)
    return placed(path, pixels, *(header[field].value for field in PLACE))


def placed(
    path: Path,
    pixels: np.ndarray,
    position: Sequence[float],
    orientation: Sequence[float],
    spacing: Sequence[float],
) -> Slice:
    """Return a slice where the values of the fields `PLACE` put it.

    Raises:
      DataError: naming the file, if its directions are none.
    """
    # DICOM's first triple is the way of a row: of the index of columns
    directions = np.array(orientation, float).reshape(2, 3)[::-1]
    if not np.allclose(directions @ directions.T, np.eye(2), atol=1e-2):
        raise DataError(path, "its ImageOrientationPatient is no pair of directions")
    position = np.array(position, float).reshape(3)
    return Slice(pixels, position, directions, _spacing_mm(spacing))


def check_grey(path: Path, header: Dataset) -> None:
    """Refuse what is no greyscale image, or cannot be decoded.

    Raises:
      DataError: naming the file.
    """
    if header.SamplesPerPixel != 1:
        text = f"has {header.SamplesPerPixel} samples per pixel, not one"
        raise DataError(path, f"{text}; colour images are for the images source")
    if header.PhotometricInterpretation not in GREY:
        raise DataError(path, "has its colours in a palette: no slice of a volume")
    check_decoder(path, header)


def read_flat(path: Path, *, most_pixels: float) -> Flat:
    """Read one image that need not lie anywhere, like a radiograph.

    It is rescaled, MONOCHROME1 inverted; colours are read too.

    Raises:
      DataError: if the file is damaged, compressed beyond what is installed, holds
        several frames or more than `most_pixels`, or has its colours in a palette. Its
        text quotes no header.
    """
    with opened(path, ["PixelSpacing"]) as header:
        check_present(path, header, NEEDED, "image")
        if (frames := frames_of(header)) > 1:
            text = f"is a multi-frame file, of {frames} frames, and no single image"
            raise DataError(
                path,
                f"{text}; save those frames that are wanted as files of their own, or "
                "read it by the dicom source, if it is a volume",
            )
        if header.Rows * header.Columns > most_pixels:
            text = f"claims {header.Rows} x {header.Columns} pixels"
            raise DataError(path, f"{text}, more than {most_pixels:.0f}; reduce it")
        grey = header.SamplesPerPixel == 1
        if grey and header.PhotometricInterpretation not in GREY:
            raise DataError(path, "has its colours in a palette; convert it to PNG")
        check_decoder(path, header)
        if grey:
            pixels = rescaled(path, stored(path, header), header)
        else:
            pixels = pixel_array(header)
        spacing = header.get("PixelSpacing")
        return Flat(pixels, _spacing_mm(spacing) if spacing else None)


def _spacing_mm(spacing):
    between_rows, between_columns = map(float, spacing)
    return between_rows, between_columns
