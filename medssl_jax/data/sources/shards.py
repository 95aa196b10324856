"""Images that were prepared before, in ArrayRecord shards."""

import bisect
import functools
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from medssl_jax.data import shard_files, tree
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record
from medssl_jax.errors import ConfigError, DataError


def shards(*, root: str, split: str) -> "Shards":
    """Read one split of a folder that the command "prepare" wrote.

    Labels, patients and names are held in memory, images are not: each is read and
    unpacked when it is asked for.

    Raises:
      ConfigError: if there is no such split.
      DataError: if the folder is missing, not finished or of another format, or a
        shard is missing or cut off; on reading, if a shard is damaged.
    """
    if not root:
        raise DataError("data.root", "is empty; name a folder of prepared shards")
    folder = Path(root)
    about = shard_files.read_prepared(folder)
    if not about["complete"]:
        reason = "is not finished; give the command that prepares it once more"
        raise DataError(folder, reason)
    if split not in about["splits"]:
        known = ", ".join(about["splits"])
        raise ConfigError(f"data.split {split!r} is not known; {root} has: {known}")
    files = about["splits"][split]["shards"]
    for file in files:
        _check_size(folder / file["file"], file["bytes"])
    examples = shard_files.read_json(folder / shard_files.examples_name(split))
    found = Shards(
        root,
        split,
        examples["names"],
        _labels(folder, split) if examples["labels"] else None,
        examples["patients"],
        examples["label_names"],
        about["prepare"],
        [file["file"] for file in files],
        list(itertools.accumulate(file["examples"] for file in files)),
    )
    known = [found.names, found.labels, found.patients]
    if any(part is not None and len(part) != found.ends[-1] for part in known):
        path = folder / shard_files.examples_name(split)
        raise DataError(
            path, f"is not of these {found.ends[-1]} examples; prepare again"
        )
    return found


@dataclass(frozen=True, eq=False)
class Shards:
    """A source of prepared images; `shards` makes it.

    Attributes:
      prepared: the settings of `Prepare` that made the images.
      files, ends: of each shard, its name and the place after its last example.
    """

    root: str
    split: str
    names: Sequence[str]
    labels: np.ndarray | None
    patients: Sequence[str] | None
    label_names: Sequence[str] | None  # of (n, k) findings
    prepared: Mapping[str, Any]
    files: Sequence[str]
    ends: Sequence[int]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Record:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.root}: no example {i} among {len(self)}")
        path = Path(self.root) / self.files[bisect.bisect_right(self.ends, i)]
        try:
            found = _reader(self.root, self.split, self.stamp(0))[i]
            name = found["name"].decode()
        # what ArrayRecord, protobuf and NumPy raise on damaged files
        except (RuntimeError, ValueError, KeyError, OSError, DecodeError) as error:
            reason = f"is damaged at example {i} ({error}); prepare it again"
            raise DataError(path, reason) from error
        if name != self.names[i]:
            reason = f"holds {name!r}, not {self.names[i]!r}, as example {i}"
            raise DataError(path, f"{reason}; prepare it again")
        record = {"image": found["image"]}
        if np.all(np.isfinite(found["spacing_mm"])):
            record["spacing_mm"] = tuple(found["spacing_mm"].tolist())
        return record

    def name(self, i: int) -> str:
        return self.names[i]

    def stamp(self, i: int) -> str:
        about = tree.stamp(Path(self.root) / shard_files.PREPARED)
        return f"shards {self.split} {i} {about}"

    def check_prepared(self, prepare: Prepare) -> None:
        """Refuse images that were made with other settings than `prepare`'s.

        Raises:
          ConfigError: naming the fields.
        """
        here = shard_files.settings(prepare)
        if different := shard_files.differences(self.prepared, here):
            raise ConfigError(
                f"data.root {self.root} was prepared with other settings: "
                f"{'; '.join(different)}; set them as there, or prepare the data again"
            )


@functools.lru_cache(maxsize=16)
def _reader(root, split, stamp):
    """Open the shards, once in each process; each file only when it is read."""
    del stamp  # another folder under the same name is not the one remembered
    import tensorflow_datasets  # half a second, where shards are read only

    builder = tensorflow_datasets.builder_from_directory(root)
    return builder.as_data_source(split)


def _check_size(path, size):
    try:
        found = path.stat().st_size
    except OSError as error:
        text = f"is missing ({error.strerror})"
        raise DataError(
            path, f"{text}; prepare the data again into {path.parent}"
        ) from error
    if found != size:
        text = f"is cut off or changed: {found} of {size} bytes"
        raise DataError(path, f"{text}; prepare the data again into {path.parent}")


def _labels(folder, split):
    path = folder / shard_files.labels_name(split)
    try:
        return load_file(path)[shard_files.LABELS]
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise DataError(path, f"cannot be read: {error}; prepare again") from error
