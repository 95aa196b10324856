"""Phantom brains in MR after contrast: stacks made from a seed, some with metastases."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.masks import write_array
from medssl_jax.data.source import Record, Source
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.head.anatomy import Anatomy, draw_anatomy
from medssl_jax.phantoms.head.metastases import Metastasis, draw_metastases
from medssl_jax.phantoms.head.mimics import Mimics, draw_mimics
from medssl_jax.phantoms.head.mr import Scan, acquire, draw_scan
from medssl_jax.phantoms.head.pose import draw_pose
from medssl_jax.phantoms.head.vessels import Vein, draw_veins
from medssl_jax.ranges import Count, Made, Seed, Share

REVISION = 1  # of the pictures; raise it with every change to them: caches look at it
_HEAD, _EXAM = 30, 31  # streams that no other phantom uses

Drawn = tuple[Anatomy, tuple[Metastasis, ...], tuple[Vein, ...], Mimics, Scan]


def phantom_brains(
    *,
    count: Made,
    seed: Seed,
    size_voxels: Sequence[Count],
    metastasis_fraction: Share = 0.5,
) -> "PhantomBrains":
    """Return a source of phantom brains, label 1 where there are metastases.

    Records have masks of them: one to six in a brain, of 4 to 20 mm. Example i depends
    on `seed` and i alone, and is a patient.

    Args:
      size_voxels: slices, rows, columns; slices cover the brain, however many.
      metastasis_fraction: probability that a brain has any.

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
    if not 0 <= metastasis_fraction <= 1:
        raise ConfigError(
            f"data.metastasis_fraction {metastasis_fraction} is not in [0, 1]"
        )
    return PhantomBrains(count, seed, size, metastasis_fraction)


@dataclass(frozen=True)
class PhantomBrains(Source):
    """A source of phantom brains; `phantom_brains` makes it."""

    count: int
    seed: int
    size_voxels: tuple[int, int, int]
    metastasis_fraction: float
    label_names = None  # classes
    has_masks = True
    class_names = ("background", "metastasis")
    write_mask = staticmethod(write_array)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Record:
        drawn = self.draw(i)
        image, mask = acquire(*drawn)
        spacing_mm = drawn[-1].pose.spacing_mm
        return {"image": image, "spacing_mm": spacing_mm, "mask": mask}

    def name(self, i: int) -> str:
        return f"phantom-brain-{i:06d}"

    def stamp(self, i: int) -> str:
        return f"phantom_brains {REVISION} {self.draw(i)}"

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([self._exam(i)[1] for i in range(self.count)], np.int64)

    @cached_property
    def patients(self) -> list[str]:
        # sources of other seeds have other patients
        return [f"brain-{self.seed}-{i:06d}" for i in range(self.count)]

    def draw(self, i: int) -> Drawn:
        """Return what example i is rendered from.

        Raises:
          IndexError: if there is no example i.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"phantom_brains: no example {i} among {self.count}")
        anatomy = draw_anatomy(np.random.default_rng([self.seed, _HEAD, i]))
        rng, ill = self._exam(i)
        mimics = draw_mimics(rng, anatomy.age, bled=False)
        veins = draw_veins(rng)
        scan = draw_scan(rng, draw_pose(rng, anatomy, self.size_voxels))
        # last, so that a brain is the same with metastases and without
        lesions = draw_metastases(rng, anatomy) if ill else ()
        return anatomy, lesions, veins, mimics, scan

    def _exam(self, i: int) -> tuple[np.random.Generator, bool]:
        rng = np.random.default_rng([self.seed, _EXAM, i])
        return rng, bool(rng.uniform() < self.metastasis_fraction)
