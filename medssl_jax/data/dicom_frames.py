"""The slices of one DICOM file: one, or the frames of an enhanced multi-frame file."""

from pathlib import Path

from pydicom.dataset import Dataset

from medssl_jax.data.dicom_pixels import (
    NEEDED,
    check_present,
    frames_of,
    opened,
    rescaled,
    stored,
)
from medssl_jax.data.dicom_slice import PLACE, Slice, check_grey, placed, slice_of
from medssl_jax.errors import DataError

_SHARED, _PER_FRAME = (
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)
_PLACED_BY = dict(
    zip(
        PLACE,
        ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence"),
        strict=True,
    )
)
_SCALED_BY = "PixelValueTransformationSequence"
# what frames of one volume have in common, by what errors call it
_COMMON = {
    "stacks": ("FrameContentSequence", "StackID"),
    "temporal positions": ("FrameContentSequence", "TemporalPositionIndex"),
    "b-values": ("MRDiffusionSequence", "DiffusionBValue"),
    "echo times": ("MREchoSequence", "EffectiveEchoTime"),
}
_CONVERT = "convert it (dcm2niix) to use the nifti source"


def read_slices(path: Path) -> list[Slice]:
    """Read the slices of a file, rescaled (HU for CT), MONOCHROME1 inverted.

    Frames come in the file's order; each has its place and scale from its functional
    groups, or else from those that are shared.

    Raises:
      DataError: if the file is damaged, compressed beyond what is installed, no
        greyscale image, does not say where each frame lies, or holds several stacks,
        temporal positions, b-values or echo times. Its text quotes no header.
    """
    with opened(path, [*PLACE, _SHARED, _PER_FRAME]) as header:
        if header.get(_PER_FRAME):
            return _frames(path, header)
        if frames_of(header) > 1:
            raise DataError(
                path,
                "is a multi-frame file that does not say where its frames lie (it has "
                f"no {_PER_FRAME}): a film, or a volume that was not saved as "
                f"enhanced; {_CONVERT}",
            )
        return [slice_of(path, header)]


def _frames(path: Path, header: Dataset) -> list[Slice]:
    check_present(path, header, NEEDED, "volume")
    check_grey(path, header)
    frames = header[_PER_FRAME].value
    if len(frames) != frames_of(header):
        text = f"says of {len(frames)} frames where they lie, and has"
        raise DataError(path, f"{text} {frames_of(header)}; export it again")
    shared = header.get(_SHARED) or [Dataset()]
    groups = [(frame, shared[0]) for frame in frames]
    _refuse_several(path, groups)
    pixels = stored(path, header).reshape(len(frames), header.Rows, header.Columns)
    slices = []
    for i, of_frame in enumerate(groups):
        place = [_of(of_frame, group, field) for field, group in _PLACED_BY.items()]
        if None in place:
            field = PLACE[place.index(None)]
            text = (
                f"does not say where frame {i + 1} lies in the patient: no {field} in"
            )
            raise DataError(path, f"{text} a {_PLACED_BY[field]}; {_CONVERT}")
        scale = _macro(of_frame, _SCALED_BY) or header
        slices.append(placed(path, rescaled(path, pixels[i], scale), *place))
    return slices


def _refuse_several(path, groups):
    """Refuse several volumes in one; of their texts only the number is told."""
    found = []
    for kind, (group, field) in _COMMON.items():
        count = len({_of(of_frame, group, field) for of_frame in groups})
        if count > 1:
            found.append(f"{count} {kind}")
    if found:
        text = f"holds several volumes: {', '.join(found)}"
        raise DataError(
            path, f"{text}; export each as a file of its own, or {_CONVERT}"
        )


def _of(of_frame: tuple[Dataset, Dataset], group: str, field: str):
    """Return a field of a frame, or None."""
    item = _macro(of_frame, group)
    value = None if item is None else item.get(field)
    return None if value == "" else value


def _macro(of_frame: tuple[Dataset, Dataset], group: str) -> Dataset | None:
    """Return the item of a functional group, the frame's own or the shared one."""
    found = [groups.get(group) for groups in of_frame]
    return next((items[0] for items in found if items), None)
