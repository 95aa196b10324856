"""What differs from one chest to the next, and where its cavity lies."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Plane = Float[np.ndarray, "*_"] | float  # of points; mm unless said otherwise

APEX_MM = 120.0  # over which the cavity narrows to its apex
_POWER = 2.2  # of the superellipse that the cavity is there
HILUM_MM = (40.0, 92.0)  # x to either side, z


class Anatomy(NamedTuple):
    """A chest seen from the front; lengths in mm of the mean adult's.

    x runs from the midline to the patient's left, the image's right; z from the lungs'
    apex to the feet.
    """

    size: float
    half_width: float  # of the cavity, at the heart
    depth: float  # of the cavity, front to back
    wall: float  # of the chest, one side
    heart: float  # width, relative
    axis: float  # of the heart, radians from the horizontal
    mediastinum: float  # half width
    diaphragm: float  # z of the left dome: how deep the breath is
    right_dome: float  # by how much the right one is higher
    rib_gap: float  # from one rib to the next
    rib_slope: float  # how far a rib falls from back to front
    density: float  # of the lung, water being 1
    breast: float  # thickness, 0 in most men
    vessels: tuple[tuple[float, ...], ...]  # x, z, end x, end z, radius


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a chest."""
    u = rng.uniform
    female = u() < 0.5
    return Anatomy(
        size=u(0.88, 1.0) if female else u(0.95, 1.1),
        half_width=u(128, 146),
        depth=u(165, 215),
        wall=math.exp(rng.normal(math.log(42), 0.25)),
        heart=u(0.85, 1.25),
        axis=u(0.35, 0.8),
        mediastinum=u(24, 34),
        diaphragm=u(195, 245),
        right_dome=u(2, 18),
        rib_gap=u(20.5, 23.5),
        rib_slope=u(45, 75),
        density=u(0.17, 0.32),
        breast=u(15, 50) * female,
        vessels=(*_tree(rng, -1), *_tree(rng, 1)),
    )


def _tree(rng: np.random.Generator, side: int) -> list[tuple[float, ...]]:
    """Draw a lung's vessels, from its hilum outwards, thinner at each fork."""
    segments = []
    x, z = HILUM_MM
    ends = [(x, z, angle, 6.5) for angle in np.linspace(-1.35, 1.5, 6)]
    for length in (34.0, 28.0, 24.0):
        forks = []
        for x, z, angle, radius in ends:
            for turn in (-0.28, 0.28):
                own = angle + turn + rng.normal(0, 0.2)
                far = length * rng.uniform(0.7, 1.3)
                thin = radius * rng.uniform(0.5, 0.8)
                end_x, end_z = x + far * math.cos(own), z + far * math.sin(own)
                segments.append((side * x, z, side * end_x, end_z, thin))
                forks.append((end_x, end_z, own, thin))
        ends = forks
    return segments


def from_middle(x: Plane, z: Plane, anatomy: Anatomy) -> Plane:
    """Return how far from the cavity's middle to its wall a point is: 1 at the wall."""
    above = np.clip(1 - z / APEX_MM, 0, None)
    across = np.abs(x) / half_width(z, anatomy)
    return (across**_POWER + above**_POWER) ** (1 / _POWER)


def half_width(z: Plane, anatomy: Anatomy) -> Plane:
    """Return the cavity's at its widest, wider towards the base."""
    return anatomy.half_width * (1 + 0.0007 * (z - APEX_MM))


def to_wall(x: Plane, z: Plane, anatomy: Anatomy) -> Plane:
    """Return the distance in mm to the cavity's wall, negative outside."""
    return (1 - from_middle(x, z, anatomy)) * half_width(z, anatomy)


def dome(x: Plane, anatomy: Anatomy) -> Plane:
    """Return the z of the diaphragm: two domes that fall to the wall."""
    right = x < 0
    top = anatomy.diaphragm - anatomy.right_dome * right
    off = (np.abs(x) - 0.5 * anatomy.half_width) / (0.5 * anatomy.half_width)
    lateral = np.where(off > 0, 38.0, 9.0)
    return top + lateral * np.square(np.clip(off, -1, 1.2))
