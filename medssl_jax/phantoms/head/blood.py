"""The five kinds of bleeding in a head: what is drawn of each."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.head.skull import RADII
from medssl_jax.phantoms.shapes import Triple

KINDS = (
    "epidural",
    "subdural",
    "subarachnoid",
    "intraparenchymal",
    "intraventricular",
)
# how often each kind is the main finding, and how often another comes with it
_FIRST = (0.12, 0.26, 0.24, 0.26, 0.12)
_WITH = (
    (0.0, 0.2, 0.2, 0.1, 0.0),
    (0.03, 0.0, 0.25, 0.15, 0.03),
    (0.02, 0.15, 0.0, 0.15, 0.2),
    (0.02, 0.1, 0.2, 0.0, 0.25),
    (0.0, 0.05, 0.15, 0.2, 0.0),
)


class Epidural(NamedTuple):
    """A lens between skull and dura."""

    centre_mm: Triple  # on the skull's inner table
    thickness_mm: float
    radius_mm: float
    hu: float


class Subdural(NamedTuple):
    """A crescent over the convexity, or a sheet on the falx or the tentorium."""

    site: str
    side: int  # 1 left, -1 right
    centre_mm: Triple
    thickness_mm: float
    extent_mm: float
    hu: float
    settled_mm: float  # behind it, blood has settled under older, thinner fluid
    old_hu: float


class Subarachnoid(NamedTuple):
    """Blood that takes the fluid's place in cisterns or sulci."""

    centre_mm: Triple
    extent_mm: float
    share: float  # of the fluid, at the centre
    hu: float


class Intraparenchymal(NamedTuple):
    """A clot in the brain with a rim of oedema."""

    centre_mm: Triple
    radii_mm: Triple
    rough: float  # how irregular its surface is, relative
    phases: Triple
    rim_mm: float
    push_mm: Triple
    hu: float


class Intraventricular(NamedTuple):
    """Blood that lies in the ventricles' lowest part, or fills one of them."""

    level_mm: float  # it lies behind it, the patient being on the back
    cast: int  # 1 the left ventricle, -1 the right one, 0 none
    hu: float


class Bleeding(NamedTuple):
    """All that one head bleeds."""

    epidural: Epidural | None = None
    subdural: Subdural | None = None
    subarachnoid: Subarachnoid | None = None
    intraparenchymal: tuple[Intraparenchymal, ...] = ()
    intraventricular: Intraventricular | None = None


def draw_kinds(rng: np.random.Generator, bleeds: bool) -> tuple[bool, ...]:
    """Draw which of `KINDS` a head shows: one at least, if it bleeds."""
    first, others = rng.choice(len(KINDS), p=_FIRST), rng.uniform(size=len(KINDS))
    return tuple(
        bool(bleeds and (k == first or u < _WITH[first][k]))
        for k, u in enumerate(others)
    )


def draw_bleeding(rng: np.random.Generator, kinds: Sequence[bool]) -> Bleeding:
    """Draw the size, place and age of each kind."""
    side = 1 if rng.uniform() < 0.5 else -1
    draws = (
        _draw_epidural,
        _draw_subdural,
        _draw_subarachnoid,
        _draw_intraparenchymal,
        _draw_intraventricular,
    )
    drawn = [draw(rng, side) for draw in draws]  # each, so that none moves the others
    return Bleeding(
        *(
            bleed if shows else empty
            for bleed, shows, empty in zip(drawn, kinds, Bleeding(), strict=True)
        )
    )


def on_vault(x: float, y: float, z: float) -> Triple:
    """Return where the direction of a place meets the mean cavity's vault."""
    a, b, c = RADII
    reach = math.sqrt((x / a) ** 2 + (y / b) ** 2 + (max(z, z * 0.7) / c) ** 2)
    return (x / reach, y / reach, z / reach)


def _draw_epidural(rng: np.random.Generator, side: int) -> Epidural:
    u = rng.uniform
    where = u()
    if where < 0.65:  # under the temporal squama or the parietal bone
        centre = on_vault(side * 60, u(-8, 45), u(-8, 35))
    elif where < 0.85:  # frontal
        centre = on_vault(side * u(25, 45), -65, u(5, 35))
    else:  # occipital
        centre = on_vault(side * u(20, 40), 78, u(-20, 20))
    return Epidural(centre, _log_uniform(rng, 8, 22), u(24, 38), u(60, 85))


def _draw_subdural(rng: np.random.Generator, side: int) -> Subdural:
    u, where, age = rng.uniform, rng.uniform(), rng.uniform()
    site = "convexity" if where < 0.75 else "falx" if where < 0.9 else "tentorium"
    centre = on_vault(side * 64, u(-30, 30), u(5, 40))
    if site == "falx":
        centre = (0.0, u(-50, 60), u(35, 50))
    if site == "tentorium":
        centre = (side * 25.0, u(40, 60), -12.0)
    thin = u(4, 8)
    acute = site != "convexity" or age < 0.7
    return Subdural(
        site=site,
        side=side,
        centre_mm=centre,
        thickness_mm=_log_uniform(rng, 6, 17) if site == "convexity" else thin,
        extent_mm=u(34, 55),
        hu=u(58, 82) if acute else u(34, 48),  # as bright as the cortex, when subacute
        settled_mm=u(-10, 30) if age > 0.85 else -200.0,
        old_hu=u(15, 32),
    )


def _draw_subarachnoid(rng: np.random.Generator, side: int) -> Subarachnoid:
    u, hu = rng.uniform, rng.uniform(60, 80)
    if u() < 0.5:  # an aneurysm of the circle of Willis
        centre = (side * u(0, 22), u(-28, 5), u(-20, -6))
        return Subarachnoid(centre, u(26, 42), u(0.65, 1), hu)
    centre = on_vault(side * u(20, 60), u(-60, 60), u(5, 60))
    return Subarachnoid(centre, u(20, 34), u(0.75, 1), hu)


def _draw_intraparenchymal(
    rng: np.random.Generator, side: int
) -> tuple[Intraparenchymal, ...]:
    u, where = rng.uniform, rng.uniform()
    if where < 0.4:  # hypertension: putamen and thalamus
        centre = (side * u(14, 30), u(-12, 16), u(0, 10))
        return (_clot(rng, centre, _log_uniform(rng, 8, 24)),)
    if where < 0.7:  # in a lobe
        x, y, z = on_vault(side * u(25, 60), u(-60, 65), u(0, 50))
        deep = u(0.58, 0.8)
        return (_clot(rng, (x * deep, y * deep, z * deep), _log_uniform(rng, 8, 24)),)
    if where < 0.8:  # cerebellum
        centre = (side * u(12, 30), u(38, 55), u(-40, -30))
        return (_clot(rng, centre, _log_uniform(rng, 8, 16)),)
    clots = []  # contusions, where the brain strikes the skull's floor
    for _ in range(int(rng.integers(1, 4))):
        frontal = u() < 0.5
        centre = (side * u(10, 35), u(-68, -55), u(-4, 14))
        if not frontal:
            centre = (side * u(42, 54), u(-26, 0), u(-24, -8))
        clots.append(_clot(rng, centre, u(6, 12)))
    return tuple(clots)


def _clot(
    rng: np.random.Generator, centre_mm: Triple, radius_mm: float
) -> Intraparenchymal:
    u, side = rng.uniform, math.copysign(1, centre_mm[0])
    stretch = np.exp(rng.normal(0, 0.18, 3))
    stretch /= np.prod(stretch) ** (1 / 3)
    return Intraparenchymal(
        centre_mm=centre_mm,
        radii_mm=tuple((radius_mm * stretch).tolist()),
        rough=u(0.1, 0.35),
        phases=tuple(u(0, math.tau, 3).tolist()),
        rim_mm=u(1, 2 + 0.3 * radius_mm),
        push_mm=(-side * radius_mm * u(0.1, 0.4), 0.0, 0.0),
        hu=u(58, 82),
    )


def _draw_intraventricular(rng: np.random.Generator, side: int) -> Intraventricular:
    u = rng.uniform
    cast = side * (u() < 0.4)
    return Intraventricular(u(24, 42), int(cast), u(58, 80))


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))
