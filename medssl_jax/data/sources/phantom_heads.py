"""Phantom heads in CT: stacks made from a seed, some with one of five haemorrhages."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.source import UNLABELLED, Record, Source
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.head.anatomy import Anatomy, draw_anatomy
from medssl_jax.phantoms.head.blood import (
    KINDS,
    Bleeding,
    draw_bleeding,
    draw_kinds,
)
from medssl_jax.phantoms.head.ct import Scan, acquire, draw_scan
from medssl_jax.phantoms.head.mimics import Mimics, draw_mimics
from medssl_jax.phantoms.head.pose import draw_pose
from medssl_jax.ranges import Count, Made, Seed, Share

REVISION = 1  # of the pictures; raise it with every change to them: caches look at it
LEAST_MM2 = 25.0  # of blood, for a slice to show it
_HEAD, _EXAM, _KNOWN = 20, 21, 22  # streams that no other phantom uses


def phantom_heads(
    *,
    count: Made,
    seed: Seed,
    size_voxels: Sequence[Count],
    bleeding_fraction: Share = 0.5,
    unknown_planes: Share = 0.0,
    unknown_types: Share = 0.0,
) -> "PhantomHeads":
    """Return a source of phantom heads in HU, with findings: any blood, five kinds.

    Several kinds may be together. Every record has `planes`, 1 where a slice shows
    blood. Example i depends on `seed` and i alone, and is a patient.

    Args:
      size_voxels: slices, rows, columns; slices cover the brain, however many.
      bleeding_fraction: probability that a head bleeds.
      unknown_planes: share of heads whose slices nobody labelled.
      unknown_types: share of heads of which only "any" is known.

    Raises:
      ConfigError: if a number is out of its range.
    """
    if count < 1 or seed < 0:
        raise ConfigError(
            f"data.count {count} must be 1 or more, data.seed {seed} 0 or more"
        )
    size = tuple(size_voxels)
    if len(size) != 3 or min(size) < 1:
        raise ConfigError(f"data.size_voxels {size} is no (slices, rows, columns)")
    shares = {
        "bleeding_fraction": bleeding_fraction,
        "unknown_planes": unknown_planes,
        "unknown_types": unknown_types,
    }
    for field, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"data.{field} {share} is not in [0, 1]")
    return PhantomHeads(count, seed, size, *shares.values())


@dataclass(frozen=True)
class PhantomHeads(Source):
    """A source of phantom heads; `phantom_heads` makes it."""

    count: int
    seed: int
    size_voxels: tuple[int, int, int]
    bleeding_fraction: float
    unknown_planes: float
    unknown_types: float
    label_names = ("any", *KINDS)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Record:
        drawn = self.draw(i)
        image, blood = acquire(*drawn)
        _, rows_mm, columns_mm = spacing_mm = drawn[-1].pose.spacing_mm
        shown = blood.sum(axis=(1, 2)) * (rows_mm * columns_mm) >= LEAST_MM2
        if not self._knows(i)[0]:
            shown = np.full(len(shown), UNLABELLED)
        planes = shown.astype(np.int32)
        return {"image": image, "spacing_mm": spacing_mm, "planes": planes}

    def name(self, i: int) -> str:
        return f"phantom-head-{i:06d}"

    def stamp(self, i: int) -> str:
        planes = "" if self._knows(i)[0] else " unknown planes"
        return f"phantom_heads {REVISION}{planes} {self.draw(i)}"

    @cached_property
    def labels(self) -> np.ndarray:
        """(n, 6) findings: of a head whose types are unknown, the first alone."""
        labels = np.empty((self.count, 1 + len(KINDS)), np.int64)
        for i in range(self.count):
            kinds = self._exam(i)[1]
            labels[i] = any(kinds), *kinds
            if not self._knows(i)[1]:
                labels[i, 1:] = UNLABELLED
        return labels

    @cached_property
    def patients(self) -> list[str]:
        # sources of other seeds have other patients
        return [f"head-{self.seed}-{i:06d}" for i in range(self.count)]

    def draw(self, i: int) -> tuple[Anatomy, Bleeding, Mimics, Scan]:
        """Return what example i is rendered from.

        Raises:
          IndexError: if there is no example i.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"phantom_heads: no example {i} among {self.count}")
        anatomy = draw_anatomy(np.random.default_rng([self.seed, _HEAD, i]))
        rng, kinds = self._exam(i)
        bleeding = draw_bleeding(rng, kinds)
        mimics = draw_mimics(rng, anatomy.age, bled=any(kinds))
        scan = draw_scan(rng, draw_pose(rng, anatomy, self.size_voxels))
        return anatomy, bleeding, mimics, scan

    def _exam(self, i: int) -> tuple[np.random.Generator, tuple[bool, ...]]:
        rng = np.random.default_rng([self.seed, _EXAM, i])
        return rng, draw_kinds(rng, bleeds=rng.uniform() < self.bleeding_fraction)

    def _knows(self, i: int) -> tuple[bool, bool]:
        """Say whether the slices of head i are labelled, and the types of its blood."""
        planes, types = np.random.default_rng([self.seed, _KNOWN, i]).uniform(size=2)
        known = planes >= self.unknown_planes, types >= self.unknown_types
        return bool(known[0]), bool(known[1])
