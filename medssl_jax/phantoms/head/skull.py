"""The head's hard frame: skin, skull and the cavity in it, as distances."""

from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.shapes import (
    Points,
    Volume,
    bump,
    capsule,
    ellipsoid,
    fade,
    union,
)

# of the mean cavity, mm from its centre: half width, half length, height
RADII = (68.0, 86.0, 74.0)
_MEAN_MM = 75.0


class Skull(NamedTuple):
    """Distances in mm, negative inside."""

    skin: Volume
    cavity: Volume  # the skull's inner table
    thickness: Volume  # of the bone around the cavity
    petrous: Volume


def skull(points: Points, anatomy: Anatomy) -> Skull:
    """Return the frame at `points`, coordinates of the mean head in mm."""
    vault = (reach(points, anatomy, below=0.7) - 1) * _MEAN_MM
    above = points.z - base(points)
    cavity = -union(-vault, above, 5)
    # the floors of the fossae are thinner than the vault
    thickness = _thickness(points, anatomy) * (0.4 + 0.6 * fade(above + 3, 12))
    skin = (reach(points, anatomy, below=0.35) - 1) * _MEAN_MM
    skin = skin - 1.1 * anatomy.skull_mm - anatomy.scalp_mm
    side = points._replace(x=np.abs(points.x))
    nose = ellipsoid(points, (0, -98, -52), (11, 15, 20))
    ear = ellipsoid(side, (80, 18, -30), (4, 14, 24))
    skin = np.minimum(union(skin, nose, 8), ear)
    petrous = capsule(side, (15, 5, -33), (58, 30, -36), 8)
    return Skull(skin, cavity, thickness, petrous)


def reach(points: Points, anatomy: Anatomy, *, below: float) -> Volume:
    """Return how far from the centre points are, 1 on the cavity's vault.

    `below` makes it longer downwards: 1 would close it as it is closed at the top.
    """
    a, b, c = RADII
    x = points.x / (a * (1 + anatomy.egg * (1 / b) * np.clip(points.y, -b, b)))
    z = np.maximum(points.z, points.z * -below) * (1 / c)
    return np.sqrt(x * x + np.square(points.y * (1 / b)) + z * z)


def base(points: Points) -> Volume:
    """Return the height of the skull base: three fossae, each lower than the last."""
    x = np.abs(points.x)
    roof = bump(np.square(x - 29), 13) * bump(np.square(points.y + 52), 22)
    anterior = -23 + 13 * roof  # of the orbits
    middle = -25 - 13 * fade(x - 10, 10)  # the sella lies higher
    # the temporal poles reach forwards under the sphenoid's wings
    step = fade(points.y + 22 + 16 * bump(np.square(x - 40), 15), 12)
    floor = anterior + (middle - anterior) * step
    return floor + (-62 - floor) * fade(ridge(points), 8)


def ridge(points: Points) -> Volume:
    """Return how far behind the petrous ridges points lie, in mm."""
    return (points.y - 5 - 0.5 * np.maximum(np.abs(points.x) - 12, 0)) * 0.9


def _thickness(points: Points, anatomy: Anatomy) -> Volume:
    """Return the bone's: thick in front and behind, thin over the temporal lobe."""
    ends = fade(np.abs(points.y + 5) - 50, 30)
    temple = bump(np.square(points.z + 8), 16) * fade(np.abs(points.x) - 45, 20)
    waves = np.sin(points.y * 0.07 + 1) * np.sin(points.z * 0.06 + points.x * 0.03)
    return anatomy.skull_mm * (1 + 0.3 * ends - 0.45 * temple + 0.15 * waves)
