"""What a run left in its folder, read for the report; None for what is not there."""

import csv
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

from medssl_jax.errors import DataError
from medssl_jax.run.log import METRICS, read_metrics

Json = Mapping[str, Any]
Rows = list[list[str]]
Read = TypeVar("Read")


class Run(NamedTuple):
    """The files of a run folder."""

    name: str
    config: Json | None
    run: Json | None
    metrics: list[dict[str, Any]] | None
    results: Json | None
    views: Mapping[str, np.ndarray] | None
    embeddings: Mapping[str, np.ndarray] | None
    cases: Mapping[str, np.ndarray] | None
    reconstructions: Mapping[str, np.ndarray] | None
    attention: Mapping[str, np.ndarray] | None
    detections: Mapping[str, np.ndarray] | None
    mapped: Mapping[str, np.ndarray] | None
    predictions: Rows | None
    skipped: Rows | None


def read_run(workdir: Path) -> Run:
    """Read a run folder; tables with their header as first row.

    Raises:
      DataError: if a file is there and cannot be read.
    """

    def read(name: str, reader: Callable[[Path], Read]) -> Read | None:
        path = workdir / name
        if not path.exists():
            return None
        try:
            return reader(path)
        except (ValueError, EOFError, zipfile.BadZipFile, csv.Error) as error:
            reason = f"cannot be read ({error}); remove it to have the report without"
            raise DataError(path, reason) from error

    run = read("run.json", _json)
    return Run(
        name=workdir.name if run is None else str(run["name"]),
        config=read("config.json", _json),
        run=run,
        metrics=read(METRICS, read_metrics),
        results=read("results.json", _json),
        views=read("views.npz", _arrays),
        embeddings=read("embeddings.npz", _arrays),
        cases=read("cases.npz", _arrays),
        reconstructions=read("reconstructions.npz", _arrays),
        attention=read("attention.npz", _arrays),
        detections=read("detections.npz", _arrays),
        mapped=read("mapped.npz", _arrays),
        predictions=read("predictions.csv", _rows),
        skipped=read("skipped.csv", _rows),
    )


def _json(path: Path) -> Json:
    return json.loads(path.read_text(encoding="utf-8"))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        return dict(arrays)


def _rows(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))
