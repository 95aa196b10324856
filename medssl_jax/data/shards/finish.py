"""What makes finished shards a dataset: TFDS' metadata, names, labels and patients."""

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets

from medssl_jax import files
from medssl_jax.data.shards import layout
from medssl_jax.data.shards.texts import packed
from medssl_jax.data.shards.write import Kind, Shard, features, note
from medssl_jax.data.source import Source
from medssl_jax.errors import DataError


def finish(
    folder: Path,
    sources: Mapping[str, Source],
    kind: Kind,
    shards: Sequence[Shard],
    about: Mapping[str, Any],
) -> dict[str, tuple[int, int]]:
    """Write all that stands beside the shards, prepared.json last.

    Returns:
      By split, the number of examples and of those left out.

    Raises:
      DataError: if no example of a split is usable.
    """
    splits = {}
    rows = []
    for split, source in sources.items():
        mine = [shard for shard in shards if shard.split == split]
        about_shards, skipped = [], []
        for shard in mine:
            found = note(folder, shard)
            skipped += found["skipped"]
            about_shards.append(
                {
                    "file": shard.name,
                    "bytes": found["bytes"],
                    "examples": len(found["examples"]),
                }
            )
        if not any(shard["examples"] for shard in about_shards):
            name, reason = skipped[0]
            raise DataError(
                name, f"{reason}; and no other example of {split} is usable"
            )
        _write_examples(folder, split, source, mine)
        rows += [(split, *pair) for pair in skipped]
        splits[split] = {"skipped": len(skipped), "shards": about_shards}
    _write_skipped(folder / "skipped.csv", rows)
    _remove_others(folder, {shard.name for shard in shards})
    _write_tfds(folder, kind, splits)
    complete = {**about, "complete": True, "splits": splits}
    files.write_json(folder / layout.PREPARED, complete)
    return {
        split: (sum(s["examples"] for s in found["shards"]), found["skipped"])
        for split, found in splits.items()
    }


def _write_examples(folder, split, source, shards):
    """Write what is known of a split's examples, with one shard's in memory."""

    def kept() -> Iterable[list[int]]:
        return (note(folder, shard)["examples"] for shard in shards)

    def path(known: str) -> Path:
        return folder / layout.rows_name(split, known)

    count = sum(map(len, kept()))
    labels, patients = source.labels, source.patients
    _write_texts(path(layout.NAMES), count, kept, source.name)
    if patients is not None:
        _write_texts(path(layout.PATIENTS), count, kept, lambda i: str(patients[i]))
    if labels is not None:
        labels = np.asarray(labels)
        rows = (labels[indices].tobytes() for indices in kept())
        shape = (count, *labels.shape[1:])
        _write_rows(path(layout.LABELS), labels.dtype, shape, rows)
    content = {
        "examples": count,
        "labels": labels is not None,
        "patients": patients is not None,
        "label_names": _label_names(source),
        "label_classes": source.label_classes and list(source.label_classes),
        "has_masks": source.has_masks,
        "class_names": source.class_names and list(source.class_names),
        "has_boxes": source.has_boxes,
        "kind_names": source.kind_names and list(source.kind_names),
    }
    files.write_json(folder / layout.examples_name(split), content)


def _write_texts(
    path: Path,
    count: int,
    kept: Callable[[], Iterable[list[int]]],
    text: Callable[[int], str],
) -> None:
    def encoded() -> Iterable[list[bytes]]:
        return ([text(i).encode() for i in indices] for indices in kept())

    # once more for their width: the rows are never all in memory
    width = max(1, max(len(one) for texts in encoded() for one in texts))
    rows = (packed(texts, width) for texts in encoded())
    _write_rows(path, np.dtype(np.uint8), (count, width), rows)


def _write_rows(
    path: Path, dtype: np.dtype, shape: tuple[int, ...], rows: Iterable[bytes]
) -> None:
    """Write a .npy file piece by piece."""
    about = {"descr": np.lib.format.dtype_to_descr(dtype), "shape": shape}

    def fill(draft: Path) -> None:
        with open(draft, "wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {**about, "fortran_order": False}
            )
            file.writelines(rows)

    files.write_whole(path, fill)


def _label_names(source):
    """Return the findings' names, where a source has them."""
    names = source.label_names
    return None if names is None else list(names)


def _write_skipped(path, rows):
    if rows:
        files.write_csv(path, ("split", "name", "reason"), rows)
    else:
        path.unlink(missing_ok=True)


def _remove_others(folder, names):
    """Remove drafts of processes that were killed, and shards of another plan."""
    drafts = [*folder.glob("*.tmp"), *folder.glob("done/*.tmp")]
    shards = folder.glob(f"{layout.DATASET}-*.array_record-*")
    for path in [*drafts, *(path for path in shards if path.name not in names)]:
        path.unlink(missing_ok=True)


def _write_tfds(folder, kind, splits):
    infos = [
        tensorflow_datasets.core.SplitInfo(
            name=split,
            shard_lengths=[shard["examples"] for shard in found["shards"]],
            num_bytes=sum(shard["bytes"] for shard in found["shards"]),
        )
        for split, found in splits.items()
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it is talkative
        tensorflow_datasets.folder_dataset.write_metadata(
            data_dir=str(folder),
            features=features(kind),
            split_infos=infos,
            version=f"{layout.FORMAT}.0",
            description="Images prepared by medssl_jax; prepared.json says how.",
            check_data=False,  # it would read with TensorFlow
        )
