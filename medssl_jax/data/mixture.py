"""Several sources as one, each of a modality."""

import bisect
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.source import UNLABELLED, Record, Source, Subset
from medssl_jax.errors import ConfigError, DataError


@dataclass(frozen=True)
class Mixture:
    """The examples of several sources, on end, and the modality of each source.

    Several sources can be of one modality. Example i is found by bisection: nothing
    here grows with the number of examples, unless labels or patients are known.

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

    @cached_property
    def labels(self) -> np.ndarray | None:
        known = [p.labels for p in self.parts if p.labels is not None]
        if not known:
            return None
        unknown = np.full((1, *np.shape(known[0])[1:]), UNLABELLED)
        return np.concatenate(
            [
                np.repeat(unknown, len(part), axis=0)
                if part.labels is None
                else np.asarray(part.labels)
                for part in self.parts
            ]
        )

    @property
    def label_names(self) -> Sequence[str] | None:
        labelled = (part for part in self.parts if part.labels is not None)
        return next((part.label_names for part in labelled), None)

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
