"""Labels of slices, from a CSV `path,slice,label`, beside any source of volumes."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from absl import logging
from jaxtyping import Int32

from medssl_jax.data import tree
from medssl_jax.data.rows import posix
from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED, Record, Source, Wrapper
from medssl_jax.errors import DataError

_COLUMNS = ("path", "slice", "label")
_MARKS = {"1": PRESENT, "0": ABSENT, "": UNLABELLED, "-1": UNLABELLED}


class PlaneTable(NamedTuple):
    """Labels of slices.

    path: of the file they come from.
    labels: of each example that is listed, by the number of the slice, with its line.
    """

    path: str
    labels: Mapping[str, Mapping[int, tuple[int, int]]]

    def of(self, name: str, slices: int) -> Int32[np.ndarray, " f"]:
        """Return the labels of an example's slices, `UNLABELLED` where none is given.

        Raises:
          DataError: naming file and line, if the last slice that is listed is not its
            last: labels would be those of another series.
        """
        found = np.full(slices, UNLABELLED, np.int32)
        if not (own := self.labels.get(name)):
            return found
        if (last := max(own)) != slices - 1:
            _, line = own[last]
            text = f"line {line}: the last slice of {name!r} is {last} here, and it has"
            raise DataError(
                self.path,
                f"{text} {slices}, 0 to {slices - 1}: list the last one, its label "
                "empty where it is not known",
            )
        for place, (label, _) in own.items():
            found[place] = label
        return found


def read_planes(path: str) -> PlaneTable:
    """Read a CSV in UTF-8 with the columns path, slice and label.

    `slice` counts from 0 along the first axis of the volume as its source orients it;
    a label is 1, 0, or empty or -1 where it is not known, as of slices that have no row.
    The last slice of a volume has one, or none of its slices has.

    Raises:
      DataError: naming file and line: a header that lacks a column, a slice that is no
        number from 0, another label, a slice that is there twice.
    """
    tree.readable_file(path)
    labels: dict[str, dict[int, tuple[int, int]]] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_header(path, reader.fieldnames or [])
            for cells in reader:
                _take(path, reader.line_num, cells, labels)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV in UTF-8 ({error})") from error
    if not any(label >= 0 for rows in labels.values() for label, _ in rows.values()):
        raise DataError(path, "has no label: of no slice, nothing can be learnt")
    return PlaneTable(path, labels)


@dataclass(frozen=True)
class Planed(Wrapper):
    """The volumes of `source`, with labels of their slices as `planes`."""

    source: Source
    table: PlaneTable

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: if it is no volume, or has not the slices that are labelled.
        """
        record = super().__getitem__(i)
        image = record["image"]
        if image.ndim != 4:
            text = f"labels slices, and {self.name(i)!r} is an image without any"
            raise DataError(self.table.path, f"{text}; leave data.planes empty")
        return {**record, "planes": self.table.of(self.name(i), len(image))}

    def stamp(self, i: int) -> str:
        before = super().stamp(i)
        labels = self.table.labels.get(self.name(i), {})
        known = sorted((place, label) for place, (label, _) in labels.items())
        return before and f"{before} planes {known}"


def planed(source: Source, path: str, *, needed: bool = True) -> Source:
    """Return a source of volumes with the labels of slices that a table has.

    Raises:
      DataError: if it cannot be read; if it names no example of the source and is
        `needed`, else the source stays as it is.
    """
    table = read_planes(path)
    names = {source.name(i) for i in range(len(source))}
    if not names & table.labels.keys():
        if not needed:
            return source
        first = next(iter(table.labels))
        text = f"names no file of the source: its first is {first!r}"
        raise DataError(path, f"{text}, and that of the source {min(names)!r}")
    return Planed(source, table)


def warn_of_unused(path: str, sources: Iterable[Source]) -> None:
    """Say which volumes of a table are in none of the sources."""
    used = set()
    for source in sources:
        origins = (source.origin(i) for i in range(len(source)))
        used |= {origin.name(i) for origin, i in origins}
    if unused := sorted(read_planes(path).labels.keys() - used):
        text = "%s: %d volume(s) with labels of slices are in no role: %s"
        logging.warning(text, path, len(unused), ", ".join(unused[:3]))


def _check_header(path, header):
    lacking = [column for column in _COLUMNS if column not in header]
    if lacking:
        columns = ", ".join(map(repr, header)) or "none"
        text = f"its first line has the columns {columns}; {lacking[0]!r} is not there"
        raise DataError(path, f"{text} (known: {','.join(_COLUMNS)})")


def _take(path, line, cells, labels):
    if None in cells or None in cells.values():
        raise DataError(path, f"line {line}: has not as many fields as the header")
    cells = {column: cell.strip() for column, cell in cells.items()}
    name, place, label = posix(cells["path"]), cells["slice"], cells["label"]
    if not (place.isascii() and place.isdigit()):
        text = f"line {line}: slice is {place!r}, no number from 0"
        raise DataError(path, text)
    if label not in _MARKS:
        text = f"line {line}: label is {label!r}: 1, 0, or empty where it is not known"
        raise DataError(path, text)
    own = labels.setdefault(name, {})
    if int(place) in own:
        _, before = own[int(place)]
        text = f"line {line}: slice {place} of {name!r} is in line {before} too"
        raise DataError(path, text)
    own[int(place)] = _MARKS[label], line
