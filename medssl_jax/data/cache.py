"""Prepared images kept on disk, so that each is decoded once."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl_jax.data.arrays import load_array
from medssl_jax.data.source import TARGETS, Record, Source, Wrapper
from medssl_jax.errors import DataError, UserError
from medssl_jax.files import write_whole

FORMAT = "1"  # raise it when the same settings come to mean other arrays


@dataclass(frozen=True)
class Cached(Wrapper):
    """A source of `source`'s records as `prepare` makes them.

    They are kept in `folder` as .npy files, one for each field, under a hash of
    example, file and settings, and mapped into memory from there; nothing of a header
    is kept. The folder can be shared by runs and worker processes, and be deleted when
    none uses it. An empty `folder`, or a source without stamps, keeps nothing.

    `prepare` takes a record and its name, and returns arrays, `image` and any of
    `TARGETS`; its `repr` has to say all its settings.
    """

    source: Source
    prepare: Callable[[Record, str], Record]
    folder: str

    def __getitem__(self, i: int) -> Record:
        stamp = self.stamp(i)
        if not self.folder or not stamp:
            return self._prepared(i)
        path = Path(self.folder) / f"{hashlib.sha256(stamp.encode()).hexdigest()}.npy"
        try:
            return _read(path)
        except DataError:  # absent, or damaged when the machine went down
            record = self._prepared(i)
            for field in (*TARGETS, "image"):  # the last: with it, all are there
                if field in record:
                    _write(_of(path, field), record[field])
            return record

    def stamp(self, i: int) -> str:
        stamp = self.source.stamp(i)
        return stamp and "\n".join([FORMAT, self.name(i), stamp, repr(self.prepare)])

    def _prepared(self, i):
        return self.prepare(self.source[i], self.name(i))


def _read(path: Path) -> Record:
    targets = {field: _of(path, field) for field in TARGETS}
    found = {"image": load_array(path)}
    return found | {
        field: load_array(of) for field, of in targets.items() if of.exists()
    }


def _of(path: Path, field: str) -> Path:
    return path if field == "image" else path.with_suffix(f".{field}.npy")


def _write(path: Path, image: np.ndarray) -> None:
    """Write all or nothing: another process sees a whole file or none.

    Raises:
      UserError: if the folder cannot be written.
    """
    try:
        write_whole(path, lambda draft: _save(draft, image))
    except UserError as error:
        text = "set data.cache to another folder, or to ''"
        raise UserError(f"{error}; or {text}") from error


def _save(path: Path, image: np.ndarray) -> None:
    with path.open("wb") as file:  # a path would be given another ending
        np.save(file, image, allow_pickle=False)
