"""A fine-tuned model on new scans, with or without labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from medssl_jax import resolve
from medssl_jax.data import settings
from medssl_jax.data.masks import write_array
from medssl_jax.data.order import roles
from medssl_jax.data.source import Source
from medssl_jax.errors import ConfigError
from medssl_jax.evals.base import apply_to_all
from medssl_jax.evals.detections import write_detections
from medssl_jax.evals.predictions import write_predictions
from medssl_jax.evals.whole import names_of
from medssl_jax.protocols.staged import is_staged, staged
from medssl_jax.ranges import Count
from medssl_jax.run.provenance import plain
from medssl_jax.saved.predictor import Predictor, load_predictor, method_of


def run(config: ConfigDict, workdir: Path) -> None:
    """Predict every example of `config.data` with the model `config.init_from`.

    Writes predictions.csv with a row for each; where the model segments, masks/ with a
    file for each: in the orientation and grid of its image, under its name, in its
    format, which of DICOM series is DICOM SEG; where it detects, detections.csv with a
    row for each box, in pixels of its image. Of both stages of `protocols.stages` each
    slice has a row, and what the first found is in attention/.

    Raises:
      ConfigError: if no model is named.
      DataError: if the model or the data cannot be used.
    """
    resolve.fields(config, {"batch_size": Count})
    if not config.init_from:
        raise ConfigError("config.init_from is empty; name a fine-tuned run's folder")
    if jax.process_index() != 0:
        return
    predictor, source = _opened(Path(config.init_from), plain(config.data), workdir)
    if any(predictor.voxels):
        _masks(predictor, source, workdir / "masks")
    elif method_of(predictor.spec).boxes:
        _boxes(predictor, source, workdir / "detections.csv")
    else:
        _probabilities(predictor, source, workdir / "predictions.csv", config)


def _opened(
    run: Path, data: Mapping[str, Any], workdir: Path
) -> tuple[Predictor, Source]:
    if is_staged(run):
        return staged(run, data, workdir)
    predictor = load_predictor(run)
    data = settings.following(data, predictor.spec)
    return predictor, roles.whole(data, predictor.host.prepare, workdir)


def _masks(predictor: Predictor, source: Source, folder: Path) -> None:
    names = names_of(predictor.spec.get("class_names"), predictor.voxels)
    notes = set()
    for i in tqdm(range(len(source)), desc="segmenting", disable=None):
        origin, j = source.origin(i)
        mask = predictor.of_record(origin[j], source.name(i))["mask"]
        write = origin.write_mask or write_array
        write(origin.name(j), mask, folder, names)
        notes.add(origin.mask_note)
    print(f"{len(source)} masks: {folder}")
    for note in sorted(notes - {""}):
        print(note)


def _boxes(predictor: Predictor, source: Source, path: Path) -> None:
    found = []
    for i in tqdm(range(len(source)), desc="detecting", disable=None):
        origin, j = source.origin(i)
        found.append(predictor.of_record(origin[j], source.name(i)))
    of_all = ([one[name] for one in found] for name in ("boxes", "score", "kind"))
    write_detections(path, source, *of_all, predictor.spec["kind_names"])
    count = sum(len(one["boxes"]) for one in found)
    print(f"{count} boxes in {len(source)} images: {path}")


def _probabilities(predictor, source, path, config) -> None:
    p = apply_to_all(
        lambda images: predictor(images)["probability"],
        source,
        predictor.host.draw,
        config.batch_size,
    )
    write_predictions(
        path,
        source,
        np.asarray(p),
        predictor.spec["label_names"],
        ordered=method_of(predictor.spec).ordered,
        classes=predictor.spec.get("label_classes"),  # not in files of before
    )
    print(f"{len(source)} predictions: {path}")
