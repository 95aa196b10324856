"""Implicit shapes: millimetres to the edge, negative inside, and voxel shares."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

Volume = Float32[np.ndarray, "s r c"]
Grid = Float32[np.ndarray, "_ _ _"]  # of one length along axes where it is constant
Triple = tuple[float, float, float]


class Points(NamedTuple):
    """Coordinates in mm: lateral, posterior and superior are positive."""

    x: Volume
    y: Volume
    z: Volume


def ellipsoid(points: Points, centre: Triple, radii: Triple) -> Volume:
    """Return a distance: exact for a sphere, near its edge for an ellipsoid."""
    x, y, z = (
        np.square((p - c) * (1 / r))
        for p, c, r in zip(points, centre, radii, strict=True)
    )
    return (np.sqrt(x + y + z) - 1) * float(np.prod(radii)) ** (1 / 3)


def tube(u: Volume, v: Volume, radii: tuple[float, float]) -> Volume:
    """Return the distance to a cylinder, elliptic in u and v."""
    rho = np.sqrt(np.square(u * (1 / radii[0])) + np.square(v * (1 / radii[1])))
    return (rho - 1) * float(np.prod(radii)) ** 0.5


def along(points: Points, start: Triple, end: Triple) -> tuple[Volume, Points]:
    """Return the place on a segment (0 start, 1 end) and the offset from it in mm."""
    axis = [b - a for a, b in zip(start, end, strict=True)]
    length2 = sum(a * a for a in axis)
    x, y, z = (p - s for p, s in zip(points, start, strict=True))
    place = (x * axis[0] + y * axis[1] + z * axis[2]) * (1 / length2)
    on = np.clip(place, 0, 1)
    return place, Points(x - on * axis[0], y - on * axis[1], z - on * axis[2])


def capsule(points: Points, start: Triple, end: Triple, radius: float) -> Volume:
    """Return the distance to a segment thickened to `radius`."""
    _, (x, y, z) = along(points, start, end)
    return np.sqrt(x * x + y * y + z * z) - radius


def union(a: Volume, b: Volume, blend_mm: float) -> Volume:
    """Join two shapes with a fillet (quadratic smooth minimum)."""
    overlap = np.maximum(blend_mm - np.abs(a - b), 0)
    return np.minimum(a, b) - np.square(overlap) * (0.25 / blend_mm)


def fade(ramp: Volume, width_mm: float) -> Volume:
    """Return 0 below 0, 1 above `width_mm`, linear between."""
    return np.clip(ramp * (1 / width_mm), 0, 1)


def bump(squared_mm2: Volume, sigma_mm: float) -> Volume:
    """Return a Gaussian of a squared distance."""
    return np.exp(squared_mm2 * (-0.5 / sigma_mm**2))


def cover(distance: Volume, edge_mm: float) -> Volume:
    """Return the share of a voxel inside the shape, its edge spread over `edge_mm`."""
    return np.clip(0.5 - distance * (1 / edge_mm), 0, 1)


def sheet(distance: Volume, half_mm: float, edge_mm: float) -> Volume:
    """Return the share of a voxel within `half_mm` of a surface or line.

    A sheet thinner than a voxel never fills it, as `cover` would claim.
    """
    full = min(1.0, 2 * half_mm / edge_mm)
    return np.clip(0.5 + (half_mm - np.abs(distance)) * (1 / edge_mm), 0, full)


def turn(u: Grid, v: Grid, sine: float, cosine: float) -> tuple[Grid, Grid]:
    """Rotate the plane (u, v)."""
    return cosine * u - sine * v, sine * u + cosine * v
