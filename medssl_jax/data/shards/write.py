"""One shard after the other: prepared images in an ArrayRecord file, TFDS-encoded."""

import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets
from array_record.python.array_record_module import ArrayRecordWriter
from tensorflow_datasets.core.example_serializer import ExampleSerializer

from medssl_jax import files
from medssl_jax.data.host import Prepare
from medssl_jax.data.shards.layout import (
    FORMAT,
    settings,
    shard_name,
)
from medssl_jax.data.source import TARGETS, Record, Source
from medssl_jax.errors import DataError, UserError

_DONE = "done"
_TARGETS = {
    "mask": np.uint8,
    "foreground": np.int32,
    "boxes": np.float32,
    "planes": np.int32,
}


@dataclass(frozen=True)
class Shard:
    """Examples `start` to `stop` of one split; `key` is a hash of all that it holds."""

    split: str
    index: int
    count: int  # of the split's shards
    start: int
    stop: int
    key: str

    @property
    def name(self) -> str:
        return shard_name(self.split, self.index, self.count)


@dataclass(frozen=True)
class Kind:
    """What the examples of all splits have in common: TFDS describes them once."""

    ndim: int
    channels: int
    dtype: str
    label: tuple[tuple[int, ...], str] | None  # shape and dtype, where all have one
    patient: bool
    targets: tuple[tuple[str, int | None], ...]  # with the width of each one's rows


def kind_of(sources: Iterable[Source], record: Record) -> Kind:
    """Return the kind of some sources' examples, given one of them, prepared."""
    sources = list(sources)
    labels = {
        None if s.labels is None else (s.labels.shape[1:], s.labels.dtype.name)
        for s in sources
    }
    label = labels.pop() if len(labels) == 1 else None
    patient = all(source.patients is not None for source in sources)
    image = record["image"]
    ndim = image.ndim - 1
    targets = _targets(record, ndim)
    return Kind(ndim, image.shape[-1], image.dtype.name, label, patient, targets)


def _targets(record, ndim):
    """Return what TFDS has to know of each: the length of its last axis, if fixed."""
    widths = {"foreground": ndim + 1, "boxes": 2 * ndim + 1}
    if "mask" in record and record["mask"].ndim > ndim:
        widths["mask"] = record["mask"].shape[-1]
    return tuple((field, widths.get(field)) for field in TARGETS if field in record)


def features(kind: Kind) -> tensorflow_datasets.features.FeaturesDict:
    """Return TFDS' description of an example.

    `spacing_mm` is the prepared image's, NaN where it is unknown.
    """
    # "bytes", not "zlib": ArrayRecord compresses all it writes (zstd), and faster
    tensor, text = (
        tensorflow_datasets.features.Tensor,
        tensorflow_datasets.features.Text,
    )
    shape = (None,) * kind.ndim + (kind.channels,)
    found = {
        "image": tensor(shape=shape, dtype=np.dtype(kind.dtype), encoding="bytes"),
        "spacing_mm": tensor(shape=(kind.ndim,), dtype=np.float32),
        "name": text(),
    }
    for field, width in kind.targets:
        axes = (None,) * (kind.ndim if field == "mask" else 1)
        shape = axes if width is None else (*axes, width)
        found[field] = tensor(shape=shape, dtype=_TARGETS[field], encoding="bytes")
    if kind.patient:
        found["patient"] = text()
    if kind.label is not None:
        shape, dtype = kind.label
        found["label"] = tensor(shape=shape, dtype=np.dtype(dtype))
    return tensorflow_datasets.features.FeaturesDict(found)


def plan(
    split: str, source: Source, kind: Kind, prepare: Prepare, *, size: int
) -> list[Shard]:
    """Return the shards of `size` examples, in the source's order."""
    count = -(-len(source) // size)
    # an empty field is left out: shards from before it was there are still whole
    of_kind = {field: value for field, value in asdict(kind).items() if value != ()}
    common = [FORMAT, split, count, of_kind, settings(prepare)]
    shards = []
    for index in range(count):
        start, stop = index * size, min((index + 1) * size, len(source))
        key = hashlib.sha256(json.dumps([*common, index]).encode())
        for i in range(start, stop):
            about = [source.name(i), source.stamp(i), _known(source, i)]
            key.update(json.dumps(about, default=np.ndarray.tolist).encode())
        shards.append(Shard(split, index, count, start, stop, key.hexdigest()))
    return shards


def note(folder: Path, shard: Shard) -> dict[str, Any] | None:
    """Return what is written down about a finished shard; None if it is not finished.

    It holds `examples` (indices into the source), `skipped` (name, reason) and `bytes`.
    A shard that is cut off, or of other data or settings, is not finished.
    """
    path = folder / _DONE / f"{shard.name}.json"
    try:
        found = files.read_json(path)
        whole = (folder / shard.name).stat().st_size == found["bytes"]
    except (OSError, KeyError, DataError):
        return None
    return found if whole and found.get("key") == shard.key else None


@dataclass(frozen=True)
class WriteShard:
    """Prepare the examples of a shard and write it, in any process.

    Raises:
      DataError: on the first unusable example, unless `on_error` is "skip".
      UserError: if the folder cannot be written.
    """

    sources: Mapping[str, Source]
    prepare: Prepare
    kind: Kind
    folder: str
    on_error: str

    def __call__(self, shard: Shard, advance: Callable[[], Any] = lambda: None) -> str:
        path = Path(self.folder) / shard.name
        examples, skipped = [], []

        def fill(draft: Path) -> None:
            writer = ArrayRecordWriter(str(draft), "group_size:1")
            try:
                for i in range(shard.start, shard.stop):
                    try:
                        example = self._example(shard.split, i)
                    except DataError as error:
                        if self.on_error != "skip":
                            raise
                        name = self.sources[shard.split].name(i)
                        skipped.append((name, error.reason))
                    else:
                        _checked(path, writer.write, self._encode(example))
                        examples.append(i)
                    advance()
            finally:
                _checked(path, writer.close)

        files.write_whole(path, fill)
        found = {
            "key": shard.key,
            "bytes": path.stat().st_size,
            "examples": examples,
            "skipped": skipped,
        }
        # after the shard: without its note it does not count
        files.write_json(path.parent / _DONE / f"{shard.name}.json", found)
        return shard.name

    def _example(self, split, i) -> Record:
        source = self.sources[split]
        name = source.name(i)
        record = source[i]
        prepared = self.prepare(record, name)
        image = prepared["image"]
        targets = _targets(prepared, image.ndim - 1)
        if targets != self.kind.targets:
            has = ", ".join(field for field, _ in targets) or "none"
            first = ", ".join(field for field, _ in self.kind.targets) or "none"
            text = f"has the targets {has}, and the first example {first}"
            raise DataError(name, f"{text}; shards hold one kind of example")
        found, wanted = (image.shape[-1], image.dtype.name), self.kind
        if found != (wanted.channels, wanted.dtype):
            text = f"becomes {found[1]} with {found[0]} channel(s), the first example"
            reason = f"{text} {wanted.dtype} with {wanted.channels}; shards hold one"
            raise DataError(name, f"{reason} kind: see data.window, or leave it out")
        spacing = _spacing_mm(record, image, self.prepare)
        example = prepared | {"name": name, "spacing_mm": spacing}
        return example | _known(source, i)

    def _encode(self, example: Record) -> bytes:
        described, serializer = _serializer(self.kind)
        encoded = described.encode_example({name: example[name] for name in described})
        # TFDS' own serialize_example leaves the order of features to chance
        proto = serializer.get_tf_example(encoded)
        return proto.SerializeToString(deterministic=True)


@functools.lru_cache(maxsize=4)
def _serializer(kind):
    described = features(kind)
    return described, ExampleSerializer(described.get_serialized_info())


def _known(source, i):
    known = {}
    if source.labels is not None:
        known["label"] = np.asarray(source.labels[i])
    if source.patients is not None:
        known["patient"] = str(source.patients[i])
    return known


def _spacing_mm(record, image, prepare):
    """Return the voxel spacing after preparing: its field of view is what was cropped."""
    shape = image.shape[:-1]
    if "spacing_mm" not in record:
        return np.full(len(shape), np.nan, np.float32)
    record = prepare.cropped(record)
    before = record["image"].shape[:-1]
    _, wanted = prepare.spacings_mm(record) or (None, (None,) * len(shape))
    result = []
    for axis, old in enumerate(record["spacing_mm"]):
        new, n, m = wanted[axis], before[axis], shape[axis]
        exact = new is not None and max(1, round(n * old / new)) == m
        result.append(new if exact else old * n / m)
    return np.array(result, np.float32)


def _checked(path, write, *args):
    """Call ArrayRecord, whose errors have no class of their own."""
    try:
        write(*args)
    except (RuntimeError, ValueError, OSError) as error:
        text = f"{path}: cannot be written ({error}); make room there"
        raise UserError(f"{text}, and start again: it goes on") from error
