"""A CT scanner: attenuation in HU, with hardened beams, motion and noise."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int16

from medssl_jax.phantoms.head import bleeds, mimics
from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.blood import Bleeding
from medssl_jax.phantoms.head.layers import (
    Head,
    Layer,
    head,
    inside,
    membranes,
    outside,
    overlaid,
)
from medssl_jax.phantoms.head.mimics import Mimics
from medssl_jax.phantoms.head.pose import (
    Pose,
    edge_mm,
    fine_axes,
    head_coordinates,
    slices_of,
)
from medssl_jax.phantoms.scanner import blurred
from medssl_jax.phantoms.shapes import Grid, Volume

# HU of a head at 120 kV
ATTENUATION = {
    "air": -1000.0,
    "gas": -900.0,
    "skin": 20.0,
    "fat": -90.0,
    "muscle": 52.0,
    "eye": 12.0,
    "compact": 1200.0,
    "diploe": 600.0,
    "petrous": 1500.0,
    "csf": 8.0,
    "grey": 36.5,
    "white": 28.5,
    "cerebellum": 34.0,
    "stem": 31.0,
    "nuclei": 36.0,
    "dura": 50.0,
    "vein": 55.0,
    "oedema": 20.0,
    "infarct": 12.0,
    "tumour": 48.0,
    "calcium": 300.0,
    "swelling": 55.0,
}
_SOFT = ("csf", "grey", "white", "cerebellum", "stem", "nuclei", "oedema")


class Scan(NamedTuple):
    """The acquisition of one head."""

    pose: Pose
    hu: dict[str, float]
    blur: float  # weight of each in-plane neighbour: the kernel
    hardening: float  # how much darker it is between dense bones, relative
    cupping: float  # how much brighter beside the skull, HU
    streaks: tuple[tuple[float, float, float], ...]  # HU, radians per mm, phase
    motion: tuple[tuple[int, float, int, int], ...]  # slice, share, rows, columns
    noise: float  # HU
    noise_seed: int


def draw_scan(rng: np.random.Generator, pose: Pose) -> Scan:
    """Draw an acquisition of a pose."""
    u, slices = rng.uniform, pose.size_voxels[0]
    hu = dict(ATTENUATION)
    offset, contrast = rng.normal(0, 1.2), rng.normal(1, 0.06)
    for tissue in _SOFT:
        hu[tissue] = 30 + (hu[tissue] - 30) * contrast + offset + rng.normal(0, 0.5)
    for tissue in ("compact", "diploe", "petrous"):
        hu[tissue] *= u(0.8, 1.15)
    moved = rng.choice(slices, min(slices, 3), replace=False) if u() < 0.15 else ()
    return Scan(
        pose=pose,
        hu=hu,
        blur=u(0.0, 0.12),
        hardening=u(2, 9),
        cupping=u(3, 14),
        streaks=tuple((u(0, 3), u(0.15, 0.5), u(0, math.tau)) for _ in range(3)),
        motion=tuple(
            (int(k), u(0.2, 0.5), *rng.integers(-2, 3, 2).tolist()) for k in moved
        ),
        noise=math.exp(u(math.log(1.5), math.log(4.5))),
        noise_seed=int(rng.integers(2**32)),
    )


def acquire(
    anatomy: Anatomy, bleeding: Bleeding, mimic: Mimics, scan: Scan
) -> tuple[Int16[np.ndarray, "s r c 1"], Float32[np.ndarray, "s r c"]]:
    """Return the image in HU, and which share of each voxel is blood.

    Slices begin at the feet, rows at the front, columns at the patient's right.
    """
    pose, edge = scan.pose, edge_mm(scan.pose, anatomy)
    points = head_coordinates(fine_axes(pose), pose, anatomy)
    lens, crescent = bleeds.thickness(points, bleeding)
    head_ = head(points, anatomy, bleeds.masses(bleeding), lens + crescent)
    laid = _layers(head_, anatomy, bleeding, mimic, lens, crescent, edge)
    hu = scan.hu | bleeds.values(bleeding) | {"vein": mimic.vein_hu}
    image, blood = (slices_of(fine, pose) for fine in overlaid(laid, hu, bleeds.BLOOD))
    image = _noisy(_moved(blurred(_hardened(image, scan), scan.blur), scan), scan)
    image = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return image[..., None], blood


def _layers(
    head: Head,
    anatomy: Anatomy,
    bleeding: Bleeding,
    mimic: Mimics,
    lens: Grid,
    crescent: Grid,
    edge: float,
) -> Iterator[Layer]:
    yield from mimics.under_skin(mimic, head, edge)
    yield from outside(head, anatomy, edge)
    yield from inside(head, anatomy, edge)
    yield from mimics.within(mimic, head, edge)
    yield from membranes(head, anatomy, edge)
    yield from bleeds.layers(head, bleeding, lens, crescent, edge)


def _hardened(image: Volume, scan: Scan) -> Volume:
    """Darken what lies between dense bones, streak it, brighten the skull's edge."""
    bone = np.clip(image - 300, 0, 1500) * np.float32(1e-3)
    mm = np.float32(scan.pose.spacing_mm[1])
    path = bone.sum(axis=2, keepdims=True) * mm  # of beams from side to side
    excess = np.maximum(path - 25, 0) * np.float32(1 / 50)
    rows = (np.arange(image.shape[1], dtype=np.float32) * mm)[None, :, None]
    waves = (hu * np.sin(rows * per_mm + phase) for hu, per_mm, phase in scan.streaks)
    soft = np.clip(1 - np.abs(image - 30) * np.float32(1 / 60), 0, 1)
    dark = excess * (sum(waves, start=np.float32(0)) - scan.hardening)
    near = bone
    for _ in range(2):
        near = blurred(near, 1 / 3)
    return image + soft * (dark + scan.cupping * near)


def _moved(image: Volume, scan: Scan) -> Volume:
    """Lay a moved copy over some slices."""
    for k, share, rows, columns in scan.motion:
        copy = np.roll(image[k], (rows, columns), (0, 1))
        image[k] = (1 - share) * image[k] + share * copy
    return image


def _noisy(image: Volume, scan: Scan) -> Volume:
    """Add noise: more where bone takes the photons."""
    rng = np.random.default_rng(scan.noise_seed)
    bone = np.clip(image - 300, 0, 1500).mean(axis=(1, 2), keepdims=True)
    noise = scan.noise * (1 + bone * np.float32(1 / 300))
    return image + noise * rng.standard_normal(image.shape, np.float32)
