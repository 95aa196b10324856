"""Several sources as one, each of a modality."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool

from medssl_jax.data.source import UNLABELLED, Record, Source, Subset
from medssl_jax.errors import ConfigError, DataError


@dataclass(frozen=True)
class Mixture(Source):
    """The examples of several sources, on end, and the modality of each source.

    Several sources can be of one modality. Example i is found by bisection: nothing
    here grows with the number of examples, until all their patients are asked for.

    Raises:
      ConfigError: if some have classes for labels and others findings.
      DataError: if a source has no examples.
    """

    parts: Sequence[Source]
    modalities: Sequence[str]  # of each part

    def __post_init__(self):
        for part, modality in zip(self.parts, self.modalities, strict=True):
            if not len(part):
                raise DataError(f"modality {modality}", "has no images")
        kinds = {
            part.label_names and tuple(part.label_names)
            for part in self.parts
            if part.labels is not None
        }
        if len(kinds) > 1:
            said = " and ".join(sorted(map(_said, kinds)))
            raise ConfigError(
                f"the sources of config.data.sources are labelled with {said}; give all "
                "that have labels the same, or empty the labels of some"
            )

    @cached_property
    def ends(self) -> list[int]:
        """The place after each part's last example."""
        return list(itertools.accumulate(map(len, self.parts)))

    def __len__(self) -> int:
        return self.ends[-1]

    def __getitem__(self, i: int) -> Record:
        part, inner = self._place(i)
        return self.parts[part][inner]

    def name(self, i: int) -> str:
        part, inner = self._place(i)
        return f"{self.modalities[part]}: {self.parts[part].name(inner)}"

    def stamp(self, i: int) -> str:
        part, inner = self._place(i)
        return self.parts[part].stamp(inner)

    def origin(self, i: int) -> tuple[Source, int]:
        part, inner = self._place(i)
        return self.parts[part].origin(inner)

    @property
    def distinct(self) -> int:
        return sum(part.distinct for part in self.parts)

    @cached_property
    def labels(self) -> "Joined | None":
        if all(part.labels is None for part in self.parts):
            return None
        return Joined([part.labels for part in self.parts], self.ends)

    @property
    def label_names(self) -> Sequence[str] | None:
        labelled = (part for part in self.parts if part.labels is not None)
        return next((part.label_names for part in labelled), None)

    @property
    def label_classes(self) -> Sequence[str] | None:
        """Of those classes that have names.

        Raises:
          ConfigError: as `class_names`.
        """
        each = [part.label_classes for part in self.parts]
        return _one_list(each, "labels", "classes")

    @property
    def has_masks(self) -> bool:
        return all(part.has_masks for part in self.parts)

    @property
    def masked(self) -> Bool[np.ndarray, "n"] | None:
        whole = {part.masked is None and part.has_masks for part in self.parts}
        bare = {part.masked is None and not part.has_masks for part in self.parts}
        if whole == {True} or bare == {True}:  # without a mark for each
            return None
        of_each = [
            np.full(len(part), part.has_masks) if part.masked is None else part.masked
            for part in self.parts
        ]
        return np.concatenate(of_each)

    @property
    def class_names(self) -> Sequence[str] | None:
        """Of those masks that have names.

        Raises:
          ConfigError: if they have others in another part: one class would mean two
            things. Whoever makes nothing of masks does not ask.
        """
        each = [part.class_names for part in self.parts]
        return _one_list(each, "masks", "classes")

    @property
    def has_boxes(self) -> bool:
        return all(part.has_boxes for part in self.parts)

    @property
    def kind_names(self) -> Sequence[str] | None:
        """Of those boxes whose kinds have names.

        Raises:
          ConfigError: as `class_names`.
        """
        each = [part.kind_names for part in self.parts]
        return _one_list(each, "boxes", "kinds")

    @property
    def box_kinds(self) -> list[Sequence[int]] | None:
        each = [part.box_kinds for part in self.parts]
        if any(one is None for one in each):
            return None
        return [kinds for one in each for kinds in one]

    @cached_property
    def patients(self) -> list[str] | None:
        """Ids as the parts have them, so one person in two modalities is one patient."""
        if all(part.patients is None for part in self.parts):
            return None
        return [
            patient
            for place, part in enumerate(self.parts)
            for patient in part.patients
            or (f"{place}: {part.name(i)}" for i in range(len(part)))
        ]

    def _place(self, i: int) -> tuple[int, int]:
        part = bisect.bisect_right(self.ends, i)
        return part, i - (self.ends[part - 1] if part else 0)


class Joined:
    """The labels of several sources on end, `UNLABELLED` where a source has none.

    One is taken from its source; NumPy makes an array of all when it is given them.
    """

    def __init__(self, parts: Sequence[np.ndarray | None], ends: Sequence[int]):
        self._parts, self._ends = parts, ends
        known = next(part for part in parts if part is not None)
        self.shape = (ends[-1], *np.shape(known)[1:])
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, i: Any) -> np.ndarray | np.int64:
        if not isinstance(i, int | np.integer):
            return np.asarray(self)[i]
        place = bisect.bisect_right(self._ends, i)
        part = self._parts[place]
        if part is None:
            return np.full(self.shape[1:], UNLABELLED)[()]
        return part[i - (self._ends[place - 1] if place else 0)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        starts = [0, *self._ends[:-1]]
        found = [
            np.full((end - start, *self.shape[1:]), UNLABELLED)
            if part is None
            else np.asarray(part)
            for part, start, end in zip(self._parts, starts, self._ends, strict=True)
        ]
        return np.asarray(np.concatenate(found), dtype)


def known_patients(source: Source) -> set[str] | None:
    """Return the ids that are known, of a mixture those of its parts; or None."""
    if not isinstance(source, Mixture):
        return None if source.patients is None else set(source.patients)
    known = [ids for ids in map(known_patients, source.parts) if ids is not None]
    return set().union(*known) if known else None


def taken(source: Source, indices: np.ndarray) -> Source:
    """Return the examples at `indices`; of a mixture, a mixture of some of each part."""
    if not isinstance(source, Mixture):
        return Subset(source, indices)
    starts = [0, *source.ends[:-1]]
    of_part = np.searchsorted(source.ends, indices, side="right")
    parts = [
        taken(part, indices[of_part == place] - start)
        for place, (part, start) in enumerate(zip(source.parts, starts, strict=True))
    ]
    return Mixture(parts, source.modalities)


def ranges(source: Source) -> Mapping[str, list[range]]:
    """Return where the examples of each modality lie, in the order of the sources."""
    if not isinstance(source, Mixture):
        return {}
    found: dict[str, list[range]] = {}
    starts = [0, *source.ends[:-1]]
    for modality, start, end in zip(
        source.modalities, starts, source.ends, strict=True
    ):
        found.setdefault(modality, []).append(range(start, end))
    return found


def _said(names: Sequence[str] | None) -> str:
    return "classes" if names is None else f"the findings {', '.join(names)}"


def _one_list(each, targets, values):
    """Return the names that parts agree on, of those that have some."""
    lists = {tuple(names) for names in each if names is not None}
    if len(lists) > 1:
        said = " and ".join(sorted(", ".join(names) for names in lists))
        raise ConfigError(
            f"the {targets} of config.data.sources have the {values} {said}; learn from "
            "sources that have the same"
        )
    return next(iter(lists), None)
