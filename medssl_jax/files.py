"""Files that the package writes: whole or not at all, and read with a clear error."""

import contextlib
import csv
import errno
import io
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax.errors import DataError, UserError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAYS_FULL = ("No space left", "RESOURCE_EXHAUSTED", "File too large", "Disk quota")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file under a name for drafts; put it in `path`'s place.

    So a kill leaves the file of before or the new one, and processes may write at once.

    Raises:
      UserError: if it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(f"-{path.name}.tmp", "", path.parent)
        os.close(handle)
        draft = Path(name)
        try:
            write(draft)
            draft.chmod(0o666 & ~_UMASK)  # mkstemp keeps it to its owner
            with open(draft, "rb+") as file:
                os.fsync(file)  # whole on disk before it has its name
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to `path` in the block: an OSError there says which file could not be.

    Raises:
      UserError: for an OSError.
    """
    try:
        yield
    except OSError as error:
        what = "make room there" if is_full(error) else "it has to be writable"
        text = f"{path}: cannot be written ({error.strerror or error}); {what}"
        raise UserError(f"{text}, and start again: it goes on") from error


def is_full(error: BaseException | None) -> bool:
    """Say whether a full disk, a quota or a limit of a file's size is the reason.

    What libraries raise on top of the system's error often has but its words.
    """
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        text = str(error)  # a device without memory is exhausted too, and no disk
        if any(sign in text for sign in _SAYS_FULL) and "memory" not in text.lower():
            return True
        error = error.__cause__ or error.__context__
    return False


def write_text(path: Path, text: str) -> None:
    """Write UTF-8, whole or not at all."""
    write_whole(path, lambda draft: draft.write_bytes(text.encode()))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object, whole or not at all."""
    write_text(path, json.dumps(content, indent=2))


def read_json(path: Path, mend: str = "") -> dict[str, Any]:
    """Read a JSON object.

    Args:
      mend: what to do about a damaged file, for the error.

    Raises:
      DataError: if it is missing, damaged or something else.
    """
    mend = mend and f"; {mend}"
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(path, f"cannot be read: {reason}{mend}") from error
    if not isinstance(found, dict):
        raise DataError(path, f"is no JSON object{mend}")
    return found


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence]) -> None:
    """Write a table in UTF-8, whole or not at all.

    A text that a spreadsheet would compute has an apostrophe before it: names of files
    and patients are whatever somebody called them.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerows([inert(cell) for cell in row] for row in (columns, *rows))
    write_text(path, table.getvalue())


def inert(cell: Any) -> Any:
    """Return a cell as `write_csv` writes it."""
    computed = isinstance(cell, str) and cell.startswith(_FORMULA)
    return f"'{cell}" if computed and not _is_number(cell) else cell


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a compressed .npz, whole or not at all."""

    def write(draft):
        with draft.open("wb") as file:  # a path would be given another ending
            np.savez_compressed(file, **arrays)

    write_whole(path, write)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()
