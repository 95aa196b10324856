"""Masks of DICOM series as DICOM SEG, which viewers lay over the series.

Nowhere else is text of a header copied: as the standard asks, a SEG says whose it is by
the patient and study attributes of its own series, `_OWNER`. They go from the series to
its SEG, and into no log, report or error.
"""

import contextlib
import importlib.metadata
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pydicom
from jaxtyping import Bool, UInt8
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.valuerep import DSfloat

from medssl_jax import files
from medssl_jax.data.decoding import decoding
from medssl_jax.data.dicom_pixels import check_present
from medssl_jax.data.extras import require
from medssl_jax.errors import DataError

NOTE = (
    "they are DICOM SEG, each with the patient and study of its series copied from "
    "there, as the standard asks: keep them where the scans are kept"
)
# of the modules Patient and General Study, what the standard asks for
_OWNER = {
    "PatientName": "PN",
    "PatientID": "LO",
    "IssuerOfPatientID": "LO",
    "PatientBirthDate": "DA",
    "PatientSex": "CS",
    "PatientIdentityRemoved": "CS",
    "DeidentificationMethod": "LO",
    "StudyDate": "DA",
    "StudyTime": "TM",
    "StudyID": "SH",
    "AccessionNumber": "SH",
    "ReferringPhysicianName": "PN",
}
_OPTIONAL = ("IssuerOfPatientID", "PatientIdentityRemoved", "DeidentificationMethod")
_REFERRED = (
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "FrameOfReferenceUID",
)
_SHARED, _PER_FRAME = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_ONCE = ("PlaneOrientationSequence", "PixelMeasuresSequence")
_SAME = ("ImageOrientationPatient", "PixelSpacing")
_PLACED = (
    *("Rows", "Columns", "NumberOfFrames", "ImagePositionPatient", *_SAME),
    *("SliceThickness", "SpacingBetweenSlices", "PositionReferenceIndicator"),
    *("LossyImageCompression", "LossyImageCompressionRatio"),
    *("LossyImageCompressionMethod", _SHARED, _PER_FRAME),
)
_SERIES_NUMBER = 9000  # behind those of a scanner
_UTF_8 = "ISO_IR 192"  # whatever characters the series has
_LONGEST_LABEL = 64  # characters, which some take for bytes
# Okabe and Ito's colours, as `report.figures` has them, in CIELab
_COLOURS = (
    *((46, -3, -41), (54, 43, 63), (58, -46, 13)),
    *((61, 39, -11), (70, -12, -35), (71, 16, 75)),
)


def save_seg(
    mask: UInt8[np.ndarray, "n r c *regions"] | Bool[np.ndarray, "n r c *regions"],
    sources: Sequence[Path],
    path: Path,
    names: Sequence[str],
    *,
    between_mm: float,
    about: str,
) -> None:
    """Write a mask as a binary SEG: a segment of each class but 0, or of each region.

    Its frames lie where those of the series lie, and refer to them; those in which
    nothing was found are left out.

    Args:
      mask: in the order of the frames of `sources`: the files of a series, or one
        enhanced file.
      names: of the segments; those beyond are numbered.
      between_mm: from slice to slice, which stands for a thickness that is not said.
      about: names the series in errors.

    Raises:
      ConfigError: if highdicom is not installed.
      DataError: if the series lacks what a SEG refers to it by.
    """
    require("highdicom", "dicom", "masks of DICOM series are written as DICOM SEG")
    import highdicom  # not everybody has it

    headers = [_header(path) for path in sources]
    if len({header.FrameOfReferenceUID for header in headers}) > 1:
        text = "its files have several FrameOfReferenceUIDs, and no SEG can lie on all"
        raise DataError(about, f"{text}; find out which is wrong")
    regions = mask.ndim > 3
    count = mask.shape[-1] if regions else max(int(mask.max()), len(names))
    with (
        decoding(about, "source of a DICOM SEG", quotes=False),
        disable_value_validation(),  # of what is there already
        _silent("highdicom"),
    ):
        owner = _parted(headers, between_mm)
        segmentation = highdicom.seg.Segmentation(
            headers,
            mask.astype(np.uint8),
            highdicom.seg.SegmentationTypeValues.BINARY,
            [_segment(i, names, regions) for i in range(max(count, 1))],
            series_instance_uid=highdicom.UID(),
            series_number=_SERIES_NUMBER,
            series_description="Segmentation by medssl_jax",
            sop_instance_uid=highdicom.UID(),
            instance_number=1,
            manufacturer="medssl_jax",
            manufacturer_model_name="medssl_jax",
            software_versions=importlib.metadata.version("medssl_jax"),
            device_serial_number="1",
            content_label="SEGMENTATION",
            content_description="By a program for research, no medical device",
        )
        segmentation.SpecificCharacterSet = _UTF_8  # which highdicom 0.28 alone has
        for field, value in owner.items():
            segmentation.add_new(field, _OWNER[field], value)
        files.write_whole(path, segmentation.save_as)


@contextlib.contextmanager
def _silent(library: str) -> Iterator[None]:
    """Keep a library's log, which quotes headers, to itself."""
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


def _header(path: Path) -> Dataset:
    """Read what a SEG refers to, and whose it is."""
    with decoding(path, "DICOM file", quotes=False):
        tags = [*_REFERRED, *_PLACED, *_OWNER]
        header = pydicom.dcmread(path, specific_tags=tags, stop_before_pixels=True)
        check_present(path, header, _REFERRED, "source of a DICOM SEG")
        return header


def _parted(headers: Sequence[Dataset], between_mm: float) -> dict[str, str]:
    """Part headers from their owner, whom highdicom would quote in warnings.

    What slices share they have as the first has it: highdicom takes no rounding.
    """
    first = headers[0]
    owner = {}
    for field in _OWNER:
        if field in first or field not in _OPTIONAL:
            value = first.get(field)
            owner[field] = "" if value is None else str(value)
    for header in headers:
        header.SpecificCharacterSet = _UTF_8
        for field in _OWNER:
            if field not in _OPTIONAL:
                setattr(header, field, "")
        for field in _SAME:
            if field in first:
                setattr(header, field, first[field].value)
    sized = first
    if _PER_FRAME in first:
        shared, frame = first[_SHARED].value[0], first[_PER_FRAME].value[0]
        for group in _ONCE:
            if group not in shared:
                setattr(shared, group, frame[group].value)
        sized = shared.PixelMeasuresSequence[0]
    if not sized.get("SliceThickness"):
        sized.SliceThickness = DSfloat(between_mm, auto_format=True)
    return owner


def _segment(i: int, names: Sequence[str], regions: bool):
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentAlgorithmTypeValues, SegmentDescription

    kind = f"region {i}" if regions else f"class {i + 1}"
    label = names[i] if i < len(names) else kind
    segment = SegmentDescription(
        segment_number=i + 1,
        segment_label=label.encode()[:_LONGEST_LABEL].decode(errors="ignore"),
        # which tissue the standard cannot know from a name
        segmented_property_category=codes.SCT.Tissue,
        segmented_property_type=codes.SCT.Tissue,
        algorithm_type=SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=AlgorithmIdentificationSequence(
            name="medssl_jax",
            version=importlib.metadata.version("medssl_jax"),
            family=codes.DCM.ArtificialIntelligence,
        ),
    )
    colour = CIELabColor(*_COLOURS[i % len(_COLOURS)])
    segment.RecommendedDisplayCIELabValue = list(colour.value)
    return segment
