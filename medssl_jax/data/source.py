"""What a source of examples is: random access, names, and what is known of each."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from medssl_jax.data.columns import Columns

UNLABELLED = -1
ABSENT, PRESENT = 0, 1  # of a finding
NO_BOX = -1.0  # the kind of a row of boxes that holds none

Labels = Int[np.ndarray, "n"] | Int[np.ndarray, "n findings"]

Record = dict[str, Any]
TARGETS = ("mask", "foreground", "boxes", "planes")  # that travel with a prepared image


class Source(ABC):
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

    `label_names` are the k findings' names; None where labels are classes or None, of
    which `label_classes` are the names, where they have some. All
    records have masks, or none has, as `has_masks` says; `class_names` are those of the values 0, 1, 2, ... or of the k
    regions, where they are known, and `write_mask(name, mask, folder, names)` writes a
    mask that lies as the record's image lies, in the source's own format and geometry,
    with the names of its structures where the format has a place for them, and returns
    its path; of a wrapper, its `origin` does. `mask_note` is what to know about these
    files. Where some have masks and others not, `has_masks` is false, and `masked` says
    which have; whoever trains leaves examples or masks out (`order.unlabelled`). So with boxes: all records have
    some or none of them, as `has_boxes` says, and `kind_names` are those of their kinds;
    `box_kinds` are the kinds of each example's boxes, where a table tells them before
    the records are read.
    Names and patients are those of one `scope`, a folder or file; whoever opens the
    source says which. Of a wrapper, its `origin` has it.
    """

    labels: np.ndarray | None
    patients: Sequence[str] | None
    label_names: Sequence[str] | None
    label_classes: Sequence[str] | None = None
    has_masks: bool = False
    masked: Bool[np.ndarray, "n"] | None = None
    class_names: Sequence[str] | None = None
    has_boxes: bool = False
    kind_names: Sequence[str] | None = None
    box_kinds: Sequence[Sequence[int]] | None = None
    write_mask: Callable[[str, np.ndarray, Path, Sequence[str]], Path] | None = None
    mask_note: str = ""
    scope: str = ""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> Record: ...

    @abstractmethod
    def name(self, i: int) -> str:
        """Return what errors and tables call example i; never text of a header."""

    @abstractmethod
    def stamp(self, i: int) -> str:
        """Return what changes when example i's record would, for caches to hash.

        For files: path, size, time of change and how they are read. Empty where the
        source cannot tell; then nothing is cached.
        """

    @property
    def columns(self) -> Columns:
        """What is known of the examples, as a table."""
        return Columns(functools.partial(getattr, self))

    def origin(self, i: int) -> "tuple[Source, int]":
        """Return the source that decodes example i, and the example's place there."""
        return self, i

    @property
    def distinct(self) -> int:
        """How many examples there are, each counted once."""
        return len(self)


@dataclass(frozen=True)
class Examples(Source):
    """A source over named examples, `read(name)` decoding one.

    `read` crosses to worker processes, so it has to be picklable; `stamp_of(name)` is
    the source's stamp. Findings without `label_names` are numbered.
    """

    names: Sequence[str]
    read: Callable[[str], Record]
    labels: np.ndarray | None = None
    patients: Sequence[str] | None = None
    stamp_of: Callable[[str], str] | None = None
    label_names: Sequence[str] | None = None
    write_mask: Callable[[str, np.ndarray, Path, Sequence[str]], Path] | None = None
    mask_note: str = ""
    class_names: Sequence[str] | None = None
    has_masks: bool = False
    masked: np.ndarray | None = None
    has_boxes: bool = False
    kind_names: Sequence[str] | None = None
    box_kinds: Sequence[Sequence[int]] | None = None
    label_classes: Sequence[str] | None = None

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


class Wrapper(Source):
    """A source over another: what it does not override is `source`'s own."""

    source: Source

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, i: int) -> Record:
        return self.source[self.place(i)]

    def place(self, i: int) -> int:
        """Return where example i is in `source`."""
        return i

    def name(self, i: int) -> str:
        return self.source.name(self.place(i))

    def stamp(self, i: int) -> str:
        return self.source.stamp(self.place(i))

    def origin(self, i: int) -> tuple[Source, int]:
        return self.source.origin(self.place(i))

    @property
    def distinct(self) -> int:
        return self.source.distinct

    @property
    def columns(self) -> Columns:
        return self.source.columns

    @property
    def labels(self) -> Any:
        return self.columns.labels

    @property
    def patients(self) -> Sequence[str] | None:
        return self.columns.patients

    @property
    def label_names(self) -> Sequence[str] | None:
        return self.columns.label_names

    @property
    def label_classes(self) -> Sequence[str] | None:
        return self.columns.label_classes

    @property
    def has_masks(self) -> bool:
        return self.columns.has_masks

    @property
    def masked(self) -> Bool[np.ndarray, "n"] | None:
        return self.columns.masked

    @property
    def class_names(self) -> Sequence[str] | None:
        return self.columns.class_names

    @property
    def has_boxes(self) -> bool:
        return self.columns.has_boxes

    @property
    def kind_names(self) -> Sequence[str] | None:
        return self.columns.kind_names

    @property
    def box_kinds(self) -> Sequence[Sequence[int]] | None:
        return self.columns.box_kinds


@dataclass(frozen=True)
class Subset(Wrapper):
    """The examples of `source` at `indices`, in that order; repeats are allowed."""

    source: Source
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def place(self, i: int) -> int:
        return int(self.indices[i])

    @cached_property
    def columns(self) -> Columns:
        return self.source.columns.take(self.indices)

    @property
    def distinct(self) -> int:
        places = np.unique(self.indices)
        if self.source.distinct == len(self.source):
            return len(places)
        origins = (self.source.origin(i) for i in places.tolist())
        return len({(id(source), i) for source, i in origins})


def has_findings(source: Source) -> bool:
    """Say whether the labels are findings, (n, k), and not classes."""
    return source.labels is not None and np.ndim(source.labels) == 2


def is_labelled(labels: Labels) -> Bool[np.ndarray, "n"]:
    """Mark the examples with a class, or with at least one finding that is known."""
    known = np.asarray(labels) != UNLABELLED
    return known if known.ndim == 1 else known.any(axis=1)
