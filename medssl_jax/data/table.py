"""Labels and patients from a CSV: `path,label,patient`, or findings by name."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED, Examples, Record
from medssl_jax.errors import ConfigError, DataError

_COLUMNS = ("path", "label", "patient")  # any other is a finding
# what a finding's cell says: data frames write a column with gaps as 1.0 and 0.0
_MARKS = {
    **dict.fromkeys(("1", "1.0"), PRESENT),
    **dict.fromkeys(("0", "0.0"), ABSENT),
    **dict.fromkeys(("", "-1", "-1.0"), UNLABELLED),
}


class Row(NamedTuple):
    """What a line of the table says of an example; None where a column is absent.

    `label` is a class, or one mark for each finding.
    """

    line: int
    label: int | tuple[int, ...] | None
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
    rows, findings = read_table(labels)
    if unlisted == "drop":
        names = [name for name in names if name in rows]
    check_joined(labels, names, rows)
    columns = _columns([rows[name] for name in names])
    return Examples(names, read, *columns, stamp_of, findings)


def read_table(path: str) -> tuple[dict[str, Row], tuple[str, ...] | None]:
    """Read a CSV in UTF-8; return its rows by path, and the names of its findings.

    The header names `path`, relative to the source's root, `patient` where known, and

      path,label,patient           a class for each example (0, 1, 2, ...), or
      path,edema,effusion,patient  two findings or more, each in a column of its own:
                                   1 present, 0 absent

    Every column beside path, label and patient is a finding. An empty cell, or -1, is
    `UNLABELLED`: of several findings some can be known and others not.

    Raises:
      DataError: naming file and line or column: a header that is neither, a row
        twice, cells that are no labels, an empty path or patient, labels that are
        all empty.
    """
    rows: dict[str, Row] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            findings = _check_header(path, reader.fieldnames)
            for cells in reader:
                name, row = _row(path, reader.line_num, cells, findings)
                if name in rows:
                    lines = f"lines {rows[name].line} and {row.line}"
                    raise DataError(path, f"{lines} are both for {name!r}; keep one")
                rows[name] = row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV in UTF-8 ({error})") from error
    _check_rows(path, rows, findings)
    return rows, findings


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
    """Return the columns of findings, or None where there are none."""
    header = header or []
    findings = tuple(column for column in header if column not in _COLUMNS)
    reason = ""
    if "path" not in header or not all(header) or len(set(header)) < len(header):
        reason = "it takes path once, and other columns once, separated by commas"
    elif misspelt := [c for c in findings if c.strip().lower() in _COLUMNS]:
        reason = f"write {misspelt[0]!r} as {misspelt[0].strip().lower()!r}"
    elif findings and "label" in header:
        reason = f"{findings[0]!r} beside 'label' is neither path nor patient: leave "
        reason += "out one of them"
    elif len(findings) == 1:
        reason = f"{findings[0]!r} is not known; call a single column of labels 'label'"
    if reason:
        columns = ", ".join(map(repr, header)) or "none"
        text = f"its first line has the columns {columns}; {reason}"
        known = "path,label,patient or path,FINDING,FINDING,...,patient"
        raise DataError(path, f"{text} (known: {known})")
    return findings or None


def _row(path, line, cells, findings):
    if None in cells or None in cells.values():
        raise DataError(path, f"line {line}: has not as many fields as the header")
    cells = {column: cell.strip() for column, cell in cells.items()}
    for column in ("path", "patient"):
        if column in cells and not cells[column]:
            raise DataError(path, f"line {line}: {column} is empty")
    number = label(cells["label"], path, line) if "label" in cells else None
    if findings:
        number = tuple(_finding(cells[f], path, line, f) for f in findings)
    name = PurePosixPath(cells["path"].replace("\\", "/")).as_posix()
    return name, Row(line, number, cells.get("patient"))


def _finding(cell, path, line, column):
    if cell not in _MARKS:
        reason = f"line {line}: {column} is {cell!r}; a finding is 1 (present), 0"
        text = "(absent) or empty, and columns that are no findings have to go"
        raise DataError(path, f"{reason} {text}")
    return _MARKS[cell]


def _check_rows(path, rows, findings):
    if not rows:
        raise DataError(path, "has no rows below its header")
    labels = [row.label for row in rows.values()]
    if None in labels:
        return
    if np.all(np.array(labels) == UNLABELLED):
        columns = ", ".join(findings or ("label",))
        text = f"no row has a label: {columns} is empty in all {len(rows)}"
        raise DataError(path, f"{text}; fill it in, or leave the column out")


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
