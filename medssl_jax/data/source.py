"""What a source of examples is: random access, names, and what is known of each."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Int

UNLABELLED = -1
ABSENT, PRESENT = 0, 1  # of a finding
NO_BOX = -1.0  # the kind of a row of boxes that holds none

Labels = Int[np.ndarray, "n"] | Int[np.ndarray, "n findings"]

Record = dict[str, Any]
TARGETS = ("mask", "foreground", "boxes", "planes")  # that travel with a prepared image


@runtime_checkable  # tests check annotations
class Source(Protocol):
    """Random access to decoded examples.

    `source[i]` is a record with

      image: (*s, c) array as decoded, slices first for volumes, channels last;
        raw intensities (HU for CT)
      spacing_mm: tuple of one float per spatial axis, where the file knows it
      mask: (*s,) classes from 0, the background, to 255, or (*s, k) of 0 and 1, regions
        that may overlap, where the source has them
      boxes: (m, 2 n + 1) low corner, high corner, kind (from 0) of each, where the
        source has them; corners are fractions of the image, in the order of its axes
      planes: (slices,) classes of slices, where the source has them

    and raises `DataError` where the file is unusable. `patients` is one id per example,
    or None. `labels` is None, or int64:

      (n,) one class of several for each example, `UNLABELLED` where it is not known
      (n, k) k findings, each `PRESENT`, `ABSENT` or `UNLABELLED` on its own; a source
        with other marks, such as CheXpert's "uncertain", resolves them by a policy
        that its settings state

    `label_names` are the k findings' names; None where labels are classes or None.
    """

    labels: np.ndarray | None
    patients: Sequence[str] | None
    label_names: Sequence[str] | None

    def __len__(self) -> int: ...
    def __getitem__(self, i: int) -> Record: ...
    def name(self, i: int) -> str:
        """Return what errors and tables call example i; never text of a header."""

    def stamp(self, i: int) -> str:
        """Return what changes when example i's record would, for caches to hash.

        For files: path, size, time of change and how they are read. Empty where the
        source cannot tell; then nothing is cached.
        """


@dataclass(frozen=True)
class Examples:
    """A source over named examples, `read(name)` decoding one.

    `read` crosses to worker processes, so it has to be picklable; `stamp_of(name)` is
    the source's stamp. Findings without `label_names` are numbered. Of sources with
    masks, `class_names` are those of the values 0, 1, 2, ... or of the k regions, where
    they are known, and `write_mask(name, mask, folder)` writes a mask that lies as the
    record's image lies, in the source's own format and geometry, and returns its path.
    """

    names: Sequence[str]
    read: Callable[[str], Record]
    labels: np.ndarray | None = None
    patients: Sequence[str] | None = None
    stamp_of: Callable[[str], str] | None = None
    label_names: Sequence[str] | None = None
    write_mask: Callable[[str, np.ndarray, Path], Path] | None = None
    class_names: Sequence[str] | None = None

    def __post_init__(self):
        if has_findings(self) and self.label_names is None:
            names = tuple(f"finding {j}" for j in range(self.labels.shape[1]))
            object.__setattr__(self, "label_names", names)  # frozen from here on

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Record:
        return self.read(self.names[i])

    def name(self, i: int) -> str:
        return self.names[i]

    def stamp(self, i: int) -> str:
        return "" if self.stamp_of is None else self.stamp_of(self.names[i])


@dataclass(frozen=True)
class Subset:
    """The examples of `source` at `indices`, in that order; repeats are allowed."""

    source: Source
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, i: int) -> Record:
        return self.source[int(self.indices[i])]

    def name(self, i: int) -> str:
        return self.source.name(int(self.indices[i]))

    def stamp(self, i: int) -> str:
        return self.source.stamp(int(self.indices[i]))

    @cached_property  # asked for with every example that is loaded
    def labels(self) -> np.ndarray | None:
        labels = self.source.labels
        return None if labels is None else labels[self.indices]

    @property
    def label_names(self) -> Sequence[str] | None:
        return self.source.label_names

    @cached_property
    def patients(self) -> list[str] | None:
        patients = self.source.patients
        return None if patients is None else [patients[i] for i in self.indices]


def has_findings(source: Source) -> bool:
    """Say whether the labels are findings, (n, k), and not classes."""
    return source.labels is not None and np.ndim(source.labels) == 2


def is_labelled(labels: Labels) -> Bool[np.ndarray, "n"]:
    """Mark the examples with a class, or with at least one finding that is known."""
    known = np.asarray(labels) != UNLABELLED
    return known if known.ndim == 1 else known.any(axis=1)
