"""What takes up contrast in every head: vessels, choroid plexus, pituitary."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from medssl_jax.phantoms.head.layers import Head, Layer
from medssl_jax.phantoms.head.skull import RADII
from medssl_jax.phantoms.shapes import Grid, Points, Triple, capsule, cover, ellipsoid

Vein = tuple[tuple[Triple, ...], float]  # a line of places, and the radius in mm

Tube = tuple[Triple, Triple, float]  # from, to, radius in mm

# of the left half
_ARTERIES: tuple[Tube, ...] = (
    ((9, -8, -34), (9, -11, -17), 2.2),  # internal carotid
    ((9, -11, -17), (24, -14, -14), 1.6),  # middle cerebral, and along the insula
    ((24, -14, -14), (40, -6, -2), 1.4),
    ((40, -6, -2), (44, 12, 10), 1.2),
    ((1.5, -18, -15), (1.5, -43, 4), 1.2),  # anterior cerebral
    ((4, 2, -17), (19, 18, -12), 1.3),  # posterior cerebral
)
_BASILAR = ((0.0, 0.0, -42.0), (0.0, 0.0, -17.0), 1.7)
_DEEP_VEINS: tuple[Tube, ...] = (
    ((2, -4, 12), (1.5, 28, 6), 1.3),  # internal cerebral
    ((18, 2, -14), (1.5, 30, 2), 1.2),  # basal
)


def draw_veins(rng: np.random.Generator) -> tuple[Vein, ...]:
    """Draw veins over the convexity, towards the sagittal sinus, and into sulci."""
    u, veins = rng.uniform, []
    for _ in range(int(rng.integers(6, 12))):
        side, front = (1 if u() < 0.5 else -1), u(-60, 60)
        start, bend = u(0.6, 1.3), u(-12, 12)  # radians from the vertex
        angles = (start, 0.55 * start, 0.12)
        line = tuple(
            _on_surface(side, angle, front + bend * k) for k, angle in enumerate(angles)
        )
        veins.append((line, u(0.8, 1.6)))
    for _ in range(int(rng.integers(5, 11))):  # seen end-on in most slices
        side, angle, front = (1 if u() < 0.5 else -1), u(0.3, 1.5), u(-65, 70)
        top = _on_surface(side, angle, front)
        deep = u(0.78, 0.92)
        bottom = tuple(deep * c + u(-4, 4) for c in top)
        veins.append(((top, bottom), u(0.6, 1.3)))
    return tuple(veins)


def enhancing(head: Head, veins: tuple[Vein, ...], edge_mm: float) -> Iterator[Layer]:
    """Lay all that takes up contrast and is no lesion."""
    p, moved = head.points, head.moved
    side = moved._replace(x=np.abs(moved.x))
    plexus = capsule(side, (13, 20, 17), (22, 36, 7), 2.5)
    plexus = np.maximum(plexus, head.brain.ventricles)
    yield "plexus", cover(plexus, edge_mm)
    gland = ellipsoid(p, (0, -14, -28), (6, 5, 4))
    stalk = _tubes(p, [((0, -14, -25), (0, -9, -14), 1.0)], edge_mm)
    yield "pituitary", np.maximum(cover(gland, edge_mm), stalk)
    yield "plexus", 0.6 * cover(ellipsoid(moved, (0, 27, 2), (3, 4, 3)), edge_mm)
    arteries = _tubes(side, _ARTERIES, edge_mm)
    yield "artery", np.maximum(arteries, _tubes(moved, [_BASILAR], edge_mm))
    yield "vein", _tubes(side, _DEEP_VEINS, edge_mm)
    cortical = [
        (start, end, radius) for line, radius in veins for start, end in pairwise(line)
    ]
    cavity = cover(head.skull.cavity, edge_mm)
    yield "vein", cavity * _tubes(moved, cortical, edge_mm)


def _tubes(points: Points, tubes: Sequence[Tube], edge_mm: float) -> Grid:
    """Return the share of tubes that may be thinner than a voxel."""
    found = np.zeros((1, 1, 1), np.float32)
    for start, end, radius in tubes:
        full = min(1.0, math.pi * radius**2 / edge_mm**2)
        # no thinner than an edge: what is lost in width is lost in share
        wide = max(radius, edge_mm / 2)
        share = full * cover(capsule(points, start, end, wide), edge_mm)
        found = np.maximum(found, share)
    return found


def _on_surface(side: int, angle: float, front_mm: float) -> Triple:
    """Return a place just below the vault, by its angle from the vertex."""
    a, b, c = RADII
    ring = 0.97 * math.sqrt(max(1 - (front_mm / b) ** 2, 0.05))
    return (side * a * ring * math.sin(angle), front_mm, c * ring * math.cos(angle))
