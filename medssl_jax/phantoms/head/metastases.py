"""Metastases in a brain: where they lie, how they enhance."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.layers import Head, Layer, Mass, head
from medssl_jax.phantoms.shapes import Points, Triple, Volume, cover, ellipsoid

_NUMBERS = (0.36, 0.22, 0.16, 0.12, 0.08, 0.06)  # of 1 to 6
_APART_MM = 16.0
_CANDIDATES = 256


class Metastasis(NamedTuple):
    """A round enhancing lesion."""

    centre_mm: Triple
    radius_mm: float
    core: float  # radius of the dead centre, relative; 0: solid
    enhancement: float  # share of contrast-taking tissue in the rest
    oedema_mm: float  # around it


def draw_metastases(
    rng: np.random.Generator, anatomy: Anatomy
) -> tuple[Metastasis, ...]:
    """Draw one to six, apart, most of them where cortex and white matter meet."""
    u, number = rng.uniform, 1 + int(rng.choice(len(_NUMBERS), p=_NUMBERS))
    places = _places(rng, anatomy)
    found: list[Metastasis] = []
    for centre in places:
        near = (math.dist(centre, other.centre_mm) < _APART_MM for other in found)
        if len(found) == number or any(near):
            continue
        # diameters from 4 to 20 mm
        radius_mm = 2 + 8 * float(rng.beta(1.8, 1.5))
        ring = radius_mm > 4 and u() < 0.55
        found.append(
            Metastasis(
                centre_mm=centre,
                radius_mm=radius_mm,
                core=u(0.45, 0.75) * ring,
                enhancement=u(0.75, 1),
                oedema_mm=u(0, 1.2 * radius_mm),
            )
        )
    return tuple(found)


def masses(metastases: tuple[Metastasis, ...]) -> list[Mass]:
    """Return how the larger ones close the sulci around them."""
    return [
        Mass(m.centre_mm, (0.0, 0.0, 0.0), 8 + m.radius_mm, 0.6)
        for m in metastases
        if m.radius_mm > 5
    ]


def share(head: Head, metastasis: Metastasis, edge_mm: float) -> Volume:
    """Return the share of a lesion, its centre with it, which may be below a voxel."""
    radius = metastasis.radius_mm
    full = min(1.0, 4.2 * radius**3 / edge_mm**3)
    ball = ellipsoid(head.points, metastasis.centre_mm, (radius,) * 3)
    # the dura holds
    return full * cover(np.maximum(ball, head.skull.cavity + 1), edge_mm)


def layers(
    head: Head,
    metastases: tuple[Metastasis, ...],
    wholes: list[Volume],
    edge_mm: float,
) -> Iterator[Layer]:
    """Lay all oedema, then the lesions, `wholes` being their shares, and their cores."""
    soft = _soft(head.brain.depth, head.brain.cerebellum)
    for lesion in metastases:
        radius, rim_mm = lesion.radius_mm, lesion.oedema_mm
        around = ellipsoid(head.points, lesion.centre_mm, (radius + rim_mm,) * 3)
        yield "oedema", 0.9 * soft * cover(around, edge_mm + rim_mm)
    for lesion, whole in zip(metastases, wholes, strict=True):
        yield "oedema", whole
        yield "metastasis", whole * lesion.enhancement
        if lesion.core:
            radii_mm = (lesion.radius_mm * lesion.core,) * 3
            core = ellipsoid(head.points, lesion.centre_mm, radii_mm)
            yield "necrosis", whole * cover(core, edge_mm)


def _soft(depth: Volume, cerebellum: Volume) -> Volume:
    """Return where oedema spreads: in white matter, and in the cerebellum."""
    return np.maximum(np.clip(depth * 0.4 - 0.6, 0, 1), cover(cerebellum, 3))


def _places(rng: np.random.Generator, anatomy: Anatomy) -> list[Triple]:
    """Draw places, four of five at the junction under the cortex."""
    low, high = (-60, -78, -34), (60, 82, 62)
    x, y, z = rng.uniform(low, high, (_CANDIDATES, 3)).T.astype(np.float32)
    points = Points(*(line[:, None, None] for line in (x, y, z)))
    brain = head(points, anatomy).brain
    junction = np.abs(brain.depth - anatomy.cortex_mm) < 1.5
    junction &= (brain.cerebrum < -2) & (brain.ventricles > 5)
    cerebellum, deep = brain.cerebellum < -5, brain.cerebrum < -6
    anywhere = (cerebellum & (points.z > -40)) | (deep & (brain.ventricles > 3))
    seldom = rng.uniform(size=_CANDIDATES) < 0.12
    wanted = junction.ravel() | (anywhere.ravel() & seldom)
    return [tuple(place) for place in np.stack([x, y, z], 1)[wanted].tolist()]
