"""How one exam was acquired: pose, slices, contrast, artefacts."""

import math
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.shapes import Triple

# relative signal in the weightings of sagittal knee protocols: proton density, T2,
# T2 with fat suppression
SIGNAL = {
    "air": (0.0, 0.0, 0.0),
    "fat": (0.85, 0.75, 0.2),
    "marrow": (0.72, 0.6, 0.14),
    "red_marrow": (0.55, 0.45, 0.28),
    "muscle": (0.38, 0.2, 0.3),
    "fluid": (0.68, 1.0, 1.0),
    "cartilage": (0.6, 0.45, 0.55),
    "cortex": (0.05, 0.03, 0.04),
    "meniscus": (0.1, 0.07, 0.08),
    "ligament": (0.14, 0.1, 0.12),
    "fibres": (0.22, 0.15, 0.2),
    "bruise": (0.45, 0.7, 0.8),
    "blood": (0.1, 0.15, 0.2),
}


# attenuation in CT, air 0 and cortical bone 1
ATTENUATION = {
    "air": 0.0,
    "fat": 0.42,
    "marrow": 0.62,
    "red_marrow": 0.58,
    "muscle": 0.5,
    "fluid": 0.47,
    "cartilage": 0.52,
    "cortex": 1.0,
    "meniscus": 0.53,
    "ligament": 0.54,
    "fibres": 0.53,
    "bruise": 0.6,
    "blood": 0.51,
}
# echoes in ultrasound: bright tendons and surfaces, dark fluid
ECHO = {
    "air": 0.0,
    "fat": 0.35,
    "marrow": 0.08,
    "red_marrow": 0.08,
    "muscle": 0.3,
    "fluid": 0.03,
    "cartilage": 0.12,
    "cortex": 1.0,
    "meniscus": 0.55,
    "ligament": 0.7,
    "fibres": 0.5,
    "bruise": 0.1,
    "blood": 0.15,
}
MODALITIES = ("mr", "ct", "us")


class Scan(NamedTuple):
    """The acquisition of one exam."""

    left: bool
    slices: int
    spacing_mm: Triple
    rotation: Triple  # radians about x, y, z
    shift_mm: Triple
    flexion: float  # radians
    signal: dict[str, float]
    bias: tuple[float, ...]  # log sensitivity: linear per axis, quadratic per axis
    texture: tuple[tuple[float, ...], ...]  # per wave: amplitude, three phases
    blur: float  # weight of each in-plane neighbour
    ghost: float  # strength of the copies that motion leaves
    ghost_axis: int
    noise: float  # standard deviation per channel, the brightest tissue being 1
    noise_seed: int
    scale: float  # arbitrary units of the scanner
    speckle: bool = False  # of coherent waves: ultrasound


def draw_scan(
    rng: np.random.Generator, *, slices: tuple[int, int], matrix: tuple[int, int]
) -> Scan:
    """Draw an acquisition.

    Args:
      slices: fewest, most.
      matrix: rows, columns.
    """
    u = rng.uniform
    count = int(rng.integers(slices[0], slices[1] + 1))
    field_mm = u(130, 180)
    return Scan(
        left=u() < 0.5,
        slices=count,
        spacing_mm=(u(84, 108) / count, *(field_mm / n for n in matrix)),
        rotation=tuple(rng.normal(0, s) for s in (0.12, 0.05, 0.08)),
        shift_mm=tuple(rng.normal(0, s) for s in (4, 9, 12)),
        flexion=u(-0.02, 0.35),
        signal=_draw_signal(rng),
        bias=(
            *(rng.normal(0, s) for s in (0.06, 0.12, 0.12)),
            *(-u(0, s) for s in (0.1, 0.3, 0.2)),
        ),
        texture=tuple((u(0, 0.05), *u(0, math.tau, 3).tolist()) for _ in range(4)),
        blur=u(0.05, 0.3) * (u() < 0.3),
        ghost=u(0.05, 0.2) * (u() < 0.15),
        ghost_axis=int(rng.integers(1, 3)),
        noise=math.exp(u(math.log(0.01), math.log(0.07))),
        noise_seed=int(rng.integers(2**32)),
        scale=10 ** u(1, 3.5),
    )


def as_modality(scan: Scan, modality: str, rng: np.random.Generator) -> Scan:
    """Return the same pose and slices as another scanner sees them.

    CT: attenuation, an even field, no ghosts. Ultrasound: echoes with speckle that
    weaken with the depth below the knee's front.
    """
    if modality == "mr":
        return scan
    table = ATTENUATION if modality == "ct" else ECHO
    jitter = np.exp(rng.normal(0, 0.05, len(table)))
    values = np.array(list(table.values())) * jitter
    signal = dict(zip(table, values.tolist(), strict=True))
    scan = scan._replace(
        signal=signal, ghost=0.0, texture=((0.0,) * 4,), bias=(0.0,) * 6
    )
    if modality == "ct":
        return scan._replace(noise=scan.noise / 2)
    depth = -rng.uniform(0.6, 1.4)
    return scan._replace(bias=(0.0, 0.0, depth, 0.0, 0.0, 0.0), speckle=True)


def _draw_signal(rng: np.random.Generator) -> dict[str, float]:
    """Mix the weightings as echo time and fat suppression do between scanners."""
    weights = rng.dirichlet((0.3, 0.4, 2.0))
    jitter = np.exp(rng.normal(0, 0.12, len(SIGNAL)))
    signals = np.array(list(SIGNAL.values())) @ weights * jitter
    return dict(zip(SIGNAL, signals.tolist(), strict=True))
