"""A folder of shards: which files it holds, and what is written down about them.

medssl_jax-SPLIT.array_record-00000-of-00004   images, TFDS' encoding and names
dataset_info.json, features.json               for `tfds.builder_from_directory`
SPLIT.examples.json                            how many, and what is known of them
SPLIT.names.npy, .patients.npy, .labels.npy    a row each, mapped: none is loaded
prepared.json                                  how it was made; `complete` when whole
done/                                          a note for each finished shard
"""

import dataclasses
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from medssl_jax.data import cache
from medssl_jax.data.host import Prepare
from medssl_jax.errors import DataError, UserError

DATASET = "medssl_jax"  # as TFDS names it
FORMAT = f"2.{cache.FORMAT}"  # of these files, and of what settings mean
PREPARED = "prepared.json"
NAMES, PATIENTS, LABELS = "names", "patients", "labels"


def shard_name(split: str, index: int, count: int) -> str:
    return f"{DATASET}-{split}.array_record-{index:05d}-of-{count:05d}"


def examples_name(split: str) -> str:
    return f"{split}.examples.json"


def rows_name(split: str, known: str) -> str:
    """Return the file of one row for each example: NAMES, PATIENTS or LABELS."""
    return f"{split}.{known}.npy"


def settings(prepare: Prepare) -> dict[str, Any]:
    """Return all settings of `prepare` as JSON gives them back."""
    return json.loads(json.dumps(dataclasses.asdict(prepare)))


def differences(there: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """Say of each field of a config in which two settings differ how."""
    return [
        f"{_field(name)} is {here.get(name)!r} here, {there.get(name)!r} there"
        for name in sorted(there.keys() | here.keys())
        if there.get(name) != here.get(name)
    ]


def read_prepared(folder: Path) -> dict[str, Any]:
    """Read prepared.json.

    Raises:
      DataError: if it is missing, damaged, or of another format.
    """
    path = folder / PREPARED
    if not path.is_file():
        raise DataError(
            folder,
            f"holds no shards (no {PREPARED}); make them with configs/prepare.py",
        )
    found = read_json(path)
    if found.get("format") != FORMAT:
        writer = found.get("versions", {}).get("medssl_jax", "unknown")
        raise DataError(
            path,
            f"is of format {found.get('format')!r}, written by medssl_jax {writer}; "
            f"this one reads {FORMAT!r}: prepare the data again, in another folder",
        )
    return found


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
      DataError: if the file is missing or damaged.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(path, f"cannot be read: {error}; prepare again") from error
    if not isinstance(found, dict):
        raise DataError(path, "is no JSON object; prepare again")
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all."""
    text = json.dumps(content, indent=1)
    write_whole(path, lambda draft: draft.write_text(text, encoding="utf-8"))


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file under a name for drafts; put it in `path`'s place.

    Raises:
      UserError: if the folder cannot be written.
    """
    try:
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
    except OSError as error:
        text = f"{path}: cannot be written ({error.strerror}); make room there"
        raise UserError(f"{text}, and start again: it goes on") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


_UMASK = _umask()


def _field(name):
    return "the number of axes of data.shape" if name == "ndim" else f"data.{name}"
