"""Phantom knees: sagittal MR-like stacks made from a seed, some with a torn ACL."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.masks import write_array
from medssl_jax.data.source import Record, Source
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.knee.acquire import acquire, acquire_bones
from medssl_jax.phantoms.knee.anatomy import Anatomy, draw_anatomy
from medssl_jax.phantoms.knee.render import BONES
from medssl_jax.phantoms.knee.scan import Scan, draw_scan
from medssl_jax.phantoms.knee.signs import Signs, draw_signs
from medssl_jax.ranges import Count, Made, Seed, Share

REVISION = 1  # of the pictures; raise it with every change to them: caches look at it


def phantom(
    *,
    count: Made,
    seed: Seed,
    size_voxels: Sequence[Count],
    tear_fraction: Share = 0.5,
    fixed_slices: bool = False,
    knees_per_patient: Count = 1,
    masks: bool = False,
) -> "Phantom":
    """Return a source of phantom knees, label 1 where the ACL is torn.

    Example i depends on `seed` and i alone, so sources of different seeds are
    independent and a longer source begins with the shorter one.

    Args:
      size_voxels: slices, rows, columns; exams have up to twice as many slices unless
        `fixed_slices`.
      tear_fraction: probability that an exam shows a tear.
      knees_per_patient: consecutive exams that share a patient and an anatomy.
      masks: whether records have masks of the bones: femur, tibia, patella, fibula.

    Raises:
      ConfigError: if a number is out of its range.
    """
    if count < 1 or knees_per_patient < 1 or seed < 0:
        raise ConfigError(
            f"data.count {count} and data.knees_per_patient {knees_per_patient} must "
            f"be 1 or more, data.seed {seed} 0 or more"
        )
    if len(size_voxels) != 3 or min(size_voxels) < 1:
        raise ConfigError(
            f"data.size_voxels {tuple(size_voxels)} is no (slices, rows, columns)"
        )
    if not 0 <= tear_fraction <= 1:
        raise ConfigError(f"data.tear_fraction {tear_fraction} is not in [0, 1]")
    slices, rows, columns = size_voxels
    most = slices if fixed_slices else 2 * slices
    return Phantom(
        count,
        seed,
        (slices, most),
        (rows, columns),
        tear_fraction,
        knees_per_patient,
        masks,
    )


@dataclass(frozen=True)
class Phantom(Source):
    """A source of phantom knees; `phantom` makes it."""

    count: int
    seed: int
    slices: tuple[int, int]  # fewest, most
    matrix: tuple[int, int]  # rows, columns
    tear_fraction: float
    knees_per_patient: int
    masks: bool
    label_names = None  # classes
    write_mask = staticmethod(write_array)

    @property
    def has_masks(self) -> bool:
        return self.masks

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, i: int) -> Record:
        anatomy, signs, scan = self.draw(i)
        image = acquire(anatomy, signs, scan, self.matrix)
        record = {"image": image, "spacing_mm": scan.spacing_mm}
        if self.masks:
            record["mask"] = acquire_bones(anatomy, signs, scan, self.matrix)
        return record

    def name(self, i: int) -> str:
        return f"phantom-{i:06d}"

    def stamp(self, i: int) -> str:
        masks = " masks" * self.masks
        return f"phantom {REVISION} {self.matrix}{masks} {self.draw(i)}"

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return ("background", *BONES) if self.masks else None

    @cached_property
    def labels(self) -> np.ndarray:
        return np.array([self._exam(i)[1] for i in range(self.count)], np.int64)

    @cached_property
    def patients(self) -> list[str]:
        # sources of other seeds have other patients
        patients = (self._patient(i) for i in range(self.count))
        return [f"patient-{self.seed}-{patient:06d}" for patient in patients]

    @cached_property
    def signs(self) -> dict[str, np.ndarray]:
        """What each exam shows, one float array (n,) per field of `Signs`.

        Of the spots, their number.
        """
        shown = [self.draw(i)[1] for i in range(self.count)]
        shown = [signs._replace(spots=len(signs.spots)) for signs in shown]
        return dict(zip(Signs._fields, np.array(shown, np.float64).T, strict=True))

    def draw(self, i: int) -> tuple[Anatomy, Signs, Scan]:
        """Return what example i is rendered from.

        Raises:
          IndexError: if there is no example i.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"phantom: no example {i} among {self.count}")
        # separate streams: a patient's knees share one, their exams do not
        anatomy = draw_anatomy(np.random.default_rng([self.seed, 1, self._patient(i)]))
        rng, torn = self._exam(i)
        signs = draw_signs(rng, torn)
        scan = draw_scan(rng, slices=self.slices, matrix=self.matrix)
        return anatomy, signs, scan

    def _exam(self, i: int) -> tuple[np.random.Generator, bool]:
        rng = np.random.default_rng([self.seed, 2, i])
        return rng, rng.uniform() < self.tear_fraction

    def _patient(self, i: int) -> int:
        return i // self.knees_per_patient
