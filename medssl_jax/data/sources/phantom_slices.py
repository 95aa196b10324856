"""Phantom knees in 2D: one to several sagittal images of each patient's ligament."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from medssl_jax.data.masks import write_array
from medssl_jax.data.source import Record, Source
from medssl_jax.data.sources import phantom
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.knee.acquire import acquire, acquire_bones
from medssl_jax.phantoms.knee.anatomy import Anatomy, draw_anatomy
from medssl_jax.phantoms.knee.render import BONES
from medssl_jax.phantoms.knee.scan import MODALITIES, Scan, as_modality, draw_scan
from medssl_jax.phantoms.knee.signs import Signs, draw_signs
from medssl_jax.ranges import Count, Made, Seed, Share

REVISION = 1  # of the pictures, on top of phantom's; caches look at both
_STACK = (20, 32)  # slices of the protocols that the one is taken from
_LIGAMENT_MM = 2.0  # lateral of the middle
_BONES = BONES[:3]  # at this place the fibula is hardly ever cut
_OFF_MM = 6.0  # to either side of it, where the ligament is still cut


def phantom_slices(
    *,
    count: Made,
    seed: Seed,
    size_pixels: Sequence[Count],
    images_per_patient: Sequence[Count] = (1, 4),
    tear_fraction: Share = 0.5,
    scanner: str = "mr",
    masks: bool = False,
) -> "PhantomSlices":
    """Return a source of 2D images of phantom knees, label 1 where the ACL is torn.

    A patient is one knee: its anatomy, its signs and its label are the same in all
    of its images. They differ as repeated acquisitions do: in the slice's distance
    from the ligament, pose, flexion, field of view, contrast, coil and noise. Example
    i depends on `seed`, `images_per_patient` and i alone, so sources of different
    seeds are independent and a longer source begins with the shorter one.

    Args:
      count: of images; the last patient has what is left.
      size_pixels: rows, columns.
      images_per_patient: fewest, most; drawn uniformly, images of a patient on end.
      tear_fraction: probability that a patient has a tear.
      scanner: "mr", "ct" or "us" (ultrasound), of the same knees for one seed.
      masks: whether records have masks of the bones: femur, tibia, patella.

    Raises:
      ConfigError: if a number is out of its range.
    """
    if count < 1 or seed < 0:
        raise ConfigError(
            f"data.count {count} must be 1 or more, data.seed {seed} 0 or more"
        )
    if len(size_pixels) != 2 or min(size_pixels) < 1:
        size = tuple(size_pixels)
        raise ConfigError(f"data.size_pixels {size} is no (rows, columns)")
    per_patient = tuple(images_per_patient)
    if len(per_patient) != 2 or not 1 <= per_patient[0] <= per_patient[1]:
        raise ConfigError(
            f"data.images_per_patient {per_patient} is no (fewest, most), 1 at least"
        )
    if not 0 <= tear_fraction <= 1:
        raise ConfigError(f"data.tear_fraction {tear_fraction} is not in [0, 1]")
    if scanner not in MODALITIES:
        known = ", ".join(MODALITIES)
        raise ConfigError(f"data.scanner {scanner!r} is not known; known: {known}")
    return PhantomSlices(
        count, seed, tuple(size_pixels), per_patient, tear_fraction, scanner, masks
    )


@dataclass(frozen=True)
class PhantomSlices(Source):
    """A source of phantom slices; `phantom_slices` makes it."""

    count: int
    seed: int
    matrix: tuple[int, int]  # rows, columns
    per_patient: tuple[int, int]  # fewest, most
    tear_fraction: float
    scanner: str
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
        image = acquire(anatomy, signs, scan, self.matrix)[0]
        record = {"image": image, "spacing_mm": scan.spacing_mm[1:]}
        if self.masks:
            mask = acquire_bones(anatomy, signs, scan, self.matrix)[0]
            record["mask"] = np.where(mask <= len(_BONES), mask, 0)
        return record

    def name(self, i: int) -> str:
        return f"phantom-slice-{i:06d}"

    def stamp(self, i: int) -> str:
        revisions = f"{phantom.REVISION}.{REVISION}"
        masks = " masks" * self.masks
        return f"phantom_slices {revisions} {self.matrix}{masks} {self.draw(i)}"

    @property
    def class_names(self) -> tuple[str, ...] | None:
        return ("background", *_BONES) if self.masks else None

    @cached_property
    def labels(self) -> np.ndarray:
        torn = [self._knee(patient)[1] for patient in range(self._owners[-1] + 1)]
        return np.array(torn, np.int64)[self._owners]

    @cached_property
    def patients(self) -> list[str]:
        # sources of other seeds have other patients
        return [f"patient-{self.seed}-{patient:06d}" for patient in self._owners]

    def draw(self, i: int) -> tuple[Anatomy, Signs, Scan]:
        """Return what example i is rendered from.

        Raises:
          IndexError: if there is no example i.
        """
        if not 0 <= i < self.count:
            raise IndexError(f"phantom_slices: no example {i} among {self.count}")
        rng, torn = self._knee(int(self._owners[i]))
        anatomy, signs, left = draw_anatomy(rng), draw_signs(rng, torn), rng.random()
        scan = self._scan(i, left=left < 0.5)
        return anatomy, signs, scan

    def _scan(self, i: int, *, left: bool) -> Scan:
        """Draw an acquisition of one slice only, near the ligament."""
        rng = np.random.default_rng([self.seed, 5, i])
        scan = draw_scan(rng, slices=_STACK, matrix=self.matrix)
        side = 1 if left else -1  # to which the knee's lateral side lies
        middle_mm = -side * _LIGAMENT_MM + rng.uniform(-_OFF_MM, _OFF_MM)
        shift_mm = (middle_mm, *scan.shift_mm[1:])
        scan = scan._replace(left=left, slices=1, shift_mm=shift_mm)
        return as_modality(scan, self.scanner, rng)

    def _knee(self, patient: int) -> tuple[np.random.Generator, bool]:
        # streams that `phantom` does not use
        rng = np.random.default_rng([self.seed, 4, patient])
        return rng, rng.uniform() < self.tear_fraction

    @cached_property
    def _owners(self) -> np.ndarray:
        """The patient of each image, by number."""
        rng = np.random.default_rng([self.seed, 3])
        sizes = rng.integers(*self.per_patient, self.count, endpoint=True)
        return np.repeat(np.arange(self.count), sizes)[: self.count]
