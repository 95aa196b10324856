"""Labels and patients from a CSV, joined with the files that they are of."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from absl import logging

from medssl_jax.data.rows import read_rows
from medssl_jax.data.source import Examples, Record
from medssl_jax.errors import ConfigError, DataError


def examples(
    names: Sequence[str],
    read: Callable[[str], Record],
    stamp_of: Callable[[str], str],
    *,
    labels: str,
    unlisted: str,
    only: str = "",
    findings: bool = True,
    classes: Sequence[str] = (),
) -> Examples:
    """Join named examples with the table in the file `labels`.

    Args:
      labels: path of the CSV; empty: labels and patients are None, each example then
        counts as a patient of its own.
      unlisted: what becomes of examples without a row: "raise", or "drop", which makes
        the table the list of what is used.
      only, findings, classes: as `read_rows`.

    Raises:
      ConfigError: if `unlisted` is neither, `only` has no table to choose from, or
        `classes` none to name.
      DataError: as `read_rows`; if a row has no example, or an example no row.
    """
    if unlisted not in ("raise", "drop"):
        raise ConfigError(f"data.unlisted {unlisted!r} is not known: raise or drop")
    if not labels and only:
        text = f"data.only is {only!r}, and there is no table to choose rows from"
        raise ConfigError(f"{text}; set data.labels, or empty data.only")
    if not labels and classes:
        text = f"data.classes is {tuple(classes)}, and there is no table of labels"
        raise ConfigError(f"{text}; set data.labels, or empty data.classes")
    if not labels:
        return Examples(names, read, stamp_of=stamp_of)
    table = read_rows(labels, only=only, findings=findings, classes=classes)
    rows = {name: row for name, row in table.rows.items() if row.chosen}
    unchosen = table.rows.keys() - rows.keys()
    names = [name for name in names if name not in unchosen]
    if unlisted == "drop":
        names = [name for name in names if name in rows]
    check_joined(labels, names, rows, "data.unlisted=drop leaves them out")
    columns = _columns(labels, [rows[name] for name in names])
    return Examples(
        names,
        read,
        *columns,
        stamp_of,
        table.findings,
        label_classes=table.classes,
    )


def check_joined(
    path: str, names: Sequence[str], rows: Mapping[str, Any], instead: str = ""
) -> None:
    """Refuse a table that has not exactly one row for each name.

    `instead` is what can be done about names without one, for the error.

    Raises:
      DataError: naming the first few and their count.
    """
    refuse_any(path, "row(s) without a file", sorted(rows.keys() - set(names)))
    missing = [name for name in names if name not in rows]
    refuse_any(path, "file(s) without a row", missing, instead)


def refuse_any(path: str, what: str, names: Sequence[str], instead: str = "") -> None:
    """Refuse names where there must be none.

    Raises:
      DataError: naming the first few and their count.
    """
    if names:
        first = ", ".join(repr(name) for name in names[:3])
        more = ", ..." if len(names) > 3 else ""
        todo = f"; {instead}" if instead else ""
        raise DataError(path, f"{len(names)} {what}: {first}{more}{todo}")


def warn_of_patients(path: str) -> None:
    """Say that a table has no patients."""
    text = "patients are not known: a split can hold one patient on both sides"
    logging.warning("%s: %s", path, text)


def _columns(path, rows):
    labels = patients = None
    if rows and rows[0].label is not None:
        labels = np.array([row.label for row in rows], np.int64)
    if rows and rows[0].patient == "":
        warn_of_patients(path)
    elif rows and rows[0].patient is not None:
        patients = [row.patient for row in rows]
    return labels, patients
