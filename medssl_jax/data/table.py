"""Labels and patients from a CSV with the columns path, label, patient."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from medssl_jax.data.source import UNLABELLED, Examples, Record
from medssl_jax.errors import ConfigError, DataError

_COLUMNS = ("path", "label", "patient")


class Row(NamedTuple):
    """What a line of the table says of an example; None where a column is absent."""

    line: int
    label: int | None
    patient: str | None


def examples(
    names: Sequence[str],
    read: Callable[[str], Record],
    stamp_of: Callable[[str], str],
    *,
    labels: str,
    unlisted: str,
) -> Examples:
    """Join named examples with the table in the file `labels`.

    Args:
      labels: path of the CSV; empty: labels and patients are None, each example then
        counts as a patient of its own.
      unlisted: what becomes of examples without a row: "raise", or "drop", which makes
        the table the list of what is used.

    Raises:
      ConfigError: if `unlisted` is neither.
      DataError: as `read_table`; if a row has no example, or an example no row.
    """
    if unlisted not in ("raise", "drop"):
        raise ConfigError(f"data.unlisted {unlisted!r} is not known: raise or drop")
    if not labels:
        return Examples(names, read, stamp_of=stamp_of)
    rows = read_table(labels)
    if unlisted == "drop":
        names = [name for name in names if name in rows]
    check_joined(labels, names, rows)
    return Examples(names, read, *_columns([rows[n] for n in names]), stamp_of)


def read_table(path: str) -> dict[str, Row]:
    """Read a CSV in UTF-8 whose header names path and any of label, patient.

    Paths are relative to the source's root. An empty label is `UNLABELLED`.

    Raises:
      DataError: naming file and line: unknown or missing columns, a row twice, a label
        that is no whole number, an empty path or patient.
    """
    rows: dict[str, Row] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            _check_header(path, reader.fieldnames)
            for cells in reader:
                name, row = _row(path, reader.line_num, cells)
                if name in rows:
                    lines = f"lines {rows[name].line} and {row.line}"
                    raise DataError(path, f"{lines} are both for {name!r}; keep one")
                rows[name] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV in UTF-8 ({error})") from error
    if not rows:
        raise DataError(path, "has no rows below its header")
    return rows


def check_joined(path: str, names: Sequence[str], rows: Mapping[str, Any]) -> None:
    """Refuse a table that has not exactly one row for each name.

    Raises:
      DataError: naming the first few and their count.
    """
    _refuse_any(path, "row(s) without a file", sorted(rows.keys() - set(names)))
    missing = [name for name in names if name not in rows]
    _refuse_any(path, "file(s) without a row", missing)


def label(cell: str, path: str, line: int) -> int:
    """Return the class that a cell names.

    Raises:
      DataError: naming file and line.
    """
    try:
        value = int(cell) if cell else UNLABELLED
    except ValueError:
        value = UNLABELLED - 1
    if value < UNLABELLED:
        reason = f"line {line}: label {cell!r} is no class number (0, 1, 2, ...)"
        raise DataError(path, f"{reason}; leave it empty where unknown")
    return value


def _check_header(path, header):
    header = header or []
    unknown = [column for column in header if column not in _COLUMNS]
    if unknown or "path" not in header or len(set(header)) < len(header):
        raise DataError(
            path,
            f"its first line has the columns {', '.join(map(repr, header)) or 'none'}; "
            "it takes path, and where known label and patient, separated by commas",
        )


def _row(path, line, cells):
    if None in cells or None in cells.values():
        raise DataError(path, f"line {line}: has not as many fields as the header")
    cells = {column: cell.strip() for column, cell in cells.items()}
    for column in ("path", "patient"):
        if column in cells and not cells[column]:
            raise DataError(path, f"line {line}: {column} is empty")
    number = label(cells["label"], path, line) if "label" in cells else None
    name = PurePosixPath(cells["path"].replace("\\", "/")).as_posix()
    return name, Row(line, number, cells.get("patient"))


def _columns(rows):
    labels = patients = None
    if rows and rows[0].label is not None:
        labels = np.array([row.label for row in rows], np.int64)
    if rows and rows[0].patient is not None:
        patients = [row.patient for row in rows]
    return labels, patients


def _refuse_any(path, what, names):
    if names:
        first = ", ".join(repr(name) for name in names[:3])
        more = ", ..." if len(names) > 3 else ""
        raise DataError(path, f"{len(names)} {what}: {first}{more}")
