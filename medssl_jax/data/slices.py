"""Volumes as sources of slices: some of each, with their neighbours as channels."""

import zlib
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from medssl_jax.data.columns import Columns
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record, Source, Wrapper
from medssl_jax.errors import ConfigError, DataError
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
      lesion_voxels: a slice is of class 1 where the mask of the middle one has so many
        voxels at least, of any structure, else of class 0; 0: labels are the volume's.
    """

    of_each: Natural
    axis: Natural
    neighbours: Natural
    lesion_voxels: Natural = 0

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
    """The volumes of `source` with one of their axes in front; some have their masks."""

    source: Source
    axis: int
    masks: bool = False

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
        kept = ("image", "spacing_mm")
        if self.masks:
            record["mask"] = np.moveaxis(record["mask"], self.axis, 0)
            kept = (*kept, "mask")
        return {k: record[k] for k in kept if k in record}

    def stamp(self, i: int) -> str:
        stamp = super().stamp(i)
        masks = ", of masks too" * self.masks
        return stamp and f"{stamp}\naxis {self.axis} in front{masks}"


@dataclass(frozen=True)
class Slices(Wrapper):
    """Slices of prepared volumes (f, *s, c): an example each, without masks or boxes.

    Patients are those of the volume, and so are labels, unless masks tell them. Where
    patients are not known, each volume is one: its slices stay together in splits.
    """

    source: Source
    slicing: Slicing

    def __len__(self) -> int:
        return len(self.source) * self.slicing.of_each

    def __getitem__(self, i: int) -> Record:
        return {"image": self.cut(super().__getitem__(i)["image"], i)}

    def cut(self, volume: np.ndarray, i: int) -> np.ndarray:
        """Return example i of its volume (f, *s, c): (*s, (2 neighbours + 1) c)."""
        count, k = len(volume), self.slicing.neighbours
        beside = self.middle(i, count) + np.arange(-k, k + 1)
        places = np.clip(beside, 0, count - 1)
        return np.concatenate([volume[place] for place in places], axis=-1)

    def middle(self, i: int, count: int) -> int:
        """Return which slice of its volume, of so many, example i is."""
        # the middles of `of_each` equal parts of the stack
        part = i % self.slicing.of_each
        return int((part + 0.5) * count / self.slicing.of_each)

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
        without = {"has_masks": False, "masked": None, "has_boxes": False}
        found = columns.take(volumes).replace(**without)
        if self.slicing.lesion_voxels:
            found = found.replace(
                labels=self._lesions(), label_names=None, label_classes=None
            )
        return found

    def _lesions(self):
        if not self.source.has_masks:
            raise ConfigError(
                "data.slices.lesion_voxels labels slices by masks, and the data has none: "
                "set data.masks, or use a source of masks"
            )
        labels = np.zeros(len(self), np.int64)
        for volume in range(len(self.source)):
            mask = np.asarray(self.source[volume]["mask"])
            there = mask.reshape(*mask.shape[:3], -1).any(axis=-1)
            voxels = there.sum(axis=(1, 2))
            first = volume * self.slicing.of_each
            for i in range(first, first + self.slicing.of_each):
                has = voxels[self.middle(i, len(mask))] >= self.slicing.lesion_voxels
                labels[i] = int(has)
        return labels

    @property
    def distinct(self) -> int:
        return self.source.distinct * self.slicing.of_each


def _id(volumes: Source, i: int) -> str:
    """Return what no other volume is called, also one of this name in another folder."""
    return f"{volumes.name(i)} {zlib.crc32(volumes.stamp(i).encode()):08x}"
