"""What the beam meets on its way through a chest, in mm of water."""

import math
from collections.abc import Iterator

import numpy as np

from medssl_jax.phantoms.chest.anatomy import (
    HILUM_MM,
    Anatomy,
    Plane,
    dome,
    from_middle,
    half_width,
    to_wall,
)
from medssl_jax.phantoms.chest.signs import Nodule, Signs, gap_mm, outline


def water(
    x: Plane,
    z: Plane,
    anatomy: Anatomy,
    signs: Signs,
    *,
    turn_mm: float,
    edge_mm: float,
) -> Plane:
    """Return how much water attenuates alike, at points of the mean chest.

    Args:
      turn_mm: by which heart and mediastinum are moved to the left.
      edge_mm: over how much edges are spread: a pixel.
    """
    lung = _lung(x, z, anatomy, turn_mm, edge_mm)
    depth = _body(x, z, anatomy) - (1 - anatomy.density) * lung
    aerated = _share(lung, 40.0)
    vessels = _vessels(x, z, anatomy, edge_mm) * aerated * 1.2
    hila = sum(
        _ball(x - side * HILUM_MM[0] - turn_mm, z - HILUM_MM[1], 15, edge_mm) * 0.6
        for side in (-1, 1)
    )
    if signs.pneumothorax is not None:
        air = lost(x, z, anatomy, signs, edge_mm)
        depth -= air * signs.pneumothorax.air * anatomy.density * lung
        vessels *= 1 - air
        depth += _pleura(x, z, anatomy, signs, edge_mm) * aerated
    depth += vessels + hila * (1 - anatomy.density)
    for nodule in (*signs.nodules, *signs.spots):
        depth += round_shadow(x, z, nodule, edge_mm)
    depth += _skeleton(x, z, anatomy, signs, edge_mm)
    for shadow in _disguises(x, z, anatomy, signs, edge_mm):
        depth += shadow
    return np.maximum(depth, 0)


def lost(x: Plane, z: Plane, anatomy: Anatomy, signs: Signs, edge_mm: float) -> Plane:
    """Return the share of a pixel in which air has taken the lung's place."""
    one = signs.pneumothorax
    assert one is not None
    beside = to_wall(x, z, anatomy)
    within = _share(gap_mm(z, one, anatomy) - beside, edge_mm) * _share(beside, edge_mm)
    within *= _share(one.side * x - anatomy.mediastinum, edge_mm)
    return within * _share(dome(x, anatomy) - z, edge_mm)


def round_shadow(x: Plane, z: Plane, nodule: Nodule, edge_mm: float) -> Plane:
    """Return a nodule's thickness, in mm of water."""
    across, down = x - nodule.x_mm, z - nodule.z_mm
    edge = outline(nodule, np.arctan2(down, across))
    # one smaller than a pixel keeps its mass
    least = np.maximum(edge, 0.6 * edge_mm)
    mass = np.minimum(edge / (0.6 * edge_mm), 1) ** 3
    rest = 1 - (np.square(across) + np.square(down)) / np.square(least)
    return 2 * least * mass * np.sqrt(np.maximum(rest, 0)) * nodule.density


def _body(x, z, anatomy):
    """Return the thickness of the trunk with the shoulders and the neck."""
    wide = half_width(z, anatomy) + anatomy.wall + 80 * _share(45 - z, 90)
    shoulder = _share(z + 70 - 0.28 * np.abs(x), 55)
    neck = 0.75 * _share(58 - np.abs(x), 20)
    rest = np.clip(1 - np.square(x / wide), 0, 1) ** 0.4
    trunk = (anatomy.depth + 0.9 * anatomy.wall) * rest * np.maximum(shoulder, neck)
    breast = sum(_ball((x - side * 85) / 1.25, z - 185, 55, 40) for side in (-1, 1))
    return trunk + breast * anatomy.breast / 110


def _lung(x, z, anatomy, turn_mm, edge_mm):
    """Return the thickness of what is lung: the cavity less what lies within it."""
    inside = np.clip(1 - np.square(from_middle(x, z, anatomy)), 0, 1)
    narrow = 0.6 + 0.4 * np.clip(z / 120, 0, 1)
    cavity = anatomy.depth * narrow * np.sqrt(inside)
    # a dome is met along its side: its edge is sharp, and lung goes on behind it
    below = np.sqrt(np.clip((z - dome(x, anatomy)) / 70, 0, 1))
    x = x - turn_mm
    wide = anatomy.mediastinum + 7 * np.sin(z / 31) + 8 * _share(50 - z, 80)
    middle = 100 * np.clip(1 - np.square(x / wide), 0, 1) ** 0.35
    knob = 1.8 * _ball(x - 0.7 * anatomy.mediastinum, z - 52, 16, edge_mm)
    solid = np.maximum(np.maximum(middle, knob), _heart(x, z, anatomy))
    return np.maximum(cavity - np.maximum(solid, below * cavity), 0)


def _heart(x, z, anatomy):
    cosine, sine = math.cos(anatomy.axis), math.sin(anatomy.axis)
    x, z = x - 22, z - (anatomy.diaphragm - 42)
    along, across = cosine * x + sine * z, cosine * z - sine * x
    inside = np.square(along / (66 * anatomy.heart)) + np.square(across / 50)
    return 115 * np.sqrt(np.clip(1 - inside, 0, 1))


def _vessels(x, z, anatomy, edge_mm):
    total = np.zeros_like(x)
    for start_x, start_z, end_x, end_z, radius in anatomy.vessels:
        one = _rod(x, z, (start_x, start_z), (end_x, end_z), radius, edge_mm)
        total = np.maximum(total, one)
    return total


def _pleura(x, z, anatomy, signs, edge_mm):
    """Return the lung's edge where it has left the wall: a thin line."""
    one = signs.pneumothorax
    off = np.abs(gap_mm(z, one, anatomy) - to_wall(x, z, anatomy))
    line = np.clip(1 - off / edge_mm, 0, 1) * 22 * min(1.0, 1.5 / edge_mm)
    beside = _share(one.side * x - anatomy.mediastinum, edge_mm)
    return line * beside * _share(dome(x, anatomy) - z, edge_mm)


def _skeleton(x, z, anatomy, signs, edge_mm):
    bone = np.zeros_like(x)
    for i in range(10):
        bone += _rib(x, z, anatomy, -12 + anatomy.rib_gap * (i + 1), edge_mm)
    spine = _share(17 - np.abs(x), 5) * (15 + 4 * np.cos(z * (math.tau / 23)))
    for side, dense in zip((-1, 1), signs.scapula, strict=True):
        u = np.clip((side * x - 16) / 130, 0, 1)
        place = 30 - 40 * u + 8 * np.sin(math.tau * u)
        collar = _bar(z - place, 6.5, edge_mm) * _share(side * x - 12, 8)
        border = side * x - 122 - 0.12 * z
        blade = _share(border, 4) * _share(150 - z, 30) * _share(z + 20, 30)
        bone += 1.3 * collar + 6 * dense * blade * _share(60 - border, 20)
    return bone + spine


def _rib(x, z, anatomy, top, edge_mm):
    """Return a pair of ribs: from the spine to the side, and back down to the front."""
    reach = half_width(float(top), anatomy)
    above = max(1 - top / 120, 0.0)
    reach *= max(1 - above**2.2, 0.05) ** (1 / 2.2)
    u = np.clip(np.abs(x) / reach, 0, 0.995)
    rim = np.sqrt(1 - np.square(u))
    oblique = np.minimum(1 / rim, 3)  # a rib at the side is met lengthwise
    back = top - 8 * np.sin(math.pi * u) + 26 * np.square(u)
    steep = (52 * u - 8 * math.pi * np.cos(math.pi * u)) / reach
    behind = _bar((z - back) / np.hypot(1, steep), 6, edge_mm)
    front = top + 26 + anatomy.rib_slope * rim
    falls = anatomy.rib_slope * u / rim / reach
    ahead = _bar((z - front) / np.hypot(1, falls), 5.5, edge_mm)
    ahead *= _share(np.abs(x) - 0.4 * reach, 6)  # then cartilage, which is not seen
    within = _share(reach - np.abs(x), edge_mm) * _share(np.abs(x) - 14, 6)
    return (0.55 * behind + 0.35 * ahead) * oblique * within


def _disguises(x, z, anatomy, signs, edge_mm) -> Iterator[Plane]:
    inside = _share(to_wall(x, z, anatomy), 10)
    if signs.fold is not None:
        side, at, slope, thick = signs.fold
        off = at + slope * (z - 80) - side * x
        yield thick * _share(off, edge_mm) * np.exp(-np.maximum(off, 0) / 18) * inside
    for at_x, at_z in signs.electrodes:
        off = np.hypot(x - at_x, z - at_z)
        disc = 9 * _share(8 - off, edge_mm)
        end = at_x + 60 * math.copysign(1, at_x), at_z - 130
        yield disc + 3 * _rod(x, z, (at_x, at_z), end, 0.8, edge_mm)
    if signs.opacity is not None:
        at_x, at_z, radius, most = signs.opacity
        off = np.square(x - at_x) + np.square(z - at_z)
        patchy = 0.7 + 0.3 * np.sin(0.21 * x + 0.7) * np.sin(0.17 * z)
        yield most * patchy * np.exp(-0.5 * off / radius**2) * inside
    for side, high in zip((-1, 1), signs.effusion_mm, strict=True):
        if high:
            near = np.exp(-np.maximum(to_wall(x, z, anatomy), 0) / 25)
            level = dome(x, anatomy) - high * near
            yield 60 * _share(z - level, 12) * near * inside * (np.sign(x) == side)


def _ball(x, z, radius, edge_mm):
    """Return a ball's thickness, its edge no sharper than a pixel."""
    soft = max(radius, edge_mm)
    return 2 * radius * np.sqrt(np.clip(1 - (x * x + z * z) / soft**2, 0, 1))


def _rod(x, z, start, end, radius, edge_mm):
    """Return the thickness of a rod; one thinner than a pixel keeps its mass."""
    along = end[0] - start[0], end[1] - start[1]
    length2 = along[0] ** 2 + along[1] ** 2
    place = ((x - start[0]) * along[0] + (z - start[1]) * along[1]) / length2
    place = np.clip(place, 0, 1)
    across, down = x - start[0] - place * along[0], z - start[1] - place * along[1]
    return _chord(across * across + down * down, radius, edge_mm)


def _bar(off, half, edge_mm):
    """Return the thickness of a bone of this half width along a curve."""
    return _chord(off * off, half, edge_mm)


def _chord(squared, radius, edge_mm):
    wide = max(radius, 0.6 * edge_mm)
    rest = np.maximum(wide * wide - squared, 0)
    return 2 * np.sqrt(rest) * (radius / wide) ** 2


def _share(ramp, width):
    """Return 0 below 0, 1 above `width`, linear between."""
    return np.clip(ramp / width, 0, 1)
