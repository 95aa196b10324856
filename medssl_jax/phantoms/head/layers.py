"""A head as tissues laid over each other, from the skin inwards."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.brain import Brain, brain
from medssl_jax.phantoms.head.skull import Skull, ridge, skull
from medssl_jax.phantoms.shapes import (
    Grid,
    Points,
    Triple,
    Volume,
    bump,
    capsule,
    cover,
    ellipsoid,
    sheet,
    union,
)

Layer = tuple[str, Volume]  # a tissue and its share of each voxel


class Mass(NamedTuple):
    """What pushes the brain: its strength falls off as a Gaussian."""

    centre_mm: Triple
    push_mm: Triple  # at the centre
    sigma_mm: float
    closing: float  # share by which sulci are closed at the centre; opened if below 0


class Head(NamedTuple):
    """A head's surfaces at some points."""

    points: Points  # mm of the mean head
    moved: Points  # the same as masses push the brain
    skull: Skull
    brain: Brain


def head(
    points: Points,
    anatomy: Anatomy,
    masses: Sequence[Mass] = (),
    retreat: Grid | float = 0.0,
) -> Head:
    """Return the surfaces; the brain keeps `retreat` mm further from the skull."""
    frame = skull(points, anatomy)
    moved, closed = points, np.zeros((1, 1, 1), np.float32)
    for mass in masses:
        felt = near(points, mass.centre_mm, mass.sigma_mm)
        moved = Points(
            *(q - felt * mm if mm else q for q, mm in zip(moved, mass.push_mm))
        )
        closed = closed + mass.closing * felt
    inner = brain(moved, anatomy, frame.cavity + retreat, np.minimum(closed, 0.9))
    return Head(points, moved, frame, inner)


def near(points: Points, centre_mm: Triple, sigma_mm: float) -> Volume:
    """Return a Gaussian of the distance from a place, 1 there."""
    x, y, z = (np.square(q - c) for q, c in zip(points, centre_mm, strict=True))
    return bump(x + y + z, sigma_mm)


def overlaid(
    layers: Iterator[Layer],
    values: Mapping[str, float],
    marked: frozenset[str] = frozenset(),
) -> tuple[Volume, Volume]:
    """Return the image, and which share of each voxel the marked tissues fill."""
    image, share = np.float32(values["air"]), np.float32(0)
    for tissue, cover_ in layers:
        image = image + cover_ * (values[tissue] - image)
        share = share + cover_ * (np.float32(tissue in marked) - share)
    return image, share


def outside(head: Head, anatomy: Anatomy, edge_mm: float) -> Iterator[Layer]:
    """Lay the scalp, the face and the bones."""
    (points, _, frame, _), side = head, head.points._replace(x=np.abs(head.points.x))
    yield "skin", cover(frame.skin, edge_mm)
    yield "fat", cover(frame.skin + 2, edge_mm)
    yield "muscle", cover(frame.skin + 0.8 * anatomy.scalp_mm, edge_mm)
    outer = frame.cavity - frame.thickness
    yield "compact", cover(outer, edge_mm)
    orbit = ellipsoid(side, (29, -58, -33), (18, 28, 14))
    yield "compact", cover(np.maximum(orbit - 2.5, -75 - points.y), edge_mm)
    yield "fat", cover(orbit, edge_mm)
    yield "muscle", cover(capsule(side, (30, -60, -32), (16, -32, -30), 2.5), edge_mm)
    yield "eye", cover(ellipsoid(side, (31, -72, -32), (12, 12, 12)), edge_mm)
    middle = frame.thickness * 0.5
    spongy = middle - 1.6 - np.abs(outer + middle)
    yield "diploe", cover(-spongy, edge_mm)
    frontal = ellipsoid(side, (11, -89, -2), (14, 4.5, 14 * anatomy.airy))
    yield "gas", cover(np.maximum(frontal, outer + 1.5), edge_mm)
    yield from _sinuses(points, anatomy.airy, edge_mm)


def _sinuses(points: Points, airy: float, edge_mm: float) -> Iterator[Layer]:
    nasal = union(
        ellipsoid(points, (0, -60, -38), (11, 26, 16)),
        ellipsoid(points, (0, -24, -38), (12, 13, 9)),
        3,
    )
    yield "compact", cover(nasal - 1.5, edge_mm)
    cells = 0.75 + 0.25 * np.sin(points.x * 0.8) * np.sin(points.y * 0.6)
    yield "gas", cover(nasal + 3 - 3 * airy, edge_mm) * cells


def inside(head: Head, anatomy: Anatomy, edge_mm: float) -> Iterator[Layer]:
    """Lay the brain in its fluid, then the bones that rise into it."""
    frame, brain_ = head.skull, head.brain
    yield "csf", cover(frame.cavity, edge_mm)
    cerebrum = cover(brain_.cerebrum, edge_mm)
    yield "grey", cerebrum
    white = cover(anatomy.cortex_mm - brain_.depth, edge_mm)
    yield "white", np.minimum(cerebrum, white)
    yield "csf", cerebrum * furrows(head, edge_mm)
    folia = 0.8 + 0.2 * np.sin(
        head.moved.z * 1.1 + 0.05 * np.square(head.moved.x * 0.2)
    )
    cerebellum = cover(brain_.cerebellum, edge_mm)
    yield "cerebellum", cerebellum * folia
    side = head.moved._replace(x=np.abs(head.moved.x))
    core = union(
        ellipsoid(side, (17, 40, -36), (17, 13, 8)),
        ellipsoid(head.moved, (0, 32, -36), (8, 10, 10)),
        4,
    )
    yield "white", cerebellum * cover(core, edge_mm)
    yield "stem", cover(brain_.stem, edge_mm)
    yield "nuclei", cover(brain_.nuclei, edge_mm)
    yield "csf", cover(brain_.ventricles, edge_mm)


def furrows(head: Head, edge_mm: float) -> Volume:
    """Return the share of sulci and fissures, which may be thinner than a voxel."""
    # `furrow` is 0 at their walls; between them it falls to minus half their width
    return cover(head.brain.furrow, edge_mm)


def membranes(head: Head, anatomy: Anatomy, edge_mm: float) -> Iterator[Layer]:
    """Lay falx, tentorium, the venous sinuses in them and the petrous bones."""
    p, frame = head.points, head.skull
    cavity, behind = cover(frame.cavity, edge_mm), ridge(p)
    yield "dura", sheet(p.x, 0.6, edge_mm) * cover(falx(head), edge_mm) * cavity
    tent = sheet(head.brain.tentorium, 0.6, edge_mm)
    hole = ellipsoid(p, (0, 12, -14), (20, 20, 30))
    yield "dura", tent * cover(np.maximum(-behind, -hole), edge_mm) * cavity
    radius = anatomy.sinus_mm
    sagittal = np.hypot(p.x, frame.cavity + 0.6 * radius) - radius
    sagittal = np.maximum(sagittal, np.maximum(-15 - p.z, -60 - p.y - p.z))
    transverse = np.hypot(frame.cavity + 2, p.z + 20 + 0.05 * np.abs(p.x)) - radius
    transverse = np.maximum(transverse, 4 - behind)
    straight = capsule(p, (0, 30, 1), (0, 78, -16), 2)
    veins = np.minimum(np.minimum(sagittal, transverse), straight)
    yield "vein", cover(veins, edge_mm)
    yield from _bones_within(p, frame, anatomy, edge_mm)


def falx(head: Head) -> Volume:
    """Return the distance to the falx in its own plane."""
    free = ellipsoid(head.points, (0, 14, -8), (400, 68, 50))
    return np.maximum(-free, -head.brain.tentorium)


def _bones_within(
    p: Points, frame: Skull, anatomy: Anatomy, edge_mm: float
) -> Iterator[Layer]:
    yield "petrous", cover(frame.petrous, edge_mm)
    side = p._replace(x=np.abs(p.x))
    mastoid = ellipsoid(side, (58, 32, -40), (8, 13, 12 * anatomy.airy))
    cells = 0.55 + 0.45 * np.sin(p.x * 0.9) * np.sin(p.y * 0.8) * np.sin(p.z * 0.7)
    yield "gas", cover(mastoid, edge_mm) * cells
