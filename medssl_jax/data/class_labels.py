"""Labels of a table as classes: their numbers, or their names."""

from collections.abc import Sequence

from medssl_jax.data.source import UNLABELLED
from medssl_jax.errors import DataError

_UNKNOWN = ("", "-1")
_MOST_CLASSES = 10_000  # what is predicted has a column for each
_IDS = 100  # names; more of them, each once, are no classes

Cell = tuple[int, str]  # a line's number, and what it says


def classes_of(
    path: str, cells: Sequence[Cell], names: Sequence[str] = ()
) -> tuple[list[int], tuple[str, ...] | None]:
    """Return the class of each cell, and the classes' names where cells are names.

    Args:
      path: the table, for errors.
      cells: a class number (0, 1, 2, ...) each, or a name each; empty, or -1, is
        `UNLABELLED`.
      names: of classes 0, 1, 2, ...; (): the names that there are, sorted.

    Raises:
      DataError: naming file and line: numbers beside names, a name that is none of
        `names`, a number that is no class, as many names as an id has.
    """
    known = [(line, cell) for line, cell in cells if cell not in _UNKNOWN]
    if not names:
        if not known or not all(_is_name(cell) for _, cell in known):
            return [class_number(cell, path, line) for line, cell in cells], None
        names = sorted({cell for _, cell in known})
        if len(names) > max(_IDS, len(known) // 2):
            text = f"has {len(names)} labels in {len(known)} rows, such as {names[0]!r}"
            raise DataError(path, f"{text}: are they ids?")
    numbers = {name: number for number, name in enumerate(names)}
    for line, cell in known:
        if cell not in numbers:
            said = ", ".join(names)
            text = f"line {line}: label {cell!r} is none of data.classes: {said}"
            raise DataError(path, text)
    return [numbers.get(cell, UNLABELLED) for _, cell in cells], tuple(names)


def class_number(cell: str, path: str, line: int) -> int:
    """Return the class whose number a cell is.

    Raises:
      DataError: naming file and line.
    """
    if cell in _UNKNOWN:
        return UNLABELLED
    if not _is_number(cell):
        reason = f"line {line}: label {cell!r} is no class number (0, 1, 2, ...)"
        raise DataError(path, f"{reason}; leave it empty where unknown")
    if len(cell) > len(str(_MOST_CLASSES)) or int(cell) >= _MOST_CLASSES:
        reason = f"line {line}: label {cell} is more than {_MOST_CLASSES - 1}"
        raise DataError(path, f"{reason}, and classes are 0, 1, 2, ...: is it an id?")
    return int(cell)


def _is_name(cell: str) -> bool:
    return any(map(str.isalpha, cell))  # "1.5" is a number, and none of a class


def _is_number(cell: str) -> bool:
    return cell.isascii() and cell.isdigit()
