"""Bleeding in the picture: blood's layers, and what it does to the brain."""

from collections.abc import Iterator

import numpy as np

from medssl_jax.phantoms.head.blood import (
    Bleeding,
    Epidural,
    Intraparenchymal,
    Intraventricular,
    Subarachnoid,
    Subdural,
)
from medssl_jax.phantoms.head.layers import Head, Layer, Mass, falx, furrows, near
from medssl_jax.phantoms.head.skull import ridge
from medssl_jax.phantoms.shapes import (
    Grid,
    Points,
    Triple,
    Volume,
    cover,
    ellipsoid,
    fade,
    sheet,
)

BLOOD = frozenset(
    (
        "epidural",
        "subdural",
        "old_subdural",
        "subarachnoid",
        "intraparenchymal",
        "intraventricular",
    )
)


def values(bleeding: Bleeding) -> dict[str, float]:
    """Return the HU of each kind of blood that there is."""
    epidural, subdural, subarachnoid, clots, ventricular = bleeding
    found = {"epidural": epidural, "subdural": subdural, "subarachnoid": subarachnoid}
    found["intraventricular"] = ventricular
    found["intraparenchymal"] = clots[0] if clots else None
    hu = {kind: bleed.hu for kind, bleed in found.items() if bleed is not None}
    return hu | ({"old_subdural": subdural.old_hu} if subdural else {})


def masses(bleeding: Bleeding) -> list[Mass]:
    """Return what pushes the brain, closes its sulci or opens them."""
    found = []
    if epidural := bleeding.epidural:
        push = _inwards(epidural.centre_mm, 0.4 * epidural.thickness_mm)
        found.append(Mass(epidural.centre_mm, push, 45.0, 0.6))
    subdural = bleeding.subdural
    if subdural and subdural.site == "convexity":
        push = _inwards(subdural.centre_mm, 0.5 * subdural.thickness_mm)
        found.append(Mass(subdural.centre_mm, push, 50.0, 0.8))
    if blood := bleeding.subarachnoid:  # it distends sulci
        extent_mm = 0.8 * blood.extent_mm
        found.append(Mass(blood.centre_mm, (0, 0, 0), extent_mm, -0.8))
    for clot in bleeding.intraparenchymal:
        sigma_mm = 20 + max(clot.radii_mm)
        found.append(Mass(clot.centre_mm, clot.push_mm, sigma_mm, 0.7))
    return found


def thickness(points: Points, bleeding: Bleeding) -> tuple[Grid, Grid]:
    """Return how thick epidural and subdural blood is below each place, in mm."""
    nothing = np.zeros((1, 1, 1), np.float32)
    epidural, subdural = bleeding.epidural, bleeding.subdural
    lens = nothing if epidural is None else _lens(points, epidural)
    crescent = nothing
    if subdural is not None and subdural.site == "convexity":
        crescent = _crescent(points, subdural)
    return lens, crescent


def _lens(p: Points, bleed: Epidural) -> Volume:
    """Return a lens that ends at the sutures, where the dura adheres."""
    x, y, z = (np.square(q - c) for q, c in zip(p, bleed.centre_mm, strict=True))
    free = np.maximum(1 - (x + y + z) * (1 / bleed.radius_mm**2), 0)
    behind = bleed.centre_mm[1]
    if behind < -20:
        inside = fade(-18 - p.y, 4)
    elif behind < 52:
        inside = fade(p.y + 20, 4) * fade(60 - p.y, 4)
    else:
        inside = fade(p.y - 54, 4)
    side = 1 if bleed.centre_mm[0] > 0 else -1
    return bleed.thickness_mm * free * inside * fade(side * p.x - 2, 4)


def _crescent(p: Points, bleed: Subdural) -> Volume:
    """Return a crescent that crosses sutures and ends at the midline."""
    felt = near(p, bleed.centre_mm, bleed.extent_mm)
    wide = np.maximum(felt - 0.25, 0) * (1.25 * bleed.thickness_mm)
    return wide * fade(bleed.side * p.x - 2, 14) * fade(p.z + 32, 14)


def layers(
    head: Head, bleeding: Bleeding, lens: Grid, crescent: Grid, edge_mm: float
) -> Iterator[Layer]:
    """Lay the blood over a brain that has made way for it."""
    if bleeding.subarachnoid:
        yield _in_sulci(head, bleeding.subarachnoid, edge_mm)
    for clot in bleeding.intraparenchymal:
        yield from _clot(head, clot, edge_mm)
    if bleeding.intraventricular:
        yield _in_ventricles(head, bleeding.intraventricular, edge_mm)
    cavity = head.skull.cavity
    if bleed := bleeding.subdural:
        if bleed.site == "convexity":
            share = cover(cavity + lens, edge_mm)
            share = share - cover(cavity + lens + crescent, edge_mm)
        else:
            share = _on_membrane(head, bleed, edge_mm)
        fresh = share * fade(head.points.y - bleed.settled_mm, 8)
        # so that both are, one over the other, what they are of the voxel
        yield "old_subdural", (share - fresh) / np.maximum(1 - fresh, 1e-3)
        yield "subdural", fresh
    if bleeding.epidural:
        yield "epidural", cover(cavity, edge_mm) - cover(cavity + lens, edge_mm)


def _on_membrane(head: Head, bleed: Subdural, edge_mm: float) -> Volume:
    p, half_mm = head.points, bleed.thickness_mm / 2
    felt = cover(_away(p, bleed.centre_mm) - bleed.extent_mm, 3 * edge_mm)
    cavity = cover(head.skull.cavity, edge_mm)
    if bleed.site == "falx":
        share = sheet(p.x - bleed.side * half_mm, half_mm, edge_mm)
        return share * cover(falx(head) - 2, edge_mm) * felt * cavity
    share = sheet(head.brain.tentorium - half_mm, half_mm, edge_mm) * felt * cavity
    return share * fade(ridge(p), 4) * fade(bleed.side * p.x - 4, 6)


def _in_sulci(head: Head, bleed: Subarachnoid, edge_mm: float) -> Layer:
    brain = head.brain
    solid = np.minimum(brain.cerebrum, np.minimum(brain.cerebellum, brain.stem))
    tissue = cover(solid, edge_mm)
    # ventricles lie within the tissue's surface, so they have none
    fluid = cover(head.skull.cavity, edge_mm) - tissue
    furrow = cover(brain.cerebrum, edge_mm) * furrows(head, edge_mm)
    fluid = np.clip(fluid + furrow, 0, 1)
    felt = near(head.points, bleed.centre_mm, bleed.extent_mm)
    return "subarachnoid", fluid * np.minimum(1.4 * felt, 1) * bleed.share


def _clot(head: Head, bleed: Intraparenchymal, edge_mm: float) -> Iterator[Layer]:
    p, radius = head.points, min(bleed.radii_mm)
    waves = (
        np.sin((q - c) * (2.4 / radius) + phase)
        for q, c, phase in zip(p, bleed.centre_mm, bleed.phases, strict=True)
    )
    rough = bleed.rough * radius * sum(waves, start=np.float32(0))
    surface = ellipsoid(p, bleed.centre_mm, bleed.radii_mm) + rough
    brain = np.minimum(head.brain.cerebrum, head.brain.cerebellum)
    brain = cover(np.minimum(brain, head.brain.stem), edge_mm)
    yield "oedema", 0.9 * brain * cover(surface - bleed.rim_mm, edge_mm + 2)
    yield "intraparenchymal", brain * cover(surface, edge_mm)


def _in_ventricles(head: Head, bleed: Intraventricular, edge_mm: float) -> Layer:
    ventricles = cover(head.brain.ventricles, edge_mm)
    # blood settles behind a level that is horizontal in the scanner, nearly so here
    share = fade(head.points.y - bleed.level_mm, 1.5)
    if bleed.cast:
        side = fade(bleed.cast * head.moved.x + 3, 3)
        share = np.maximum(share, side)
    return "intraventricular", ventricles * share


def _inwards(centre: Triple, mm: float) -> Triple:
    length = sum(c * c for c in centre) ** 0.5
    return tuple(-c * mm / length for c in centre)


def _away(p: Points, centre: Triple) -> Volume:
    x, y, z = (np.square(q - c) for q, c in zip(p, centre, strict=True))
    return np.sqrt(x + y + z)
