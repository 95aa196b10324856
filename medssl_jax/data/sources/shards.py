"""Images that were prepared before, in ArrayRecord shards."""

import bisect
import functools
import itertools
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.arrays import load_array
from medssl_jax.data.decoding import decoding
from medssl_jax.data.host import Prepare
from medssl_jax.data.shards import layout
from medssl_jax.data.shards.texts import Texts
from medssl_jax.data.shards.trusted import check_features
from medssl_jax.data.source import TARGETS, Record, Source
from medssl_jax.errors import ConfigError, DataError

# An open file costs memory for each of its records, 20 bytes; opening one of 10,000
# records takes .3 ms.
_OPEN = 256  # files in one process
# as array_record's own random access has them
_READER = {"options": "readahead_buffer_size:0", "file_reader_buffer_size": 1 << 15}
# TFDS's modules load one another lazily, under locks beside those of Python's imports:
# two threads of a worker that import it at once can wait for each other for good
_IMPORTING = threading.Lock()


def shards(*, root: str, split: str) -> "Shards":
    """Read one split of a folder that the command "prepare" wrote.

    The number of images costs no memory: labels, patients and names are files that are
    mapped, an image is read and unpacked when it is asked for, and of the shards only
    so many are open at once.

    Raises:
      ConfigError: if there is no such split.
      DataError: if the folder is missing, not finished or of another format, or a
        shard is missing or cut off; on reading, if a shard is damaged.
    """
    if not root:
        raise DataError("data.root", "is empty; name a folder of prepared shards")
    folder = Path(root)
    about = layout.read_prepared(folder)
    if not about["complete"]:
        reason = "is not finished; give the command that prepares it once more"
        raise DataError(folder, reason)
    if split not in about["splits"]:
        known = ", ".join(about["splits"])
        raise ConfigError(f"data.split {split!r} is not known; {root} has: {known}")
    files = about["splits"][split]["shards"]
    for file in files:
        _check_size(folder / file["file"], file["bytes"])
    examples = layout.read_examples(folder, split)
    ends = list(itertools.accumulate(file["examples"] for file in files))

    def rows(known: str) -> np.ndarray:
        return _rows(folder / layout.rows_name(split, known), ends[-1])

    return Shards(
        root,
        split,
        Texts(rows(layout.NAMES)),
        rows(layout.LABELS) if examples["labels"] else None,
        Texts(rows(layout.PATIENTS)) if examples["patients"] else None,
        examples["label_names"],
        about["prepare"],
        [file["file"] for file in files],
        ends,
        examples.get("has_masks", False),  # absent where there were none yet
        examples.get("class_names"),
        examples.get("has_boxes", False),
        examples.get("kind_names"),
        examples.get("label_classes"),
    )


@dataclass(frozen=True, eq=False)
class Shards(Source):
    """A source of prepared images; `shards` makes it.

    It crosses to another process as its folder and split, and is opened there.

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
    has_masks: bool = False
    class_names: Sequence[str] | None = None
    has_boxes: bool = False
    kind_names: Sequence[str] | None = None
    label_classes: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def __reduce__(self):
        return functools.partial(shards, root=self.root, split=self.split), ()

    def __getitem__(self, i: int) -> Record:
        if not 0 <= i < len(self):
            raise IndexError(f"{self.root}: no example {i} among {len(self)}")
        shard = bisect.bisect_right(self.ends, i)
        place = i - (self.ends[shard - 1] if shard else 0)
        path, stamp = Path(self.root) / self.files[shard], self.stamp(0)
        with decoding(path, f"shard at example {i}", mend="prepare it again"):
            (packed,) = _reader(str(path), stamp).read([place])
            found = _features(self.root, stamp).deserialize_example_np(packed)
            beside = {
                "name": self.names,
                "patient": self.patients,
                "label": self.labels,
            }
        for known, values in beside.items():
            if values is not None and known in found:
                _check_same(path, i, known, found[known], values[i])
        record = {f: found[f] for f in ("image", *TARGETS) if f in found}
        if np.all(np.isfinite(found["spacing_mm"])):
            record["spacing_mm"] = tuple(found["spacing_mm"].tolist())
        return record

    def name(self, i: int) -> str:
        return self.names[i]

    def stamp(self, i: int) -> str:
        about = tree.stamp(Path(self.root) / layout.PREPARED)
        return f"shards {self.split} {i} {about}"

    def check_prepared(self, prepare: Prepare) -> None:
        """Refuse images that were made with other settings than `prepare`'s.

        Raises:
          ConfigError: naming the fields.
        """
        here = layout.settings(prepare)
        if different := layout.differences(self.prepared, here):
            raise ConfigError(
                f"data.root {self.root} was prepared with other settings: "
                f"{'; '.join(different)}; set them as there, or prepare the data again"
            )


@functools.lru_cache(maxsize=_OPEN)
def _reader(path, stamp):
    """Open a shard; threads can share it."""
    del stamp  # another folder under the same name is not the one remembered
    from array_record.python.array_record_module import ArrayRecordReader

    return ArrayRecordReader(path, **_READER)


@functools.lru_cache(maxsize=16)
def _features(root, stamp):
    """Return what TFDS unpacks the records of a folder with."""
    del stamp
    check_features(Path(root))
    with _IMPORTING:
        import tensorflow_datasets  # half a second, where shards are read only

        return tensorflow_datasets.builder_from_directory(root).info.features


def _check_same(path, i, known, value, expected):
    """Refuse an example that is another than what stands beside the shards says."""
    value = value.decode() if isinstance(value, bytes) else value
    if not np.array_equal(value, expected, equal_nan=known == "label"):
        reason = f"holds the {known} {value!r}, not {expected!r}, as example {i}"
        raise DataError(path, f"{reason}; prepare it again")


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


def _rows(path, count):
    try:
        rows = np.asarray(load_array(path))  # still mapped
    except DataError as error:
        raise DataError(path, f"{error.reason}; prepare again") from error
    if rows.shape[:1] != (count,):
        reason = f"has the shape {rows.shape}, and there are {count} examples"
        raise DataError(path, f"{reason}; prepare again")
    return rows
