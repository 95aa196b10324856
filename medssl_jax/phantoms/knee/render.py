"""A knee becomes an ideal image: tissues laid over each other from the skin inwards."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from medssl_jax.phantoms.knee.anatomy import Anatomy
from medssl_jax.phantoms.knee.signs import Signs
from medssl_jax.phantoms.shapes import (
    Points,
    Triple,
    Volume,
    along,
    bump,
    capsule,
    cover,
    ellipsoid,
    fade,
    sheet,
    tube,
    turn,
    union,
)

BONES = ("femur", "tibia", "patella", "fibula")

Layer = tuple[str, Volume]  # a tissue and its share of each voxel

# where a pivot-shift injury bruises the marrow, mm: lateral femoral condyle and
# posterolateral tibial plateau
BRUISED_FEMUR: Triple = (24.0, -4.0, 10.0)
BRUISED_TIBIA: Triple = (23.0, 17.0, -13.0)


class Surfaces(NamedTuple):
    """The knee's two frames, with the bones in them as distances."""

    thigh: Points  # turned by the flexion
    shin: Points  # moved by the tibial shift
    femur: Volume
    tibia: Volume
    patella: Volume
    fibula: Volume


def render(
    points: Points,
    anatomy: Anatomy,
    signs: Signs,
    *,
    flexion: float,
    signal: dict[str, float],
    edge_mm: float,
) -> Volume:
    """Return the signal at `points`, coordinates of the mean right knee in mm.

    Args:
      flexion: of the knee, in radians.
      signal: of each tissue.
      edge_mm: over how much the edges are spread (partial volume).
    """
    image = np.full(points.x.shape, signal["air"], np.float32)
    for tissue, share in _layers(points, anatomy, signs, flexion, edge_mm):
        image += share * (signal[tissue] - image)
    return image


def bones(
    points: Points, anatomy: Anatomy, signs: Signs, *, flexion: float
) -> UInt8[np.ndarray, "s r c"]:
    """Return the bone that each point lies in, from 1 as `BONES` has them, or 0."""
    surfaces = _surfaces(points, anatomy, signs, flexion)
    distances = np.stack([getattr(surfaces, bone) for bone in BONES])
    inside = distances.min(axis=0) < 0
    return np.where(inside, distances.argmin(axis=0) + 1, 0).astype(np.uint8)


def _layers(
    points: Points, anatomy: Anatomy, signs: Signs, flexion: float, edge_mm: float
) -> Iterator[Layer]:
    surfaces = _surfaces(points, anatomy, signs, flexion)
    yield from _soft_tissue(points, anatomy, edge_mm)
    yield "fluid", _effusion(surfaces, signs, edge_mm)
    yield from _anterior_cruciate(points, anatomy, signs, edge_mm)
    yield "ligament", _posterior_cruciate(points, signs, edge_mm)
    yield "cartilage", cover(_cartilage(surfaces, anatomy), edge_mm)
    yield "meniscus", cover(_menisci(surfaces.shin), edge_mm)
    yield from _bone(points, surfaces, anatomy, signs, edge_mm)


def _surfaces(
    points: Points, anatomy: Anatomy, signs: Signs, flexion: float
) -> Surfaces:
    # the femur turns about the axis through its epicondyles
    y, z = turn(points.y - 5, points.z - 22, math.sin(flexion), math.cos(flexion))
    thigh = Points(points.x, y + 5, z + 22)
    shin = points._replace(y=points.y + signs.tibial_shift_mm)
    return Surfaces(
        thigh=thigh,
        shin=shin,
        femur=_femur(thigh, anatomy),
        tibia=_tibia(shin, anatomy),
        patella=ellipsoid(thigh, (0, -45, 32 + anatomy.patella_mm), (21, 9, 20)),
        fibula=capsule(shin, (32, 20, -18), (29, 16, -120), 8),
    )


def _femur(p: Points, anatomy: Anatomy) -> Volume:
    x, height = 18 + 0.5 * anatomy.notch_mm, 23 * anatomy.condyle
    medial = ellipsoid(p, (-x, 4, height), (16, 30, height))
    lateral = ellipsoid(p, (x, 2, height), (16, 31, height - 0.5))
    trochlea = ellipsoid(p, (0, -11, 32), (28, 18, 22))
    radius = anatomy.shaft_mm + 14 * bump(np.square(np.maximum(p.z - 34, 0)), 15.5)
    shaft = np.sqrt(np.square(p.x * 0.85) + np.square(p.y + 2)) - radius
    shaft = np.maximum(shaft, (34 - p.z) * 0.7)
    return union(union(np.minimum(medial, lateral), trochlea, 6), shaft, 8)


def _tibia(p: Points, anatomy: Anatomy) -> Volume:
    flare = bump(np.square(np.maximum(-p.z - 8, 0)), 18.4)
    rx = anatomy.shaft_mm + (37 - anatomy.shaft_mm) * flare
    ry = anatomy.shaft_mm + (26 - anatomy.shaft_mm) * flare
    # fourth power: the plateau is nearly rectangular
    corner = np.square(np.square(p.x / rx)) + np.square(np.square((p.y - 3) / ry))
    side = (np.sqrt(np.sqrt(corner)) - 1) * ry
    spines = 6 * bump(np.square(p.x), 5)
    top = p.z + 5 - spines + anatomy.slope * p.y
    return -union(-side, -top, 6)


def _soft_tissue(p: Points, anatomy: Anatomy, edge_mm: float) -> Iterator[Layer]:
    girth = 1 + 0.2 * anatomy.muscle * np.tanh(np.abs(p.z - 5) * (1 / 60))
    kneecap = 4 * bump(np.square(p.z - 25), 21)
    leg = tube(p.x / girth, (p.y - 2 + kneecap) / girth, (47, 52))
    yield "fat", cover(leg - anatomy.fat_mm, edge_mm)
    # around the joint and in the popliteal fossa fat takes the muscle's place
    retreat = 40 * fade(30 - p.y, 12) + 22 * bump(np.square(p.x), 9)
    retreat *= bump(np.square(p.z - 12), 22.6)
    yield "muscle", cover(leg + 2 + retreat, edge_mm)
    x, y = anatomy.vessel_mm
    yield "blood", cover(capsule(p, (x, y + 2, -120), (x, y - 4, 120), 3.5), edge_mm)
    # one sheet over the patella: quadriceps and patellar tendon
    tendon = p.y + 50 - np.abs(p.z - 32 - anatomy.patella_mm) * 0.28
    width = cover(np.abs(p.x) - 14, edge_mm)
    yield "ligament", sheet(tendon, 2.5, edge_mm) * width


def _effusion(surfaces: Surfaces, signs: Signs, edge_mm: float) -> Volume:
    (x, y, z), shin = surfaces.thigh, surfaces.shin
    pouch = bump(np.square(z - 62), 12.7) * fade(-5 - y, 10) * fade(36 - np.abs(x), 12)
    recesses = fade(46 - z, 8) * fade(shin.z + 8, 4)
    film = signs.effusion_mm * (1.2 * pouch + 0.35 * recesses)
    # a film thinner than a voxel never fills it
    return fade(film, edge_mm) * cover(surfaces.femur - film, edge_mm)


def _anterior_cruciate(
    p: Points, anatomy: Anatomy, signs: Signs, edge_mm: float
) -> Iterator[Layer]:
    femoral = (6.0, 13.0, (26 - 14 * signs.sag) * anatomy.steepness)
    tibial = (-2.0, -9.0 - signs.tibial_shift_mm, -2.0)
    place, (x, y, z) = along(p, femoral, tibial)
    wave = signs.wave_mm * np.sin(place * 8)
    y, z = y + 0.78 * wave, z - 0.62 * wave  # across the fibres, in the sagittal plane
    radius = np.sqrt(np.square(x * 0.8) + np.square(y) + np.square(z))
    half = anatomy.ligament_mm
    yield "fluid", signs.oedema * cover(radius - 1.5 * half, edge_mm)
    fibres = sheet(radius, half * (1 - 0.5 * signs.fading), edge_mm)
    if signs.gap:
        length_mm = 35
        stumps = (np.abs(place - 0.45) - 0.6 * signs.gap) * length_mm
        fibres *= cover(-stumps, edge_mm)
    yield "fibres", fibres * (1 - signs.fading)


def _posterior_cruciate(p: Points, signs: Signs, edge_mm: float) -> Volume:
    y, z = p.y - 5 + 0.5 * signs.tibial_shift_mm, p.z + 1
    arc = np.sqrt(np.square(y) + np.square(z)) - 19
    ends = np.maximum(np.abs(p.x + 3) - 6, np.maximum(-y - 2, -z - 8))
    return sheet(arc, 4.5, edge_mm) * cover(ends, edge_mm)


def _cartilage(surfaces: Surfaces, anatomy: Anatomy) -> Volume:
    thick, thigh = anatomy.cartilage_mm, surfaces.thigh
    femur = np.maximum(surfaces.femur - thick, thigh.z - 42)
    tibia = np.maximum(surfaces.tibia - thick, -8 - surfaces.shin.z)
    patella = np.maximum(surfaces.patella - thick, -44 - thigh.y)
    return np.minimum(np.minimum(femur, tibia), patella)


def _menisci(shin: Points) -> Volume:
    rim = tube(np.abs(shin.x) - 21, shin.y - 2, (15, 24))
    # wedges: high at the rim, nothing 10 mm inside it
    return np.maximum(np.abs(shin.z + 2) - 0.55 * (rim + 10), rim)


def _bone(
    p: Points, surfaces: Surfaces, anatomy: Anatomy, signs: Signs, edge_mm: float
) -> Iterator[Layer]:
    large = np.minimum(surfaces.femur, surfaces.tibia)
    bones = np.minimum(large, np.minimum(surfaces.patella, surfaces.fibula))
    yield "cortex", cover(bones, edge_mm)
    marrow = cover(bones + 1.3, edge_mm)
    yield "marrow", marrow
    patches = 0.5 + 0.5 * np.sin(p.x * 0.1 + p.z * 0.13) * np.sin(p.y * 0.17 - 1)
    yield "red_marrow", marrow * patches * anatomy.red_marrow
    lesions = [
        (BRUISED_FEMUR, signs.bruise_mm, signs.bruise_femur),
        (BRUISED_TIBIA, signs.bruise_mm, signs.bruise_tibia),
        *signs.spots,
    ]
    for centre, sigma_mm, strength in lesions:
        if strength:
            x, y, z = (np.square(q - c) for q, c in zip(p, centre, strict=True))
            yield "bruise", marrow * bump(x + y + z, sigma_mm) * strength
