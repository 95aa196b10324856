"""The pixels of one DICOM file, in the unit that its header says."""

import contextlib
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_file_meta_info
from pydicom.pixels import apply_modality_lut, get_decoder
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medssl_jax.data.decoding import check_unpacked, decoding
from medssl_jax.errors import DataError

# with what a caller names, all of a file that is parsed: nothing else can leak
_TAGS = [
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "HighBit",
    "ModalityLUTSequence",
    "NumberOfFrames",
    "PhotometricInterpretation",
    "PixelData",
    "PixelRepresentation",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "Rows",
    "SamplesPerPixel",
]
NEEDED = ("PixelData", "PhotometricInterpretation", "SamplesPerPixel")
GREY = ("MONOCHROME1", "MONOCHROME2")
_PREAMBLE = 128 + 4 + 12  # and the magic word, and the group's length itself
_AT_ONCE = 2**20  # bytes


@contextlib.contextmanager
def opened(path: Path, tags: Sequence[str]) -> Iterator[Dataset]:
    """Give the block a file's header: what pixels take, and `tags`.

    Raises:
      DataError: if the file is damaged, no DICOM, or something fails in the block; its
        text quotes no header.
    """
    with decoding(path, "DICOM file", quotes=False):
        try:
            check_deflated(path)
            header = pydicom.dcmread(path, specific_tags=[*_TAGS, *tags])
        except InvalidDicomError:
            raise DataError(path, "is not DICOM, though it is called so") from None
        with disable_value_validation():  # whose warnings quote what they find
            yield header


def check_deflated(path: Path) -> None:
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


def check_present(
    path: Path, header: Dataset, names: Sequence[str], kind: str, instead: str = ""
) -> None:
    """Refuse a file without what its `kind` needs; `instead` says what to do then.

    Raises:
      DataError: naming the file and what is missing.
    """
    missing = [name for name in names if header.get(name) in (None, "")]
    if missing:
        text = f"has no {', '.join(missing)}: no {kind}"
        raise DataError(path, f"{text}; {instead}" if instead else text)


def check_decoder(path: Path, header: Dataset) -> None:
    """Refuse a file that is compressed beyond what is installed.

    Raises:
      DataError: naming the file, its syntax and what to install.
    """
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        raise DataError(path, "has no TransferSyntaxUID: its pixels cannot be decoded")
    known = syntax.is_transfer_syntax and not syntax.is_private
    if known and not syntax.is_compressed:
        return
    try:
        decodable = known and get_decoder(syntax).is_available
    except NotImplementedError:
        raise DataError(
            path, f"is compressed ({syntax.name}), which is not supported; convert it"
        ) from None
    if not known:
        raise DataError(path, "has a transfer syntax that is not supported")
    if not decodable:
        raise DataError(
            path,
            f"is compressed ({syntax.name}) beyond what is installed; pip install "
            "-e '.[dicom]'",
        )


def frames_of(header: Dataset) -> int:
    return int(header.get("NumberOfFrames") or 1)


def stored(path: Path, header: Dataset) -> np.ndarray:
    """Return grey pixels as stored, (rows, columns), or (frames, ...) of several.

    MONOCHROME1, where white is lowest, is mirrored in the range of stored values.

    Raises:
      DataError: naming the file, if there are others than its header says.
    """
    frames = frames_of(header)
    claimed = frames * header.Rows * header.Columns * header.BitsAllocated // 8
    check_unpacked(path, claimed, path.stat().st_size)
    pixels = header.pixel_array
    shape = *((frames,) if frames > 1 else ()), header.Rows, header.Columns
    if pixels.shape != shape:
        text = f"has pixel data of {pixels.shape}, and its header says"
        raise DataError(path, f"{text} {' x '.join(map(str, shape))}")
    if header.PhotometricInterpretation != "MONOCHROME1":
        return pixels
    bits, signed = header.BitsStored, header.PixelRepresentation
    ends = -1 if signed else 2**bits - 1  # lowest + highest
    return ends - pixels.astype(np.int64)


def rescaled(path: Path, pixels: np.ndarray, scale: Dataset) -> np.ndarray:
    """Return float32 pixels in the unit that `scale`, a header, brings them to.

    Raises:
      DataError: naming the file, if that is senseless.
    """
    if not math.isfinite(slope := float(scale.get("RescaleSlope") or 0)) or (
        "RescaleSlope" in scale and slope == 0
    ):
        raise DataError(path, f"has a RescaleSlope of {slope:g}; mend it")
    return apply_modality_lut(pixels, scale).astype(np.float32)
