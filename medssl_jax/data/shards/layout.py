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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from medssl_jax import files
from medssl_jax.data import cache
from medssl_jax.data.host import Prepare
from medssl_jax.errors import DataError
from medssl_jax.ranges import Natural

DATASET = "medssl_jax"  # as TFDS names it
FORMAT = f"2.{cache.FORMAT}"  # of these files, and of what settings mean
PREPARED = "prepared.json"
AGAIN = "prepare again"  # what mends a damaged folder
NAMES, PATIENTS, LABELS = "names", "patients", "labels"
_SINCE = ("crop_to_body", "longest_side")  # settings that format 2.1 began without


class _File(BaseModel, extra="allow"):
    file: str
    bytes: Natural
    examples: Natural


class _Split(BaseModel, extra="allow"):
    shards: list[_File]


class _Prepared(BaseModel, extra="allow"):
    complete: bool
    splits: dict[str, _Split]
    prepare: dict[str, Any]


class _Examples(BaseModel, extra="allow"):
    labels: bool
    patients: bool
    label_names: list[str] | None
    label_classes: list[str] | None = None
    has_masks: bool = False
    class_names: list[str] | None = None
    has_boxes: bool = False
    kind_names: list[str] | None = None


def shard_name(split: str, index: int, count: int) -> str:
    return f"{DATASET}-{split}.array_record-{index:05d}-of-{count:05d}"


def examples_name(split: str) -> str:
    return f"{split}.examples.json"


def rows_name(split: str, known: str) -> str:
    """Return the file of one row for each example: NAMES, PATIENTS or LABELS."""
    return f"{split}.{known}.npy"


def settings(prepare: Prepare) -> dict[str, Any]:
    """Return all settings of `prepare` as JSON gives them back.

    Without those of `_SINCE` that are off: shards from before them are still whole.
    """
    found = json.loads(json.dumps(dataclasses.asdict(prepare)))
    return {field: x for field, x in found.items() if x or field not in _SINCE}


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
    found = files.read_json(path, AGAIN)
    if found.get("format") != FORMAT:
        writer = found.get("versions", {}).get("medssl_jax", "unknown")
        raise DataError(
            path,
            f"is of format {found.get('format')!r}, written by medssl_jax {writer}; "
            f"this one reads {FORMAT!r}: prepare the data again, in another folder",
        )
    return _checked(path, found, _Prepared)


def read_examples(folder: Path, split: str) -> dict[str, Any]:
    """Read what is known of a split's examples.

    Raises:
      DataError: if the file is missing or damaged.
    """
    path = folder / examples_name(split)
    return _checked(path, files.read_json(path, AGAIN), _Examples)


def _checked(path: Path, found: dict[str, Any], kind: type[BaseModel]):
    try:
        kind.model_validate(found, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(path, f"{where}: {first['msg']}; {AGAIN}") from error
    return found


def _field(name):
    return "the number of axes of data.shape" if name == "ndim" else f"data.{name}"
