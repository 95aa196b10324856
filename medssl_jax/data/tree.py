"""Files below a folder: which there are, and what changes when one does."""

import os
from pathlib import Path

from medssl_jax.errors import DataError


def files(
    root: str, suffixes: tuple[str, ...], *, holds: str, field: str = "data.root"
) -> list[str]:
    """List files below `root` as sorted POSIX paths relative to it.

    Hidden files and folders are left out, macOS's `._*` doubles with them, and what is
    no file, as a pipe; links are followed. `suffixes` match in any case; `("",)` takes
    every file. `holds` says in errors what is looked for, `field` which setting names
    the folder.

    Raises:
      DataError: if root is empty, missing, no folder, unreadable, or holds none.
    """
    if not root:
        raise DataError(field, f"is empty; name the folder that holds {holds}")
    if not Path(root).is_dir():
        below = "" if Path(root).is_absolute() else f" in {Path.cwd()}"
        raise DataError(root, f"there is no such folder{below}; check {field}")
    found = sorted(
        (Path(folder) / name).relative_to(root).as_posix()
        for folder, names in _walk(root)
        for name in names
        if name.lower().endswith(suffixes) and not name.startswith(".")
        if not _waits(Path(folder) / name)
    )
    if not found:
        raise DataError(root, f"there is no {holds} in this folder or below it")
    return found


def stamp(*paths: Path) -> str:
    """Return path, size and time of change of every file, as one text."""
    try:
        stats = [path.stat() for path in paths]
    except OSError as error:
        raise DataError(error.filename, f"cannot be read: {error.strerror}") from error
    return "\n".join(
        f"{path.absolute()} {stat.st_size} {stat.st_mtime_ns}"
        for path, stat in zip(paths, stats, strict=True)
    )


def _walk(root):
    seen = set()  # a link to a folder above would never end
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_refuse):
        if (real := os.path.realpath(folder)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield folder, names


def _waits(path: Path) -> bool:
    """Say whether to open it could wait for ever; a broken link is left to its reader."""
    return path.exists() and not path.is_file()


def readable_file(path: str | Path, mend: str = "") -> None:
    """Refuse what is no file before it is opened: a pipe or a device never ends.

    Raises:
      DataError: naming it, with what to do about it.
    """
    if not Path(path).is_file():
        reason = "is no file" if Path(path).exists() else "is missing"
        raise DataError(path, f"{reason}; {mend}" if mend else reason)


def _refuse(error: OSError):
    raise DataError(error.filename, f"cannot be listed: {error.strerror}")
