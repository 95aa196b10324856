"""Volumes as sources of slices: some of each, with their neighbours as channels."""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from medssl_jax.data.columns import Columns
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import DataError
from medssl_jax.ranges import Natural


@dataclass(frozen=True)
class Slicing:
    """Which slices of each volume are examples.

    Attributes:
      of_each: how many of each volume, evenly spaced, whatever its depth; where there
        are fewer, some are repeated. 0: examples are the source's own.
      axis: of the volume as the source has it, along which they are counted.
      neighbours: on both sides, which become channels, in order; at the first and last
        slice the slice itself stands for what is not there.
    """

    of_each: Natural
    axis: Natural
    neighbours: Natural

    def prepare(self, prepare: Prepare) -> Prepare:
        """Return how whole volumes are prepared, whose slices `prepare` describes.

        A window's percentiles are then a volume's, not a slice's; nothing is resampled
        across slices.
        """
        spacing_mm = prepare.spacing_mm
        across = None if spacing_mm is None else (None, *spacing_mm)
        return replace(prepare, ndim=prepare.ndim + 1, spacing_mm=across)


@dataclass(frozen=True)
class Turned(Wrapper):
    """The volumes of `source` with one of their axes in front."""

    source: Source
    axis: int

    def __getitem__(self, i: int) -> Record:
        """Return the record of example i.

        Raises:
          DataError: naming it, if it is no volume, or has no such axis.
        """
        record = dict(super().__getitem__(i))
        axes = record["image"].ndim - 1
        if axes != 3 or self.axis >= axes:
            text = (
                f"has {axes} axes, and data.slices takes slices of volumes along axis"
            )
            raise DataError(self.name(i), f"{text} {self.axis}; they have 3, from 0")
        record["image"] = np.moveaxis(record["image"], self.axis, 0)
        if "spacing_mm" in record:
            sides = list(record["spacing_mm"])
            record["spacing_mm"] = (sides.pop(self.axis), *sides)
        return {k: record[k] for k in ("image", "spacing_mm") if k in record}

    def stamp(self, i: int) -> str:
        stamp = super().stamp(i)
        return stamp and f"{stamp}\naxis {self.axis} in front"


@dataclass(frozen=True)
class Slices(Wrapper):
    """Slices of prepared volumes (f, *s, c): an example each, without masks or boxes.

    Labels and patients are those of the volume. Where patients are not known, each volume
    is one: its slices stay together in splits.
    """

    source: Source
    slicing: Slicing

    def __len__(self) -> int:
        return len(self.source) * self.slicing.of_each

    def __getitem__(self, i: int) -> Record:
        volume = super().__getitem__(i)["image"]
        count, k = len(volume), self.slicing.neighbours
        # the middles of `of_each` equal parts of the stack
        middle = (i % self.slicing.of_each + 0.5) * count / self.slicing.of_each
        places = np.clip(int(middle) + np.arange(-k, k + 1), 0, count - 1)
        return {"image": np.concatenate([volume[place] for place in places], axis=-1)}

    def place(self, i: int) -> int:
        return i // self.slicing.of_each

    def name(self, i: int) -> str:
        number = i % self.slicing.of_each + 1
        return f"{super().name(i)}, slice {number} of {self.slicing.of_each}"

    @cached_property
    def columns(self) -> Columns:
        volumes = np.repeat(np.arange(len(self.source)), self.slicing.of_each)
        columns = self.source.columns
        if columns.patients is None:
            ids = [_id(self.source, i) for i in range(len(self.source))]
            columns = columns.replace(patients=ids)
        return columns.take(volumes).replace(has_masks=False, has_boxes=False)

    @property
    def distinct(self) -> int:
        return self.source.distinct * self.slicing.of_each


def _id(volumes: Source, i: int) -> str:
    """Return what no other volume is called, also one of this name in another folder."""
    return f"{volumes.name(i)} {zlib.crc32(volumes.stamp(i).encode()):08x}"
