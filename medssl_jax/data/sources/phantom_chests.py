"""Phantom chest radiographs: some with nodules, some with a pneumothorax, in boxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.source import Record, Source
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.chest.anatomy import Anatomy, draw_anatomy
from medssl_jax.phantoms.chest.exposure import Exposure, draw_exposure
from medssl_jax.phantoms.chest.radiograph import acquire, boxes
from medssl_jax.phantoms.chest.signs import FINDINGS, Signs, draw_signs
from medssl_jax.ranges import Count, Made, Seed, Share

REVISION = 1  # of the pictures; raise it with every change to them: caches look at it


def phantom_chests(
    *,
    count: Made,
    seed: Seed,
    size_pixels: Sequence[Count],
    nodule_fraction: Share = 0.4,
    pneumothorax_fraction: Share = 0.25,
    images_per_patient: Count = 1,
) -> "PhantomChests":
    """Return a source of 2D radiographs of phantom chests, with boxes and findings.

    Labels are two findings, nodule and pneumothorax, each on its own; kinds of boxes are
    0 and 1, alike. A patient's images share the anatomy, and show what was there on
    another day. Example i depends on `seed` and i alone, so sources of different seeds
    are independent and a longer source begins with the shorter one.

    Args:
      size_pixels: rows, columns.
      nodule_fraction, pneumothorax_fraction: probability that an image shows one, of
        nodules up to three.
      images_per_patient: consecutive images that share a patient.

    Raises:
      ConfigError: if a number is out of its range.
    """
    if count < 1 or images_per_patient < 1 or seed < 0:
        raise ConfigError(
            f"data.count {count} and data.images_per_patient {images_per_patient} must "
            f"be 1 or more, data.seed {seed} 0 or more"
        )
    if len(size_pixels) != 2 or min(size_pixels) < 1:
        size = tuple(size_pixels)
        raise ConfigError(f"data.size_pixels {size} is no (rows, columns)")
    shares = nodule_fraction, pneumothorax_fraction
    for name, share in zip(FINDINGS, shares, strict=True):
        if not 0 <= share <= 1:
            raise ConfigError(f"data.{name}_fraction {share} is not in [0, 1]")
    return PhantomChests(count, seed, tuple(size_pixels), shares, images_per_patient)


@dataclass(frozen=True)
class PhantomChests(Source):
    """A source of phantom radiographs; `phantom_chests` makes it."""

    count: int
    seed: int
    matrix: tuple[int, int]  # rows, columns
    shares: tuple[float, float]  # of images with each of FINDINGS
    images_per_patient: int
    label_names = FINDINGS
    kind_names = FINDINGS
    has_boxes = True

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Record:
        drawn = self.draw(i)
        spacing_mm = (drawn[2].field_mm / self.matrix[0],) * 2
        return {
            "image": acquire(*drawn, self.matrix),
            "spacing_mm": spacing_mm,
            "boxes": boxes(*drawn, self.matrix),
        }

    def name(self, i: int) -> str:
        return f"phantom-chest-{i:06d}"

    def stamp(self, i: int) -> str:
        return f"phantom_chests {REVISION} {self.matrix} {self.draw(i)}"

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([self._exam(i)[1] for i in range(self.count)], np.int64)

    @cached_property
    def patients(self) -> list[str]:
        # sources of other seeds have other patients
        numbers = (self._patient(i) for i in range(self.count))
        return [f"patient-{self.seed}-{number:06d}" for number in numbers]

    def draw(self, i: int) -> tuple[Anatomy, Signs, Exposure]:
        """Return what example i is rendered from.

        Raises:
          IndexError: if there is no example i.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"phantom_chests: no example {i} among {self.count}")
        # separate streams: a patient's images share one, their exams do not
        anatomy = draw_anatomy(np.random.default_rng([self.seed, 6, self._patient(i)]))
        rng, (nodule, pneumothorax) = self._exam(i)
        signs = draw_signs(rng, anatomy, nodule=nodule, pneumothorax=pneumothorax)
        return anatomy, signs, draw_exposure(rng)

    def _exam(self, i: int) -> tuple[np.random.Generator, tuple[bool, bool]]:
        rng = np.random.default_rng([self.seed, 7, i])
        nodule, pneumothorax = (rng.uniform() < share for share in self.shares)
        return rng, (nodule, pneumothorax)

    def _patient(self, i: int) -> int:
        return i // self.images_per_patient
