"""Volumes from DICOM series, wherever their files lie below a folder.

Of a header only what places and scales the pixels is read. Names, dates, identifiers
and descriptions are never parsed, but where `write_mask` copies those of the patient
and the study to a series' own DICOM SEG (`dicom_seg`); an error tells files apart by
their paths.
"""

import posixpath
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from medssl_jax.data.dicom_seg import NOTE, save_seg
from medssl_jax.data.dicom_stack import stack
from medssl_jax.data.host import check
from medssl_jax.data.orient import check_orientation, orient, restore
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples
from medssl_jax.errors import DataError

_SUFFIX, _ROOT = ".dcm", "_root"
# raw data, registrations, segmentations: pydicom does not know the latest by name
_DERIVED = "1.2.840.10008.5.1.4.1.1.66"
_TAGS = ["NumberOfFrames", "Rows", "SOPClassUID", "SeriesInstanceUID"]


def dicom(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    classes: tuple[str, ...] = (),
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
      classes: names of the labels' classes 0, 1, 2, ..., where the table has names;
        (): sorted.
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
    source = examples(
        list(read.series),
        read,
        read.stamp,
        labels=labels,
        unlisted=unlisted,
        classes=classes,
    )
    return replace(source, write_mask=read.write_mask, mask_note=NOTE)


@dataclass(frozen=True)
class _Read:
    root: str
    series: dict[str, tuple[str, ...]]
    orientation: str

    def __call__(self, name: str) -> Record:
        folder = str(Path(self.root) / name)
        stacked = stack(self._slices(name), folder)
        image, spacing_mm = orient(
            stacked.volume, stacked.affine, stacked.spacing_mm, self.orientation
        )
        record = {"image": image[..., np.newaxis], "spacing_mm": spacing_mm}
        return check(record, folder)

    def stamp(self, name: str) -> str:
        return f"dicom {self.orientation} {tree.stamp(*self._paths(name))}"

    def write_mask(
        self, name: str, mask: np.ndarray, folder: Path, names: Sequence[str] = ()
    ) -> Path:
        """Write a mask that lies as the record's image does as DICOM SEG of its series.

        The file is folder/NAME.dcm. mask: (*s,) classes, or (*s, k) regions; names: of
        the segments, as `dicom_seg.save_seg` takes them, which says what is copied.

        Raises:
          ConfigError, DataError: as `save_seg`.
        """
        source = Path(self.root) / name
        stacked = stack(self._slices(name), str(source))
        in_stack = restore(mask, stacked.affine, self.orientation)
        in_files = np.empty_like(in_stack)
        in_files[stacked.order] = in_stack
        # the root's own series has no other name
        path = Path(folder) / f"{_ROOT if name[0] == '.' else ''}{name.lstrip('.')}"
        if path.suffix.lower() != _SUFFIX:
            path = path.with_name(f"{path.name}{_SUFFIX}")
        save_seg(
            in_files,
            self._paths(name),
            path,
            names,
            between_mm=stacked.spacing_mm[0],
            about=str(source),
        )
        return path

    def _slices(self, name):
        return [s for path in self._paths(name) for s in read_slices(path)]

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
