"""The rows of a CSV about examples: `path,label,patient`, findings by name, masks."""

import csv
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np
from absl import logging

from medssl_jax.data import tree
from medssl_jax.data.class_labels import classes_of
from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED
from medssl_jax.errors import ConfigError, DataError

_COLUMNS = ("path", "label", "patient", "mask")  # any other can be a finding
# what a finding's cell says: data frames write a column with gaps as 1.0 and 0.0
_MARKS = {
    **dict.fromkeys(("1", "1.0"), PRESENT),
    **dict.fromkeys(("0", "0.0"), ABSENT),
    **dict.fromkeys(("", "-1", "-1.0"), UNLABELLED),
}


class Row(NamedTuple):
    """What a line of the table says of an example; None where a column is absent.

    `label` is a class, or one mark for each finding; `mask` a path, "" if empty.
    `chosen` says whether the row is one of `only`.
    """

    line: int
    label: int | tuple[int, ...] | None
    patient: str | None
    mask: str | None
    chosen: bool


class Table(NamedTuple):
    """The rows of a CSV by path, and the names of its findings, or of its classes.

    None where labels are no findings; where classes are numbers.
    """

    rows: dict[str, Row]
    findings: tuple[str, ...] | None
    classes: tuple[str, ...] | None


def read_rows(
    path: str,
    *,
    only: str = "",
    findings: bool = True,
    classes: Sequence[str] = (),
) -> Table:
    """Read a CSV in UTF-8.

    The header names `path`, relative to the source's root, `patient` where known, and

      path,label,patient           a class for each example (0, 1, 2, ..., or its
                                   name), or
      path,edema,effusion,patient  two findings or more, each in a column of its own:
                                   1 present, 0 absent

    Every column beside path, label and patient is a finding. An empty cell, or -1, is
    `UNLABELLED`: of several findings some can be known and others not.

    A table with a column `mask`, a path as the first, is a data set's own, written for
    more than this. Its further columns are left alone, unless one may be the patients
    by another name; patients may be unknown, empty, if they are so in all chosen rows.

    Args:
      only: COLUMN=VALUE chooses the rows that say so, and is no finding; empty: all.
      findings: false reads any table as one with masks.
      classes: names of the classes 0, 1, 2, ...; (): those that there are, sorted.

    Raises:
      ConfigError: if `only` is neither.
      DataError: naming file and line or column: a header that is none of these, a row
        twice, cells that are no labels, an empty path or patient, labels that are
        all empty, an `only` that chooses nothing.
    """
    column, _, value = only.partition("=")
    if only and not (column and value):
        text = f"data.only is {only!r}; write COLUMN=VALUE, such as split=train"
        raise ConfigError(text)
    lines: dict[str, tuple[int, dict[str, str]]] = {}
    tree.readable_file(path)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            header = reader.fieldnames or []
            borrowed = "mask" in header or not findings
            names = _check_header(path, header, column, borrowed)
            filled = ("path",) if borrowed else ("path", "patient")
            for cells in reader:
                line = reader.line_num
                cells = _stripped(path, line, cells, filled)
                name = posix(cells["path"])
                if name in lines:
                    both = f"lines {lines[name][0]} and {line}"
                    raise DataError(path, f"{both} are both for {name!r}; keep one")
                lines[name] = line, cells
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV in UTF-8 ({error})") from error
    if not lines:
        raise DataError(path, "has no rows below its header")
    labels, classes = _labels(path, list(lines.values()), names, classes)
    rows = {
        name: Row(
            line,
            label,
            cells.get("patient"),
            cells["mask"] and posix(cells["mask"]) if "mask" in cells else None,
            not only or cells[column] == value,
        )
        for (name, (line, cells)), label in zip(lines.items(), labels, strict=True)
    }
    _check_rows(path, rows, names, only)
    return Table(rows, names, classes)


def _check_header(path, header, column, borrowed):
    """Return the columns of findings, or None where there are none."""
    others = tuple(c for c in header if c not in (*_COLUMNS, column))
    reason = ""
    if "path" not in header or not all(header) or len(set(header)) < len(header):
        reason = "it takes path once, and other columns once, separated by commas"
    elif column and column not in header:
        reason = f"data.only names {column!r}"
    elif misspelt := [c for c in others if c.strip().lower() in _COLUMNS]:
        reason = f"write {misspelt[0]!r} as {misspelt[0].strip().lower()!r}"
    elif borrowed:
        reason = _unclear(header, others)
    elif others and "label" in header:
        reason = f"{others[0]!r} beside 'label' is neither path nor patient: leave "
        reason += "out one of them"
    elif len(others) == 1:
        reason = f"{others[0]!r} is not known; call a single column of labels 'label'"
    if reason:
        columns = ", ".join(map(repr, header)) or "none"
        text = f"its first line has the columns {columns}; {reason}"
        known = "path,label,patient or path,FINDING,FINDING,...,patient"
        raise DataError(path, f"{text} (known: {known})")
    if borrowed and others:
        logging.info("%s: columns that are not used: %s", path, ", ".join(others))
    return None if borrowed else others or None


def _unclear(header, others):
    """Say which column may be the patients, whom to overlook would mix the splits."""
    owners = [c for c in others if "patient" in c.lower() or "subject" in c.lower()]
    if not owners or "patient" in header:
        return ""
    return f"call {owners[0]!r} 'patient', if that is what it holds, or leave it out"


def _stripped(path, line, cells, filled):
    if None in cells or None in cells.values():
        raise DataError(path, f"line {line}: has not as many fields as the header")
    cells = {column: cell.strip() for column, cell in cells.items()}
    for column in filled:
        if not cells.get(column, "absent"):
            raise DataError(path, f"line {line}: {column} is empty")
    return cells


def _labels(path, lines, findings, classes):
    """Return the label of each line, and the names of classes."""
    if classes and (findings or "label" not in lines[0][1]):
        raise DataError(path, "has no column 'label', whose classes data.classes names")
    if findings:
        marks = [
            tuple(_finding(cells[f], path, line, f) for f in findings)
            for line, cells in lines
        ]
        return marks, None
    if "label" not in lines[0][1]:
        return [None] * len(lines), None
    return classes_of(path, [(line, cells["label"]) for line, cells in lines], classes)


def posix(cell: str) -> str:
    """Return a path as POSIX writes it, whichever system wrote the cell."""
    return PurePosixPath(cell.replace("\\", "/")).as_posix()


def _finding(cell, path, line, column):
    if cell not in _MARKS:
        reason = f"line {line}: {column} is {cell!r}; a finding is 1 (present), 0"
        text = "(absent) or empty, and columns that are no findings have to go"
        raise DataError(path, f"{reason} {text}")
    return _MARKS[cell]


def _check_rows(path, rows, findings, only):
    rows = [row for row in rows.values() if row.chosen]
    if not rows:
        raise DataError(path, f"no row has {only} (data.only)")
    unknown = [row for row in rows if row.patient == ""]
    if unknown and len(unknown) < len(rows):
        text = f"line {unknown[0].line}: patient is empty, and other rows have one"
        raise DataError(path, f"{text}; fill it in, or choose rows by data.only")
    labels = [row.label for row in rows]
    if None in labels:
        return
    if np.all(np.array(labels) == UNLABELLED):
        columns = ", ".join(findings or ("label",))
        text = f"no row has a label: {columns} is empty in all {len(rows)}"
        raise DataError(path, f"{text}; fill it in, or leave the column out")
