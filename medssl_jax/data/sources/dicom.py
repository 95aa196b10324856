"""Volumes from DICOM series, wherever their files lie below a folder.

Of a header only what places and scales the pixels is read. Names, dates, identifiers
and descriptions are never parsed; an error tells files apart by their paths.
"""

import posixpath
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from absl import logging
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID
from tqdm import tqdm

from medssl_jax.data import tree
from medssl_jax.data.decoding import decoding
from medssl_jax.data.dicom_frames import read_slices
from medssl_jax.data.dicom_pixels import check_deflated
from medssl_jax.data.dicom_slice import Slice
from medssl_jax.data.host import check
from medssl_jax.data.orient import check_orientation, orient
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples
from medssl_jax.errors import DataError

# of the median distance; a missing slice is 1, positions rounded to .1 mm stay below
_UNEVEN = 0.2
_SAME_MM = 1e-3
_SAME_DIRECTION = 1e-3
# raw data, registrations, segmentations: pydicom does not know the latest by name
_DERIVED = "1.2.840.10008.5.1.4.1.1.66"
_TAGS = ["NumberOfFrames", "Rows", "SOPClassUID", "SeriesInstanceUID"]


def dicom(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    orientation: str = "SPL",
) -> Examples:
    """Read every series below `root` as one volume of slices along their normal.

    A series is what shares a SeriesInstanceUID; an example is named by the folder that
    holds its files, `#1`, `#2`, ... appended where that folder has several. An enhanced
    multi-frame file is a volume of its own, named by its path. Who the patient is says
    only the table: without it, two series of one patient may fall into two splits.

    Args:
      labels: CSV `path,label,patient`, or empty (`table.examples`).
      unlisted: what becomes of series without a row, "raise" or "drop".
      orientation: where slices, rows and columns run to: "SPL" are axial slices
        upwards, rows to the back, columns to the left; "acquired" leaves slices as
        they were taken, in the order of their normal.

    Raises:
      ConfigError: if the orientation is not known.
      DataError: if root or table cannot be used; on reading, if a file is damaged or
        cannot be decoded, slices lack or do not belong together, or the volume holds
        NaN, infinities or one value only.
    """
    check_orientation(orientation)
    read = _Read(root, _find_series(root), orientation)
    return examples(
        list(read.series), read, read.stamp, labels=labels, unlisted=unlisted
    )


@dataclass(frozen=True)
class _Read:
    root: str
    series: dict[str, tuple[str, ...]]
    orientation: str

    def __call__(self, name: str) -> Record:
        folder = str(Path(self.root) / name)
        slices = [s for path in self._paths(name) for s in read_slices(path)]
        volume, affine, spacing_mm = _stack(slices, folder)
        volume, spacing_mm = orient(volume, affine, spacing_mm, self.orientation)
        record = {"image": volume[..., np.newaxis], "spacing_mm": spacing_mm}
        return check(record, folder)

    def stamp(self, name: str) -> str:
        return f"dicom {self.orientation} {tree.stamp(*self._paths(name))}"

    def _paths(self, name):
        return [Path(self.root) / file for file in self.series[name]]


def _find_series(root):
    """Return the files of each series, by name."""
    by_uid = defaultdict(list)
    alone = []
    ignored = 0
    files = tree.files(root, ("",), holds="DICOM file")
    for file in tqdm(files, desc="DICOM headers", disable=None):
        kind, uid = _sort(Path(root) / file)
        if kind == "slice":
            by_uid[uid].append(file)
        elif kind == "alone":
            alone.append(file)
        else:
            ignored += 1
    if not by_uid and not alone:
        raise DataError(root, f"none of its {ignored} files is a DICOM image")
    if ignored:
        logging.info("%s: %d files are no DICOM images; ignored", root, ignored)
    return _named(sorted(map(tuple, by_uid.values()))) | {f: (f,) for f in alone}


def _sort(path):
    """Return "slice" with the series it belongs to, or "alone", or "other".

    A damaged file is an example of its own: reading it says what is wrong.
    """
    try:
        with decoding(path, "DICOM file"):
            check_deflated(path)
            header = pydicom.dcmread(path, specific_tags=_TAGS, stop_before_pixels=True)
            # as stored: parsing could warn, and quote it
            uid = header.get_item("SeriesInstanceUID")
            frames = header.get_item("NumberOfFrames")
            several = frames is not None and int(frames.value or 1) > 1
            if not _is_image(header):
                return "other", None
    except DataError as error:
        none = isinstance(error.__cause__, InvalidDicomError)
        named_so = path.suffix.lower() == ".dcm"
        return ("other" if none and not named_so else "alone"), None
    if uid is None or "Rows" not in header or several:
        return "alone", None
    return "slice", uid.value


def _is_image(header):
    """Tell images from a report, a plan, a segmentation, an index; by what is known."""
    storage = header.file_meta.get("MediaStorageSOPClassUID")
    if storage is None and (item := header.get_item("SOPClassUID")) is not None:
        storage = UID(item.value.decode(errors="replace").strip("\0 "))
    if not storage or storage.startswith(_DERIVED):
        return not storage
    return storage.name == storage or "Image Storage" in storage.name


def _named(series):
    """Name each series by the folder that its files share."""
    folders = [
        posixpath.commonpath([posixpath.dirname(file) for file in files]) or "."
        for files in series
    ]
    names = [
        f"{folder}#{folders[:i].count(folder) + 1}"
        if folders.count(folder) > 1
        else folder
        for i, folder in enumerate(folders)
    ]
    return dict(zip(names, series, strict=True))


def _stack(slices: list[Slice], folder: str):
    """Sort slices along their normal.

    Returns:
      (slices, rows, columns); its affine, voxel index to mm towards right, anterior,
      superior; its spacing in mm.

    Raises:
      DataError: naming the folder.
    """
    first = slices[0]
    _refuse_mixture(slices, folder)
    normal = np.cross(first.directions[1], first.directions[0])
    heights = np.array([s.position @ normal for s in slices])
    order = np.argsort(heights)
    between = _slice_distance(heights[order], folder)
    _refuse_shifted(slices, heights, normal, folder)
    volume = np.stack([slices[i].pixels for i in order])
    spacing_mm = (between, *first.spacing_mm)
    axes = np.stack([normal, *first.directions])
    affine = np.eye(4)
    affine[:3, :3] = (axes * np.array(spacing_mm)[:, np.newaxis]).T
    affine[:3, 3] = slices[order[0]].position
    return volume, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine, spacing_mm


def _refuse_mixture(slices, folder):
    sizes = sorted({s.pixels.shape for s in slices})
    if len(sizes) > 1:
        text = ", ".join(f"{rows} x {columns}" for rows, columns in sizes)
        raise DataError(folder, f"its slices have mixed sizes: {text}")
    if np.ptp([s.directions for s in slices], axis=0).max() > _SAME_DIRECTION:
        text = "its slices lie in different planes"
        raise DataError(folder, f"{text}: a localizer is no volume; leave it out")
    if np.ptp([s.spacing_mm for s in slices], axis=0).max() > _SAME_MM:
        raise DataError(folder, "its slices have mixed pixel spacings")


def _refuse_shifted(slices, heights, normal, folder):
    """Refuse a slice beside the line of the others, which a tilted gantry may slant."""
    positions = np.array([s.position for s in slices])
    across = positions - np.outer(heights, normal)
    steps = np.diff(across[np.argsort(heights)], axis=0)
    off = np.abs(steps - np.median(steps, axis=0)).max(axis=1)
    if (beside := off > max(slices[0].spacing_mm)).any():
        i = int(np.flatnonzero(beside)[0])
        text = f"slice {i + 2} of {len(slices)} lies {off[i]:.1f} mm beside the others"
        raise DataError(folder, f"{text}; find out which is wrong")


def _slice_distance(heights, folder):
    if len(heights) < 2:
        raise DataError(folder, "has one slice only: no volume, its spacing unknown")
    distances = np.diff(heights)
    usual = float(np.median(distances))
    if distances.min() < _SAME_MM:
        count = np.count_nonzero(distances < _SAME_MM)
        text = f"{count} of its slices lie where another one does"
        raise DataError(folder, f"{text}: several volumes or copies in one series")
    uneven = np.flatnonzero(np.abs(distances - usual) > _UNEVEN * usual)
    if uneven.size:
        i = int(uneven[0])
        raise DataError(
            folder,
            f"has a gap: slices {i + 1} and {i + 2} of {len(heights)} are "
            f"{distances[i]:.2f} mm apart, others {usual:.2f} mm; {uneven.size} such "
            "place(s): find the missing slices",
        )
    return float(np.mean(distances))
