"""What a source knows of its examples: a table of columns."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_OF_ALL = (
    "label_names",
    "label_classes",
    "has_masks",
    "class_names",
    "has_boxes",
    "kind_names",
)  # said once, and not of each example


@dataclass(frozen=True)
class Columns:
    """A table with a row for each example; None is a column that is not known.

    `make(name)` makes a column when it is first asked for: they may be long. Whoever
    takes some rows of a table, or changes a column, has all the others too.
    """

    make: Callable[[str], Any]

    @cached_property  # asked for with every example that is loaded
    def labels(self) -> Any:
        """(n,) classes or (n, k) findings: an array, or what NumPy makes one of."""
        return self.make("labels")

    @cached_property
    def patients(self) -> Sequence[str] | None:
        """One id for each example."""
        return self.make("patients")

    @cached_property
    def label_names(self) -> Sequence[str] | None:
        """Of the k findings."""
        return self.make("label_names")

    @cached_property
    def label_classes(self) -> Sequence[str] | None:
        """Names of the classes that labels are."""
        return self.make("label_classes")

    @cached_property
    def has_masks(self) -> bool:
        """Whether all examples have one; else none has."""
        return self.make("has_masks")

    @cached_property
    def masked(self) -> np.ndarray | None:
        """Which examples have a mask, where it is not all, or none."""
        return self.make("masked")

    @cached_property
    def class_names(self) -> Sequence[str] | None:
        """Of the masks' values 0, 1, 2, ..., or of their k regions."""
        return self.make("class_names")

    @cached_property
    def has_boxes(self) -> bool:
        """Whether records have boxes, be it none of an image; else no record has."""
        return self.make("has_boxes")

    @cached_property
    def kind_names(self) -> Sequence[str] | None:
        """Of the boxes' kinds 0, 1, 2, ..."""
        return self.make("kind_names")

    @cached_property
    def box_kinds(self) -> Sequence[Sequence[int]] | None:
        """Of each example, the kinds of its boxes."""
        return self.make("box_kinds")

    def take(self, rows: np.ndarray) -> "Columns":
        """Return the table of some rows, in that order; repeats are allowed."""
        return Columns(functools.partial(_taken, self, rows))

    def replace(self, **columns: Any) -> "Columns":
        """Return the table with other columns of these names."""
        return Columns(functools.partial(_replaced, self, columns))


def _taken(columns: Columns, rows: np.ndarray, name: str) -> Any:
    column = getattr(columns, name)
    if name == "has_masks" and columns.masked is not None:
        return bool(columns.masked[rows].all())
    if column is None or name in _OF_ALL:
        return column
    if isinstance(column, Sequence):  # texts, which may lie in a file
        return [column[i] for i in rows]
    return column[rows]


def _replaced(columns: Columns, others: Mapping[str, Any], name: str) -> Any:
    return others[name] if name in others else getattr(columns, name)
