"""An MR scanner: T1-weighted after contrast, with its field, motion and noise."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from medssl_jax.phantoms.head import metastases, mimics, vessels
from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.layers import (
    Head,
    Layer,
    head,
    inside,
    membranes,
    outside,
    overlaid,
)
from medssl_jax.phantoms.head.metastases import Metastasis
from medssl_jax.phantoms.head.mimics import Mimics
from medssl_jax.phantoms.head.pose import (
    Pose,
    edge_mm,
    fine_axes,
    head_coordinates,
    slices_of,
)
from medssl_jax.phantoms.head.vessels import Vein
from medssl_jax.phantoms.scanner import (
    axes_mm,
    blurred,
    ghosted,
    magnitude,
    sensitivity,
    texture,
)
from medssl_jax.phantoms.shapes import Volume

# relative signal: inversion-prepared gradient echo, spin echo (blood that flows is
# dark there)
SIGNAL = {
    "air": (0.0, 0.0),
    "gas": (0.01, 0.01),
    "skin": (0.6, 0.55),
    "fat": (0.95, 1.05),
    "muscle": (0.4, 0.42),
    "eye": (0.14, 0.22),
    "compact": (0.04, 0.05),
    "diploe": (0.4, 0.5),
    "petrous": (0.06, 0.06),
    "csf": (0.13, 0.2),
    "grey": (0.4, 0.45),
    "white": (0.6, 0.52),
    "cerebellum": (0.46, 0.47),
    "stem": (0.56, 0.5),
    "nuclei": (0.46, 0.46),
    "dura": (0.7, 0.65),
    "vein": (1.0, 0.9),
    "artery": (0.95, 0.1),
    "plexus": (0.8, 0.85),
    "pituitary": (0.9, 0.95),
    "oedema": (0.38, 0.4),
    "infarct": (0.2, 0.26),
    "calcium": (0.12, 0.15),
    "tumour": (0.95, 0.95),
    "swelling": (0.45, 0.45),
    "metastasis": (1.1, 1.1),
    "necrosis": (0.22, 0.28),
}
_SEEN = 0.5  # of the most that a lesion fills of a voxel, for one to be in the mask


class Scan(NamedTuple):
    """The acquisition of one brain."""

    pose: Pose
    signal: dict[str, float]
    bias: tuple[float, ...]  # log sensitivity: linear per axis, quadratic per axis
    texture: tuple[tuple[float, ...], ...]  # per wave: amplitude, three phases
    blur: float  # weight of each in-plane neighbour
    ghost: float  # strength of the copies that motion leaves
    ghost_axis: int
    noise: float  # standard deviation per channel, the brightest tissue being 1
    noise_seed: int
    scale: float  # arbitrary units of the scanner


def draw_scan(rng: np.random.Generator, pose: Pose) -> Scan:
    """Draw an acquisition of a pose."""
    u = rng.uniform
    spin = u()
    jitter = np.exp(rng.normal(0, 0.05, len(SIGNAL)))
    signals = np.array(list(SIGNAL.values())) @ (1 - spin, spin) * jitter
    return Scan(
        pose=pose,
        signal=dict(zip(SIGNAL, signals.tolist(), strict=True)),
        bias=(
            *(rng.normal(0, s) for s in (0.06, 0.08, 0.08)),
            *(u(-0.05, s) for s in (0.05, 0.15, 0.15)),  # head coils are near all round
        ),
        texture=tuple((u(0, 0.02), *u(0, math.tau, 3).tolist()) for _ in range(3)),
        blur=u(0.03, 0.15) * (u() < 0.3),
        ghost=u(0.03, 0.1) * (u() < 0.15),
        ghost_axis=int(rng.integers(1, 3)),
        noise=math.exp(u(math.log(0.008), math.log(0.03))),
        noise_seed=int(rng.integers(2**32)),
        scale=10 ** u(1, 3.5),
    )


def acquire(
    anatomy: Anatomy,
    lesions: tuple[Metastasis, ...],
    veins: tuple[Vein, ...],
    mimic: Mimics,
    scan: Scan,
) -> tuple[Float32[np.ndarray, "s r c 1"], UInt8[np.ndarray, "s r c"]]:
    """Return the raw magnitude image, and 1 where a metastasis is.

    Slices begin at the feet, rows at the front, columns at the patient's right. Of a
    metastasis are the voxels that it fills by half, or half as far as any.
    """
    pose, edge = scan.pose, edge_mm(scan.pose, anatomy)
    points = head_coordinates(fine_axes(pose), pose, anatomy)
    head_ = head(points, anatomy, metastases.masses(lesions))
    wholes = [metastases.share(head_, lesion, edge) for lesion in lesions]
    laid = _layers(head_, anatomy, lesions, wholes, veins, mimic, edge)
    image = slices_of(overlaid(laid, scan.signal)[0], pose)
    mask = np.zeros(pose.size_voxels, np.uint8)
    for whole in wholes:
        seen = slices_of(whole, pose)
        mask |= seen >= _SEEN * seen.max()
    return _received(image, scan)[..., None], mask


def _layers(
    head: Head,
    anatomy: Anatomy,
    lesions: tuple[Metastasis, ...],
    wholes: list[Volume],
    veins: tuple[Vein, ...],
    mimic: Mimics,
    edge: float,
) -> Iterator[Layer]:
    yield from mimics.under_skin(mimic, head, edge)
    yield from outside(head, anatomy, edge)
    yield from inside(head, anatomy, edge)
    yield from mimics.within(mimic, head, edge)
    yield from membranes(head, anatomy, edge)
    yield from vessels.enhancing(head, veins, edge)
    yield from metastases.layers(head, lesions, wholes, edge)


def _received(image: Volume, scan: Scan) -> Volume:
    axes = axes_mm(scan.pose.size_voxels, scan.pose.spacing_mm)
    image = image * texture(axes, scan.texture) * sensitivity(axes, scan.bias)
    image = ghosted(blurred(image, scan.blur), scan.ghost, scan.ghost_axis)
    return magnitude(image, scan.noise, scan.noise_seed) * np.float32(scan.scale)
