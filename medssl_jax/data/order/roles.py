"""The sources of one run by role: train, and its validation, test or probe."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medssl_jax import resolve
from medssl_jax.data.attended import Attended
from medssl_jax.data.cache import Cached
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.host import Prepare
from medssl_jax.data.lesion_boxes import lesion_boxes as with_boxes
from medssl_jax.data.order.mixture import Mixture, taken
from medssl_jax.data.order.splits import (
    by_patient,
    check_apart,
    check_disjoint,
    fold_of,
    oversample,
)
from medssl_jax.data.order.subsets import nested, repeated
from medssl_jax.data.order.unlabelled import without
from medssl_jax.data.planes import planed, warn_of_unused
from medssl_jax.data.relabel import partly_labelled
from medssl_jax.data.settings import divide
from medssl_jax.data.slices import Slices, Slicing, Turned
from medssl_jax.data.source import Source
from medssl_jax.data.sources.shards import Shards
from medssl_jax.errors import ConfigError
from medssl_jax.ranges import Count, Natural, Part, Seed, Share

TRAIN = "train"


def sources(
    source: Mapping[str, Any],
    splits: Mapping[str, Mapping[str, Any]],
    prepare: Prepare,
    seed: int,
    folder: Path,
    *,
    cache: str,
    on_error: str,
    balance: str,
    label_fraction: Part = 1.0,
    split_seed: Seed | None = None,
    known_labels: Part = 1.0,
    unlabelled: str = "keep",
    slices: Mapping[str, Natural] | None = None,
    planes: str = "",
    lesion_boxes: Natural = 0,
    attention: str = "",
    fold: Mapping[str, Natural] | None = None,
) -> dict[str, Source]:
    """Open the training source and those of the other roles, patients apart.

    What is keyword-only `config.data` states beside the source's own settings.

    Args:
      source: `name` of the training source and its settings; or `sources`, a list of
        such, each with its `modality` and those settings of `prepare` that it has of
        its own.
      splits: by role, either `only`, other rows of the training source's table, which
        "" leaves to `fraction` (held out of the training source, by patient; 0 is
        none); or settings that replace some of `source`'s, or all those of another
        source, `name` or `sources` among them.
      prepare: how volumes are brought to [0, 1].
      seed: of the label fraction and of oversampling.
      folder: of the run.
      cache: the folder that keeps them so; "" is none, a relative one lies in `folder`.
      on_error: "raise", or "skip", which records unusable files in `folder`.
      balance: "oversample" repeats the training examples of rare labels, "" not.
      label_fraction: how much of the training labels is used, by patient; its
        examples are repeated, so that an epoch is as long as with all.
      split_seed: of the splits by fraction; None is `seed`. Runs that differ in `seed`
        alone are compared on the same examples only if they share it.
      known_labels: how much of the training labels is shown, by patient; the other
        examples stay, without a label. Of one seed they are those of the same
        `label_fraction`.
      unlabelled: of every role, whether examples without a label or mask are used:
        "keep", or "drop" (`unlabelled.without`), after the splits, which are those of a
        run that keeps them.
      slices: of volumes, which are examples of their own, as `data.slices.Slicing` has
        it; `prepare` is how slices are brought to [0, 1]. Splits are of slices with
        the labels of their volume; where masks tell labels, or maps are read, of the
        volumes, as those of a run on the volumes themselves.
      attention: the folder of maps that become a channel of slices; "" is none.
      fold: `left_out` of the folds, `of` so many, of the training patients is not
        trained on, nor in another role.
      planes: CSV `path,slice,label` of the volumes' slices (`data.planes`), or empty.
      lesion_boxes: voxels at least of a connected piece of a mask, which becomes a box in
        the mask's place (`data.lesion_boxes`); 0: masks stay masks.

    Raises:
      ConfigError: for an unknown source or setting.
      DataError: if files are unusable, or one patient, or row, is in two roles.
    """
    reading = {"cache": cache, "on_error": on_error, "slices": slices, "planes": planes}
    reading["lesion_boxes"] = lesion_boxes
    open_source = _Open(prepare, folder, attention=attention, **reading)
    found = {TRAIN: open_source("data", source)}
    split_seed = seed if split_seed is None else split_seed
    for role, settings in splits.items():
        settings = dict(settings)
        if only := settings.pop("only", ""):
            found[role] = open_source(f"splits.{role}", {**source, "only": only})
            check_apart(found[TRAIN], found[role], role, only)
        elif "fraction" not in settings:
            another = "name" in settings or "sources" in settings
            inherited = {} if another else source
            found[role] = open_source(f"splits.{role}", {**inherited, **settings})
        elif fraction := settings.pop("fraction"):
            resolve.check_value(f"splits.{role}.fraction", fraction, Share)
            rest, held_out = by_patient(
                found[TRAIN], fraction, split_seed, f"config.splits.{role}.fraction"
            )
            found[role] = taken(found[TRAIN], held_out)
            found[TRAIN] = taken(found[TRAIN], rest)
    check_disjoint(found)
    if planes:
        warn_of_unused(planes, found.values())
    if fold:
        leave = functools.partial(_without_fold, found[TRAIN], split_seed)
        found[TRAIN] = resolve.call("data.fold", leave, fold)
    found = {role: without(one, unlabelled, role) for role, one in found.items()}
    found = {role: open_source.sliced(one) for role, one in found.items()}
    if balance or label_fraction != 1.0:
        fed = _fed(found[TRAIN], balance, label_fraction, seed)
        found[TRAIN] = taken(found[TRAIN], fed)
    if known_labels != 1.0:
        found[TRAIN] = partly_labelled(found[TRAIN], known_labels, seed)
    return found


def whole(data: Mapping[str, Any], prepare: Prepare, folder: Path) -> Source:
    """Open the source of which a command uses every example.

    `data` states `on_error`, and `cache` where prepared images are kept, beside it.

    Raises:
      ConfigError, DataError: as `sources`.
    """
    reading, source = divide(data, _Open)
    opened = functools.partial(_Open, prepare, folder)
    open_source = resolve.call("data", opened, reading)
    return open_source.sliced(without(open_source("data", source), "keep", "data"))


def _without_fold(train: Source, seed: int, *, of: Count, left_out: Natural) -> Source:
    if left_out >= of:
        raise ConfigError(
            f"data.fold.left_out is {left_out}, and data.fold.of {of}: they are 0 to "
            f"{of - 1}"
        )
    if of == 1:  # nothing is left out of what is one
        return train
    return taken(train, np.flatnonzero(fold_of(train, of, seed) != left_out))


def _fed(train: Source, balance: str, label_fraction: float, seed: int) -> np.ndarray:
    """Return the indices of one epoch, which is as long for each fraction of labels.

    So fewer labels are fed more often, and not also trained on for less long.
    """

    def balanced(indices):
        if not balance:
            return indices
        if balance != "oversample":
            text = f"data.balance {balance!r} is unknown; known: oversample"
            raise ConfigError(text)
        if train.labels is None:
            text = "data.balance needs labels, and the training data has none: see data.labels"
            raise ConfigError(text)
        return indices[oversample(np.asarray(train.labels)[indices], seed)]

    whole = balanced(np.arange(len(train)))
    if label_fraction == 1.0:
        return whole
    few = balanced(nested(train, label_fraction, seed))
    return repeated(few, len(whole), seed)


def _scope(settings: Mapping[str, Any]) -> str:
    """Return what the names of a source are of: its folder, or how it is made up."""
    if root := settings.get("root"):
        return str(Path(root).resolve())
    named = {k: v for k, v in settings.items() if k in ("name", "dataset", "seed")}
    return str(named)


class _Open:
    """Open one source as the run wants it: prepared, cached, checked."""

    def __init__(
        self,
        prepare: Prepare,
        folder: Path,
        *,
        on_error: str,
        cache: str = "",
        slices: Mapping[str, Natural] | None = None,
        planes: str = "",
        lesion_boxes: Natural = 0,
        attention: str = "",
    ):
        if on_error not in ("raise", "skip"):
            raise ConfigError(f"data.on_error {on_error!r} is unknown: raise or skip")
        self._prepare, self._cache = prepare, cache and str(folder / cache)
        self._on_error, self._folder, self._planes = on_error, folder, planes
        self._lesion_boxes = lesion_boxes
        slices = slices or {"of_each": 0, "axis": 0, "neighbours": 0}
        self._slicing = resolve.call("data.slices", Slicing, slices)
        self._attention = attention
        if attention and not self._slicing.of_each:
            raise ConfigError(
                "data.attention is a channel of slices: set data.slices.of_each, or "
                "data.attention to ''"
            )
        # whose volumes are divided first
        self._late = bool(attention or self._slicing.lesion_voxels)

    def __call__(self, field: str, settings: Mapping[str, Any]) -> Source:
        if "sources" in settings:
            return resolve.call(field, self.mixture, settings)
        return self._one(field, settings, self._prepare)

    def sliced(self, source: Source) -> Source:
        """Return the slices of what was opened, if it is not of slices yet."""
        if not (self._late and self._slicing.of_each):
            return source
        slices = Slices(source, self._slicing)
        return Attended(slices, self._attention) if self._attention else slices

    def mixture(self, sources: Sequence[Mapping[str, Any]]) -> Mixture:
        parts, modalities = [], []
        for place, settings in enumerate(sources):
            settings = dict(settings)
            modality = settings.pop("modality", "")
            if not modality or "/" in modality:
                raise ConfigError(
                    f"config.data.sources[{place}].modality is {modality!r}; name what "
                    "kind of images the source has, such as 'ct'"
                )
            of_prepare = functools.partial(Prepare, self._prepare.ndim)
            own, settings = divide(settings, of_prepare)
            prepare = replace(self._prepare, **own)
            parts.append(self._one(f"data.sources[{place}]", settings, prepare))
            modalities.append(modality)
        if not parts:
            raise ConfigError("config.data.sources is empty; list a source or more")
        return Mixture(parts, tuple(modalities))

    def _one(self, field: str, settings: Mapping[str, Any], prepare: Prepare) -> Source:
        source = resolve.named(field, "medssl_jax.data.sources", settings)
        object.__setattr__(source, "scope", _scope(settings))  # most are frozen
        slicing = self._slicing
        if slicing.of_each:
            prepare = slicing.prepare(prepare)
        if isinstance(source, Shards):  # prepared before
            source.check_prepared(prepare)
            if slicing.axis:
                text = (
                    "the shards' volumes are prepared: slices are of their first axis"
                )
                raise ConfigError(f"data.slices.axis is {slicing.axis}, and {text}")
            if self._lesion_boxes:
                source = with_boxes(source, self._lesion_boxes)
        else:
            if self._planes:
                of_test = field.startswith("splits.")  # which may be other volumes
                source = planed(source, self._planes, needed=not of_test)
            if self._lesion_boxes:
                source = with_boxes(source, self._lesion_boxes)
            if slicing.of_each:
                masks = slicing.lesion_voxels > 0 and source.has_masks
                source = Turned(source, slicing.axis, masks)
            source = Cached(source, prepare, self._cache)
        if self._on_error == "skip":
            source = skip_unusable(source, self._folder / "skipped.csv")
        if slicing.of_each and not self._late:
            return Slices(source, slicing)
        return source
