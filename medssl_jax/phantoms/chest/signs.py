"""Nodules and pneumothorax, and what only looks like them."""

import math
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.chest.anatomy import (
    HILUM_MM,
    Anatomy,
    dome,
    from_middle,
    half_width,
)

FINDINGS = ("nodule", "pneumothorax")

_MOST_NODULES = 3


class Nodule(NamedTuple):
    """A round opacity of water in the lung, its outline lobulated."""

    x_mm: float
    z_mm: float
    radius_mm: float
    density: float  # water being 1; 3 and more: calcified
    lobes: tuple[tuple[float, float], ...] = ()  # relative amplitude, phase


class Pneumothorax(NamedTuple):
    """Air between lung and chest wall, widest at the apex."""

    side: int  # -1 the patient's right, 1 the left
    apical_mm: float  # from the wall to the lung's edge, at the apex
    lateral_mm: float  # the same at the base
    air: float  # the share of the lung's density that is gone


class Fold(NamedTuple):
    """A fold of skin: a step that looks like a lung's edge; vessels go beyond it."""

    side: int
    x_mm: float
    slope: float
    thickness_mm: float


class Signs(NamedTuple):
    """What one radiograph shows; `nodules` and `pneumothorax` are findings."""

    nodules: tuple[Nodule, ...]
    pneumothorax: Pneumothorax | None
    spots: tuple[Nodule, ...]  # nipples, granulomas, vessels end on
    electrodes: tuple[tuple[float, float], ...]  # x, z
    fold: Fold | None
    scapula: tuple[float, float]  # how dense its border is: right, left
    opacity: tuple[float, ...] | None  # x, z, radius, water: an infiltrate
    effusion_mm: tuple[float, float]  # its height in the angle: right, left


def draw_signs(
    rng: np.random.Generator, anatomy: Anatomy, *, nodule: bool, pneumothorax: bool
) -> Signs:
    """Draw what a chest with these findings shows, disguises whatever they are."""
    u = rng.uniform
    nodules: list[Nodule] = []
    if nodule:
        count = 1 + int(rng.binomial(_MOST_NODULES - 1, 0.25))
        while len(nodules) < count:
            one = _nodule(rng, anatomy)
            if all(_apart(one, other) for other in nodules):
                nodules.append(one)
    return Signs(
        nodules=tuple(nodules),
        pneumothorax=_pneumothorax(rng) if pneumothorax else None,
        spots=tuple(_spots(rng, anatomy)),
        electrodes=_electrodes(rng) if u() < 0.2 else (),
        fold=_fold(rng) if u() < 0.25 else None,
        scapula=(u(0, 1), u(0, 1)),
        opacity=_opacity(rng, anatomy) if u() < 0.2 else None,
        effusion_mm=tuple(u(8, 35) * (u() < 0.12) for _ in range(2)),
    )


def outline(nodule: Nodule, angle: np.ndarray) -> np.ndarray:
    """Return the distance in mm from a nodule's middle to its edge at angles."""
    radius = np.ones_like(angle)
    for k, (amplitude, phase) in enumerate(nodule.lobes, start=2):
        radius = radius + amplitude * np.cos(k * angle + phase)
    return nodule.radius_mm * radius


def _nodule(rng, anatomy) -> Nodule:
    u = rng.uniform
    radius = math.exp(u(math.log(8), math.log(22)))
    lobes = tuple((u(0, 0.12), u(0, math.tau)) for _ in range(4))
    return Nodule(*_in_lung(rng, anatomy), radius, u(0.8, 1.2), lobes)


def _in_lung(rng, anatomy) -> tuple[float, float]:
    """Draw a place that lungs are seen at; a few lie behind the heart."""
    while True:
        x = rng.uniform(-1, 1) * anatomy.half_width
        z = rng.uniform(10, anatomy.diaphragm)
        inside = from_middle(x, z, anatomy) < 0.9
        beside = abs(x) > anatomy.mediastinum + 8
        if inside and beside and z < dome(x, anatomy) - 6:
            return float(x), float(z)


def _apart(one: Nodule, other: Nodule) -> bool:
    far = math.hypot(one.x_mm - other.x_mm, one.z_mm - other.z_mm)
    return far > 1.3 * (one.radius_mm + other.radius_mm)


def _pneumothorax(rng) -> Pneumothorax:
    u = rng.uniform
    apical = math.exp(u(math.log(22), math.log(70)))
    return Pneumothorax(
        side=-1 if u() < 0.5 else 1,
        apical_mm=apical,
        lateral_mm=apical * u(0.2, 0.6) * (u() < 0.4),
        air=u(0.6, 1.0),
    )


def _spots(rng, anatomy):
    u = rng.uniform
    if u() < 0.35:  # nipples, one of them often unseen
        x, z = 0.66 * anatomy.half_width * u(0.9, 1.1), u(150, 195)
        for side in (-1, 1):
            if u() < 0.75:
                place = side * x + rng.normal(0, 4), z + rng.normal(0, 5)
                yield Nodule(*place, u(4.5, 7), u(0.5, 0.9))
    for _ in range(rng.poisson(0.5)):  # healed granulomas: small and calcified
        yield Nodule(*_in_lung(rng, anatomy), u(1.5, 3), u(3, 6))
    for side in (-1, 1):
        for _ in range(rng.poisson(1.2)):  # vessels seen end on
            x, z = HILUM_MM
            place = side * (x + abs(rng.normal(0, 22))), z + rng.normal(0, 26)
            yield Nodule(*place, u(2, 4.5), u(1, 1.4))
        if u() < 0.4:  # the first rib's cartilage
            place = side * u(38, 52), u(42, 58)
            yield Nodule(*place, u(4, 7), u(1, 2), ((0.2, u(0, math.tau)),))


def _electrodes(rng):
    u = rng.uniform
    return tuple((u(-110, 110), u(15, 200)) for _ in range(rng.integers(1, 4)))


def _fold(rng) -> Fold:
    u = rng.uniform
    return Fold(-1 if u() < 0.5 else 1, u(70, 115), u(-0.25, 0.15), u(4, 12))


def _opacity(rng, anatomy):
    u = rng.uniform
    return (*_in_lung(rng, anatomy), u(14, 38), u(8, 30))


def gap_mm(z: np.ndarray, pneumothorax: Pneumothorax, anatomy: Anatomy) -> np.ndarray:
    """Return how wide the air is at a height, from the wall inwards."""
    down = np.clip(z / anatomy.diaphragm, 0, 1)
    apical, lateral = pneumothorax.apical_mm, pneumothorax.lateral_mm
    widest = 0.8 * half_width(z, anatomy)
    return np.minimum(lateral + (apical - lateral) * np.square(1 - down), widest)
