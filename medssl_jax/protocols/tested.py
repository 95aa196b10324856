"""The test of a finished run, read from the table that it left."""

import csv
from collections.abc import Sequence
from pathlib import Path

from medssl_jax.errors import ConfigError, DataError
from medssl_jax.evals.judged import FILE
from medssl_jax.protocols import detected, predictions, structures
from medssl_jax.protocols.cases import Cases

_READERS = {
    "predictions.csv": predictions.parse,
    "cases.csv": structures.parse,
    FILE: detected.parse,
}


def named_runs(runs: Sequence[str]) -> dict[str, Path]:
    """Return the folders of `config.runs` by short names that tell them apart.

    Raises:
      ConfigError: if there are fewer than two, or one is named twice.
    """
    folders = [Path(folder) for folder in runs]
    if len(set(folders)) < 2 or len(set(folders)) < len(folders):
        given = ", ".join(map(str, folders)) or "none"
        text = f"config.runs names {given}; it takes two different run folders or more"
        raise ConfigError(f"{text}: --config.runs=\"('runs/a', 'runs/b')\"")
    names = [folder.name for folder in folders]
    if len(set(names)) < len(names):
        names = [str(folder) for folder in folders]
    return dict(zip(names, folders, strict=True))


def read_cases(run: Path) -> Cases:
    """Read the table of a test, whether of classes, masks (cases.csv) or boxes.

    Raises:
      DataError: if there is neither, or it is damaged or names a case twice.
    """
    found = [run / name for name in _READERS if (run / name).exists()]
    if not found:
        names = " and no ".join(_READERS)
        reason = f"holds no {names}: it is no finished run that was tested"
        raise DataError(run, reason)
    path = found[0]
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        _check(rows)
        return _READERS[path.name](rows)
    except KeyError as error:
        raise DataError(path, f"has no column {error}") from error
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(path, f"cannot be read: {error}") from error


def _check(rows: Sequence[dict[str, str]]) -> None:
    if not rows:
        raise ValueError("it has no rows")
    names = [row["name"] for row in rows]
    twice = len(names) - len(set(names))
    if twice:
        raise ValueError(f"{twice} examples are in it twice")
    for name, row in zip(names, rows, strict=True):
        if None in row or None in row.values():  # DictReader's: too many, too few
            raise ValueError(f"the row of {name} is not as long as the header")
