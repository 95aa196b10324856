"""What makes finished shards a dataset: TFDS' metadata, names, labels and patients."""

import contextlib
import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets
from safetensors.numpy import save_file

from medssl_jax.data import shard_files
from medssl_jax.data.shard_write import Kind, Shard, features, note
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
        notes = [note(folder, shard) for shard in mine]
        kept = [i for found in notes for i in found["examples"]]
        skipped = [pair for found in notes for pair in found["skipped"]]
        if not kept:
            name, reason = skipped[0]
            raise DataError(
                name, f"{reason}; and no other example of {split} is usable"
            )
        _write_examples(folder, split, source, kept)
        rows += [(split, *pair) for pair in skipped]
        splits[split] = {
            "skipped": len(skipped),
            "shards": [
                {
                    "file": shard.name,
                    "bytes": found["bytes"],
                    "examples": len(found["examples"]),
                }
                for shard, found in zip(mine, notes, strict=True)
            ],
        }
    _write_skipped(folder / "skipped.csv", rows)
    _remove_others(folder, {shard.name for shard in shards})
    _write_tfds(folder, kind, splits)
    complete = {**about, "complete": True, "splits": splits}
    shard_files.write_json(folder / shard_files.PREPARED, complete)
    return {
        split: (sum(s["examples"] for s in found["shards"]), found["skipped"])
        for split, found in splits.items()
    }


def _write_examples(folder, split, source, kept):
    patients = source.patients
    content = {
        "names": [source.name(i) for i in kept],
        "patients": None if patients is None else [str(patients[i]) for i in kept],
        "labels": source.labels is not None,
        "label_names": _label_names(source),
    }
    if source.labels is not None:
        labels = np.ascontiguousarray(np.asarray(source.labels)[kept])
        shard_files.write_whole(
            folder / shard_files.labels_name(split),
            lambda draft: save_file({shard_files.LABELS: labels}, draft),
        )
    shard_files.write_json(folder / shard_files.examples_name(split), content)


def _label_names(source):
    """Return the findings' names, where a source has them."""
    names = source.label_names
    return None if names is None else list(names)


def _write_skipped(path, rows):
    if rows:
        table = io.StringIO(newline="")
        csv.writer(table).writerows([("split", "name", "reason"), *rows])
        content = table.getvalue().encode()
        shard_files.write_whole(path, lambda draft: draft.write_bytes(content))
    else:
        path.unlink(missing_ok=True)


def _remove_others(folder, names):
    """Remove drafts of processes that were killed, and shards of another plan."""
    drafts = [*folder.glob("*.tmp"), *folder.glob("done/*.tmp")]
    shards = folder.glob(f"{shard_files.DATASET}-*.array_record-*")
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
            version=f"{shard_files.FORMAT}.0",
            description="Images prepared by medssl_jax; prepared.json says how.",
            check_data=False,  # it would read with TensorFlow
        )
