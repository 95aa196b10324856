"""What is in healthy heads too, and looks like blood or hides it in CT."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.blood import on_vault
from medssl_jax.phantoms.head.layers import Head, Layer, falx, near
from medssl_jax.phantoms.shapes import (
    Triple,
    Volume,
    bump,
    cover,
    ellipsoid,
    fade,
    sheet,
)


class Lesion(NamedTuple):
    """A round region of the brain, or a tumour of its coverings."""

    centre_mm: Triple
    radius_mm: float
    share: float


class Mimics(NamedTuple):
    """Disguises of one head; radii are 0 where it has none of a kind."""

    pineal_mm: float  # calcified
    plexus_mm: tuple[float, float]  # of the right and the left atrium, calcified
    pallidum: float  # share of calcium in the globus pallidus
    plaques: tuple[Triple, ...]  # of the falx: y, z, radius
    infarcts: tuple[Lesion, ...]  # old ones, dark
    pallor: float  # of the white matter around the ventricles: small vessels' disease
    meningioma: Lesion | None
    swelling: Lesion | None  # of the scalp, after a blow
    swollen_mm: float
    vein_hu: float  # dense with much haemoglobin


def draw_mimics(rng: np.random.Generator, age: float, bled: bool) -> Mimics:
    """Draw the disguises of a head; a blow to it is more frequent if it bled."""
    u = rng.uniform
    infarcts = tuple(_draw_infarct(rng) for _ in range(rng.poisson(0.15 + 0.4 * age)))
    plaques = tuple(
        (u(-60, 60), u(15, 60), u(1.5, 4)) for _ in range(rng.poisson(0.2 + age))
    )
    plexus = u() < 0.15 + 0.4 * age
    tumour = Lesion(on_vault(*_convexity(rng)), u(7, 13), 1.0)
    swelling = Lesion(on_vault(*_convexity(rng)), u(14, 26), 1.0)
    return Mimics(
        pineal_mm=u(1.5, 3.5) * (u() < 0.6),
        plexus_mm=(u(1.5, 4.5) * plexus, u(1.5, 4.5) * plexus),
        pallidum=u(0.08, 0.3) * (u() < 0.2),
        plaques=plaques,
        infarcts=infarcts,
        pallor=u(0, 0.9) * age,
        meningioma=tumour if u() < 0.05 else None,
        swelling=swelling if u() < (0.4 if bled else 0.25) else None,
        swollen_mm=u(3, 8),
        vein_hu=u(42, 72),
    )


def under_skin(mimics: Mimics, head: Head, edge_mm: float) -> Iterator[Layer]:
    """Lay a swelling, over which the scalp goes."""
    if lesion := mimics.swelling:
        swollen_mm = near(head.points, lesion.centre_mm, lesion.radius_mm)
        swollen_mm = swollen_mm * mimics.swollen_mm
        swollen = cover(head.skull.skin - swollen_mm, edge_mm)
        yield "swelling", swollen * fade(swollen_mm - 0.3, 1)


def within(mimics: Mimics, head: Head, edge_mm: float) -> Iterator[Layer]:
    """Lay dark lesions, and calcium, over the brain."""
    brain = head.brain
    tissue = cover(np.minimum(brain.cerebrum, brain.cerebellum), edge_mm)
    if mimics.pallor:
        rim = bump(np.square(np.maximum(brain.ventricles, 0)), 7)
        pale = rim * cover(-brain.ventricles, edge_mm) * fade(brain.depth - 4, 4)
        yield "oedema", mimics.pallor * pale * tissue
    for lesion in mimics.infarcts:
        ball = ellipsoid(head.moved, lesion.centre_mm, (lesion.radius_mm,) * 3)
        waves = (np.sin(q * (2 / lesion.radius_mm)) for q in head.moved)
        ball = ball + 0.2 * lesion.radius_mm * sum(waves, start=np.float32(0))
        yield "infarct", lesion.share * tissue * cover(ball, 2 * edge_mm)
    yield from _calcium(mimics, head, edge_mm)
    if lesion := mimics.meningioma:
        ball = ellipsoid(head.points, lesion.centre_mm, (lesion.radius_mm,) * 3)
        cavity = cover(head.skull.cavity, edge_mm)
        yield "tumour", cavity * cover(ball, edge_mm)


def _calcium(mimics: Mimics, head: Head, edge_mm: float) -> Iterator[Layer]:
    p = head.moved
    if mimics.pineal_mm:
        yield "calcium", _ball(head, (0, 27, 2), mimics.pineal_mm, edge_mm)
    for side, radius_mm in zip((-1, 1), mimics.plexus_mm, strict=True):
        if radius_mm:
            yield "calcium", _ball(head, (side * 22, 36, 7), radius_mm, edge_mm)
    if mimics.pallidum:
        side = p._replace(x=np.abs(p.x))
        pallidum = cover(ellipsoid(side, (21, -2, 3), (4.5, 8, 6)), edge_mm)
        yield "calcium", mimics.pallidum * pallidum
    for y, z, radius_mm in mimics.plaques:
        disc = np.hypot(p.y - y, p.z - z) - radius_mm
        inside = cover(np.maximum(disc, falx(head)), edge_mm)
        yield "calcium", sheet(p.x, 1.0, edge_mm) * inside


def _ball(head: Head, centre: Triple, radius_mm: float, edge_mm: float) -> Volume:
    """Return the shares of a ball, which may be smaller than a voxel."""
    full = min(1.0, 4.2 * radius_mm**3 / edge_mm**3)
    return full * cover(ellipsoid(head.moved, centre, (radius_mm,) * 3), edge_mm)


def _draw_infarct(rng: np.random.Generator) -> Lesion:
    u = rng.uniform
    if u() < 0.5:  # lacunar
        centre = (rng.choice((-1, 1)) * u(14, 30), u(-20, 20), u(0, 22))
        return Lesion(tuple(map(float, centre)), u(2.5, 5), u(0.6, 1))
    x, y, z = on_vault(*_convexity(rng))
    deep = u(0.75, 0.95)
    return Lesion((x * deep, y * deep, z * deep), u(8, 20), u(0.5, 1))


def _convexity(rng: np.random.Generator) -> Triple:
    u = rng.uniform
    return (float(rng.choice((-1, 1))) * u(20, 60), u(-60, 65), u(0, 60))
