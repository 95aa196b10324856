"""What is written down about a run, for its report and for whoever repeats it."""

import importlib.metadata
import json
import platform
import shlex
import sys
import time
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree
from ml_collections import ConfigDict

from medssl_jax import files
from medssl_jax.data.order.mixture import Mixture, known_patients
from medssl_jax.data.order.roles import TRAIN
from medssl_jax.data.source import (
    ABSENT,
    PRESENT,
    UNLABELLED,
    Source,
    has_findings,
)
from medssl_jax.optim.durations import Durations
from medssl_jax.report.blocks import cell
from medssl_jax.run.private import with_home, without_folders, without_home

_PACKAGES = (
    "medssl_jax",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "grain",
    "numpy",
    "scikit-learn",
)
_AT_ONCE = 1 << 20  # labels
_MOST_ROWS = 20  # of a table on a terminal


def with_tuples(stated: Mapping[str, Any]) -> ConfigDict:
    """Return the config that JSON states, its lists the tuples that a config has."""

    def inner(value):
        if isinstance(value, Mapping):
            return {name: inner(one) for name, one in value.items()}
        if isinstance(value, list):
            found = map(inner, value)
            return tuple(ConfigDict(x) if isinstance(x, dict) else x for x in found)
        return value

    return ConfigDict(inner(stated))


def flat(config: ConfigDict) -> dict[str, Any]:
    """Return the config as dotted field -> JSON value."""

    def items(prefix: str, value: Any):
        if isinstance(value, Mapping) and value:
            for name, inner in value.items():
                yield from items(f"{prefix}.{name}" if prefix else name, inner)
        else:
            yield prefix, value

    return json.loads(json.dumps(dict(items("", plain(config)))))


def plain(config: Any) -> Any:
    """Return a config as dicts, also where a sequence holds some.

    (None,) is how a flag sets a tuple to None.
    """
    if config == (None,):
        return None
    if isinstance(config, Mapping | ConfigDict):
        return {name: plain(value) for name, value in config.items()}
    if isinstance(config, tuple | list):
        return type(config)(map(plain, config))
    return config


def write_config(path: Path, config: ConfigDict) -> None:
    """Write a config for `read_config`, and for people; the user's home is ~ in it."""
    files.write_json(path, without_home(plain(config)))


def read_config(path: Path) -> dict[str, Any]:
    """Return a config as `write_config` was given it, tuples as lists.

    Raises:
      DataError: if the file is missing or damaged.
    """
    return with_home(files.read_json(path))


def describe(
    config: ConfigDict, sources: Mapping[str, Source], durations: Durations
) -> dict[str, Any]:
    """Return what ran: command, versions, devices, data, durations."""
    facts = of_command(config.name, time.time())
    facts["devices"] |= {"parallel": config.parallel, **config.running}
    return facts | {
        "data": {role: summary(source) for role, source in sources.items()},
        "durations": {
            "epochs": durations.epochs,
            "updates": durations.updates,
            "micro-batches": durations.steps,
            "samples per update": durations.batch_size,
            "samples per micro-batch": durations.micro_batch_size,
            "accumulation": durations.accumulation,
        },
    }


def of_command(name: str, began: float) -> dict[str, Any]:
    """Return what is known of any command: its line, versions and devices.

    `began` is in seconds since the epoch.
    """
    devices = jax.devices()
    return {
        "name": name,
        "started": datetime.fromtimestamp(began, UTC).isoformat(timespec="seconds"),
        "command": shlex.join(
            ["python", "-m", "medssl_jax.main", *map(without_folders, sys.argv[1:])]
        ),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in _PACKAGES},
        },
        "devices": {
            "devices": f"{len(devices)} x {devices[0].device_kind}",
            "processes": jax.process_count(),
        },
    }


def finish(
    path: Path,
    params: PyTree,
    *,
    seconds: float,
    repeated_frames: int,
    skipped_micro_batches: int,
) -> None:
    """Add to what `describe` wrote how the run went."""
    run = files.read_json(path)
    run["seconds"] = seconds
    run["parameters"] = sum(leaf.size for leaf in jax.tree.leaves(params))
    run["durations"]["micro-batches left out, not finite"] = skipped_micro_batches
    run["data"][TRAIN]["repeated_frames"] = repeated_frames
    files.write_json(path, run)


def summary(source: Source) -> dict[str, Any]:
    """Count a source's examples, patients and labels; None is not known."""
    found: dict[str, Any] = {
        "count": len(source),
        "distinct": source.distinct,
        "patients": None,
        "label_counts": None,
        "repeated_frames": None,
    }
    if (patients := known_patients(source)) is not None:
        found["patients"] = len(patients)
    if source.labels is not None:
        found["label_counts"] = _label_counts(source)
    return found


def _label_counts(source: Source) -> dict[str, int]:
    """Count classes, or what is known of each finding."""
    if has_findings(source):
        marks = {"present": PRESENT, "absent": ABSENT, "unknown": UNLABELLED}
        return {
            f"{name} {word}": counts[mark]
            for column, name in enumerate(source.label_names)
            for counts in [_counts(source, column)]
            for word, mark in marks.items()
            if word == "present" or counts[mark]
        }
    counts = _counts(source)
    unlabelled = counts.pop(UNLABELLED, 0)
    names = source.label_classes
    found = {names[k] if names else str(k): counts[k] for k in sorted(counts)}
    return found | ({"none": unlabelled} if unlabelled else {})


def _counts(source: Source, column: int | None = None) -> Counter[int]:
    """Count the marks, of findings those of one; of few examples at a time.

    For labels can be a mapped file, and a mixture's no array at all.
    """
    if isinstance(source, Mixture):
        return sum((_counts(part, column) for part in source.parts), Counter())
    if source.labels is None:
        return Counter({UNLABELLED: len(source)})
    labels, counts = np.asarray(source.labels), Counter()
    labels = labels if column is None else labels[:, column]
    for start in range(0, len(labels), _AT_ONCE):
        piece = np.unique(labels[start : start + _AT_ONCE], return_counts=True)
        counts.update(dict(zip(*(part.tolist() for part in piece), strict=True)))
    return counts


def text_table(table: Mapping[str, Any]) -> str:
    """Lay out a table of results.json for a terminal."""
    shown = table["rows"][:_MOST_ROWS]
    rows = [[cell(value) for value in row] for row in (table["columns"], *shown)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(f"{text:<{w}}" for text, w in zip(row, widths, strict=True))
        for row in rows
    ]
    rule = "  ".join("-" * w for w in widths)
    if more := len(table["rows"]) - len(shown):
        lines.append(f"... and {more} more: see report.html")
    return "\n".join([table["title"], lines[0], rule, *lines[1:], table["note"]])
