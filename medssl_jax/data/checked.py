"""Unusable examples set aside, and reported."""

import csv
import hashlib
from pathlib import Path

import numpy as np
from tqdm import tqdm

from medssl_jax.data.source import Source, Subset
from medssl_jax.errors import DataError
from medssl_jax.files import inert, write_csv

_COLUMNS = ("name", "reason", "source")


def skip_unusable(source: Source, report_csv: str | Path) -> Subset:
    """Read every example once, and leave out those that raise `DataError`.

    The report has a row `name,reason,source` for each, and one row without a name for
    each source read, which counts them; `source` is a hash of its names. A source that
    the report has is not read again, so that a resumed run has the same examples;
    delete the report to have it read anew. Several sources can share a report.

    Raises:
      DataError: if no example is usable.
    """
    path, identity = Path(report_csv), _identity(source)
    mine = [row for row in _read(path) if row["source"] == identity]
    if not mine:
        mine = _read_all(source, identity)
        others = [row for row in _read(path) if row["source"] != identity]
        rows = [[row[column] for column in _COLUMNS] for row in others + mine]
        write_csv(path, _COLUMNS, rows)
    skipped = {row["name"] for row in mine if row["name"]}
    usable = [i for i in range(len(source)) if inert(source.name(i)) not in skipped]
    if not usable:
        first = next(row["reason"] for row in mine if row["name"])
        raise DataError(path, f"no example is usable; the first one {first}")
    return Subset(source, np.array(usable, np.int64))


def _read_all(source, identity):
    skipped = []
    for i in tqdm(range(len(source)), desc="checking files", disable=None):
        try:
            source[i]
        except DataError as error:
            skipped.append((inert(source.name(i)), error.reason))  # as it is read again
    counts = f"{len(source) - len(skipped)} of {len(source)} examples are usable"
    return [
        dict(zip(_COLUMNS, (name, reason, identity), strict=True))
        for name, reason in [*skipped, ("", counts)]
    ]


def _identity(source):
    names = [source.name(i) for i in range(len(source))]
    place = [source.stamp(0)] if names else []  # names are relative to a root
    return hashlib.sha256("\n".join(names + place).encode()).hexdigest()[:12]


def _read(path):
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            text = "is no report of skipped examples; delete it to have them read anew"
            raise DataError(path, text)
        return list(reader)
