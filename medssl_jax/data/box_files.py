"""Boxes of 2D images from a CSV `path,x0,y0,x1,y1,label,patient` or COCO's JSON."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Float32

from medssl_jax.data import tree
from medssl_jax.data.rows import posix
from medssl_jax.errors import DataError

_CORNERS = ("x0", "y0", "x1", "y1")
_COLUMNS = ("path", *_CORNERS, "label", "patient")
_BEYOND = 1.0  # pixels that a box may reach over the image's edge, and is cut
_FARTHEST = 1e9  # pixels; JSON's numbers can be larger than a float


class Box(NamedTuple):
    """A box in pixels, x to the right and y down, as a file has it, and where there."""

    x0: float
    y0: float
    x1: float
    y1: float
    kind: int
    place: str


class BoxTable(NamedTuple):
    """Boxes of images.

    path: of the file they come from.
    boxes: of each image that is listed, by its path from the source's root; some have
      none.
    kinds: names of the kinds 0, 1, 2, ..., where they are known.
    patients: of each listed image, where they are known.
    sizes: rows and columns of an image, where the file says them.
    complete: images that are not listed are unknown (COCO), and not without boxes (CSV).
    """

    path: str
    boxes: Mapping[str, Sequence[Box]]
    kinds: Sequence[str] | None
    patients: Mapping[str, str] | None
    sizes: Mapping[str, tuple[int, int]]
    complete: bool

    def of(self, name: str, shape: tuple[int, int]) -> Float32[np.ndarray, "m 5"]:
        """Return an image's boxes as records have them: rows first, as fractions.

        Raises:
          DataError: naming file and line, if a box reaches over the image, which is of
            `shape` (rows, columns), or the file says that it is of another.
        """
        rows, columns = shape
        if (said := self.sizes.get(name, shape)) != shape:
            text = f"says that {name!r} is of {said[1]} x {said[0]} pixels"
            raise DataError(self.path, f"{text}, and it is of {columns} x {rows}")
        found = np.empty((0, 5), np.float32)
        for box in self.boxes.get(name, ()):
            self._check(box, name, shape)
            corners = [box.y0 / rows, box.x0 / columns, box.y1 / rows, box.x1 / columns]
            row = np.array([*np.clip(corners, 0, 1), box.kind], np.float32)
            found = np.concatenate([found, row[None]])
        return found

    def _check(self, box, name, shape):
        rows, columns = shape
        low, high = min(box.x0, box.y0), (box.x1 - columns, box.y1 - rows)
        if low < -_BEYOND or max(high) > _BEYOND:
            text = f"{_called(box, name)} is not within the image of {columns} x {rows} pixels"
            raise DataError(self.path, f"{text}: are they pixels of this size?")


def read_boxes(path: str, kinds: Sequence[str]) -> BoxTable:
    """Read a table of boxes: COCO's where the file is a .json, else a CSV.

    The CSV is in UTF-8, of pixels (x to the right, y down, edges of pixels, so that an
    image is 0 to its size), a row for each box; a row with empty cells lists an image
    without any, as do images that have no row. With a column `patient` all images have
    to be listed. Other columns are left alone.

    Args:
      kinds: names of the labels, in the order of their numbers; (): labels of a CSV are
        numbers from 0, those of COCO its categories by their ids.

    Raises:
      DataError: naming file and line or entry: a header that lacks a column, cells that
        are no numbers, NaN, a box without area, fractions taken for pixels, a label
        that is none of `kinds`, two patients of one image; of COCO a crowd, an image or
        category that is not there, ids that repeat.
    """
    tree.readable_file(path)
    read = _coco if path.lower().endswith(".json") else _csv
    table = read(path, tuple(kinds))
    each = [box for boxes in table.boxes.values() for box in boxes]
    if not each:
        raise DataError(path, "has no box: of no image, nothing can be learnt")
    for name, boxes in table.boxes.items():
        for box in boxes:
            if box.x1 <= box.x0 or box.y1 <= box.y0:
                text = f"{_called(box, name)} has no area; x0 < x1 and y0 < y1"
                raise DataError(path, text)
    highest = max(max(box[:4]) for box in each)
    if 0 < highest <= 1:
        text = (
            f"has no coordinate above {highest:g}: boxes are in pixels, not fractions"
        )
        raise DataError(path, f"{text}; multiply by the images' sizes")
    return table


def _csv(path, kinds):
    boxes: dict[str, list[Box]] = {}
    patients: dict[str, str] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            header = reader.fieldnames or []
            _check_header(path, header)
            for cells in reader:
                place = f"line {reader.line_num}"
                if None in cells or None in cells.values():
                    text = f"{place}: has not as many fields as the header"
                    raise DataError(path, text)
                cells = {column: cell.strip() for column, cell in cells.items()}
                if not cells["path"]:
                    raise DataError(path, f"{place}: path is empty")
                name = posix(cells["path"])
                own = boxes.setdefault(name, [])
                if "patient" in header:
                    _note_patient(path, place, name, cells["patient"], patients)
                if any(cells[column] for column in (*_CORNERS, "label")):
                    own.append(_box(path, place, cells, kinds))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV in UTF-8 ({error})") from error
    others = [column for column in header if column not in _COLUMNS]
    if others:
        logging.info("%s: columns that are not used: %s", path, ", ".join(others))
    kinds, patients = kinds or None, patients or None
    return BoxTable(path, boxes, kinds, patients, sizes={}, complete=False)


def _check_header(path, header):
    lacking = [
        column for column in (*_CORNERS, "path", "label") if column not in header
    ]
    if lacking or len(set(header)) < len(header):
        columns = ", ".join(map(repr, header)) or "none"
        reason = f"{lacking[0]!r} is not there" if lacking else "one is there twice"
        text = f"its first line has the columns {columns}; {reason}"
        raise DataError(path, f"{text} (known: {','.join(_COLUMNS)})")


def _note_patient(path, place, name, patient, patients):
    if not patient:
        raise DataError(
            path, f"{place}: patient is empty; leave the column out if unknown"
        )
    if patients.setdefault(name, patient) != patient:
        text = f"{place}: {name!r} is of patient {patient!r}, and before of"
        raise DataError(path, f"{text} {patients[name]!r}")


def _box(path, place, cells, kinds):
    corners = [_number(path, place, cells, column) for column in _CORNERS]
    return Box(*corners, _kind(path, place, cells["label"], kinds), place)


def _number(path, place, cells, column):
    try:
        value = float(cells[column])
    except ValueError:
        text = f"{place}: {column} is {cells[column]!r}, no number"
        raise DataError(
            path, f"{text}; leave all empty where there is no box"
        ) from None
    if not math.isfinite(value):
        raise DataError(path, f"{place}: {column} is {cells[column]!r}, not finite")
    return value


def _kind(path, place, label, kinds):
    if kinds:
        if label not in kinds:
            text = f"{place}: label {label!r} is none of data.kinds"
            raise DataError(path, f"{text} ({', '.join(kinds)})")
        return kinds.index(label)
    if not (label.isascii() and label.isdigit()):
        text = f"{place}: label {label!r} is no number (0, 1, 2, ...)"
        raise DataError(path, f"{text}; name the labels by data.kinds, in their order")
    return int(label)


def _coco(path, kinds):
    content = _json(path)
    images = _by_id(path, content, "images")
    categories = _by_id(path, content, "categories")
    names = {
        i: str(_field(path, "categories", c, "name")) for i, c in categories.items()
    }
    if kinds:
        if unknown := sorted(set(names.values()) - set(kinds)):
            text = f"the category {unknown[0]!r} is none of data.kinds"
            raise DataError(path, f"{text} ({', '.join(kinds)})")
    else:
        kinds = tuple(names[i] for i in sorted(names))
    files = {
        i: posix(str(_field(path, "images", image, "file_name")))
        for i, image in images.items()
    }
    boxes: dict[str, list[Box]] = {name: [] for name in files.values()}
    if len(boxes) < len(files):
        raise DataError(path, "two of its images have one file_name")
    for entry in _by_id(path, content, "annotations").values():
        place = f"annotation {entry['id']}"
        if entry.get("iscrowd"):
            text = f"{place} is a crowd, the outline of many, and no box"
            raise DataError(path, f"{text}: leave such annotations out")
        for field, known in (("image_id", files), ("category_id", names)):
            if _id(path, "annotations", entry, field) not in known:
                raise DataError(
                    path, f"{place}: its {field} {entry[field]} is not there"
                )
        box = _field(path, "annotations", entry, "bbox")
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_finite, box)):
            raise DataError(path, f"{place}: bbox {box} is not x, y, width, height")
        x, y, width, height = map(float, box)
        kind = kinds.index(names[entry["category_id"]])
        box = Box(x, y, x + width, y + height, kind, place)
        boxes[files[entry["image_id"]]].append(box)
    sizes = {
        files[i]: (image["height"], image["width"])
        for i, image in images.items()
        if {"height", "width"} <= image.keys()
    }
    return BoxTable(path, boxes, kinds, patients=None, sizes=sizes, complete=True)


def _json(path):
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(path, f"is no readable JSON in UTF-8 ({error})") from error
    if not isinstance(content, dict):
        raise DataError(path, "is not COCO's: no object with images and annotations")
    return content


def _by_id(path: str, content: Mapping[str, Any], part: str) -> dict[Any, Mapping]:
    entries = content.get(part)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise DataError(path, f"is not COCO's: it has no list {part!r}")
    found: dict[Any, Mapping] = {}
    for entry in entries:
        number = _id(path, part, entry, "id")
        if number in found:
            raise DataError(path, f"two of its {part} have the id {number}")
        found[number] = entry
    return found


def _field(path, part, entry, field):
    if field not in entry:
        raise DataError(path, f"one of its {part} has no {field!r}: {str(entry)[:80]}")
    return entry[field]


def _id(path, part, entry, field):
    number = _field(path, part, entry, field)
    if not isinstance(number, int | str):
        raise DataError(path, f"one of its {part} has the {field} {number}, no id")
    return number


def _is_finite(x):
    return isinstance(x, int | float) and -_FARTHEST < x < _FARTHEST


def _called(box, name):
    corners = ", ".join(f"{x:g}" for x in box[:4])
    return f"{box.place}: the box {corners} of {name!r}"
