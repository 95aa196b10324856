"""The sources of one run by role: train, and its validation, test or probe."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax import resolve
from medssl_jax.data.cache import Cached
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Source, Subset
from medssl_jax.data.splits import by_patient, check_disjoint, oversample
from medssl_jax.data.subsets import nested
from medssl_jax.errors import ConfigError

TRAIN = "train"


def sources(
    source: Mapping[str, Any],
    splits: Mapping[str, Mapping[str, Any]],
    *,
    prepare: Prepare,
    cache: str,
    on_error: str,
    balance: str,
    seed: int,
    folder: Path,
    label_fraction: float = 1.0,
    split_seed: int | None = None,
) -> dict[str, Source]:
    """Open the training source and those of the other roles, patients apart.

    Args:
      source: `name` of the training source and its settings.
      splits: by role, either `fraction` (held out of the training source, by patient;
        0 is none) or settings that replace some of `source`'s.
      prepare, cache: how volumes are brought to [0, 1], and the folder that keeps
        them so ("" is none; a relative one lies in `folder`).
      on_error: "raise", or "skip", which records unusable files in `folder`.
      balance: "oversample" repeats the training examples of rare labels, "" not.
      seed: of the label fraction and of oversampling.
      folder: of the run.
      label_fraction: how much of the training labels is used, by patient.
      split_seed: of the splits by fraction; None is `seed`. Runs that differ in `seed`
        alone are compared on the same examples only if they share it.

    Raises:
      ConfigError: for an unknown source or setting.
      DataError: if files are unusable, or one patient is in two roles.
    """
    open_source = _Open(prepare, cache and str(folder / cache), on_error, folder)
    found = {TRAIN: open_source(source)}
    split_seed = seed if split_seed is None else split_seed
    for role, settings in splits.items():
        settings = dict(settings)
        if "fraction" not in settings:
            found[role] = open_source({**source, **settings})
        elif fraction := settings.pop("fraction"):
            rest, held_out = by_patient(found[TRAIN], fraction, split_seed)
            found[role] = Subset(found[TRAIN], held_out)
            found[TRAIN] = Subset(found[TRAIN], rest)
    check_disjoint(found)
    if label_fraction != 1.0:
        chosen = nested(found[TRAIN], label_fraction, seed)
        found[TRAIN] = Subset(found[TRAIN], chosen)
    if balance == "oversample":
        if found[TRAIN].labels is None:
            raise ConfigError("data.balance needs labels; the training data has none")
        indices = oversample(np.asarray(found[TRAIN].labels), seed)
        found[TRAIN] = Subset(found[TRAIN], indices)
    elif balance:
        raise ConfigError(f"data.balance {balance!r} is unknown; known: oversample")
    return found


class _Open:
    """Open one source as the run wants it: prepared, cached, checked."""

    def __init__(self, prepare: Prepare, cache: str, on_error: str, folder: Path):
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"data.on_error {on_error!r} is unknown: raise or skip")
        self._prepare, self._cache = prepare, cache
        self._on_error, self._folder = on_error, folder

    def __call__(self, settings: Mapping[str, Any]) -> Source:
        settings = dict(settings)
        factory = resolve.factory("medssl_jax.data.sources", settings.pop("name"))
        source = Cached(factory(**settings), self._prepare, self._cache)
        if self._on_error == "skip":
            source = skip_unusable(source, self._folder / "skipped.csv")
        return source
