"""What a torn anterior cruciate ligament shows, and what only looks like it."""

from typing import NamedTuple

import numpy as np

from medssl_jax.phantoms.shapes import Triple

# how often a torn knee shows each sign, independently of the others
PRESENCE = {"disruption": 0.85, "effusion": 0.8, "bruise": 0.75, "tibial_shift": 0.65}


class Spot(NamedTuple):
    """A round bright lesion of the marrow: degeneration, a cyst, an old contusion."""

    centre_mm: Triple
    sigma_mm: float
    strength: float


class Signs(NamedTuple):
    """What one exam shows; all near 0 in an ideal healthy knee."""

    gap: float  # share of the anterior cruciate's length without fibres
    wave_mm: float  # amplitude of slack fibres
    sag: float  # how far the femoral end has fallen
    oedema: float  # fluid-like signal in and around the ligament
    effusion_mm: float
    bruise_femur: float  # strength, lateral condyle
    bruise_tibia: float  # strength, posterolateral plateau
    bruise_mm: float  # standard deviation
    tibial_shift_mm: float  # forwards
    fading: float  # partial volume: an intact ligament that looks thin
    spots: tuple[Spot, ...]


def draw_signs(rng: np.random.Generator, torn: bool) -> Signs:
    """Draw what a torn or an intact knee shows.

    No sign is proof: a tear may lack any of them, and intact knees have effusions,
    contusions, lax joints, faded ligaments and degenerate marrow too.
    """
    u = rng.uniform
    shows = {sign: torn and u() < p for sign, p in PRESENCE.items()}
    effusion = shows["effusion"] or u() < 0.25
    bruise = u(0.5, 1) * (shows["bruise"] or u() < 0.08)
    gap, wave_mm, sag, oedema = _disruption(rng, shows["disruption"])
    return Signs(
        gap=gap,
        wave_mm=wave_mm,
        sag=sag,
        oedema=oedema,
        effusion_mm=u(4, 10) if effusion else u(0, 2.5),
        bruise_femur=bruise * (u() < 0.85),
        bruise_tibia=bruise * u(0.6, 1),
        bruise_mm=u(7, 12),
        tibial_shift_mm=u(5, 12) if shows["tibial_shift"] else rng.normal(0, 1.8),
        fading=u(0.3, 0.7) if u() < 0.2 else u(0, 0.2),
        spots=tuple(_draw_spot(rng) for _ in range(rng.poisson(0.6))),
    )


def _disruption(
    rng: np.random.Generator, shows: bool
) -> tuple[float, float, float, float]:
    u = rng.uniform
    kind = u()
    if not shows:
        return 0.0, 0.0, 0.0, 0.0
    if kind < 0.4:  # a gap between two stumps
        return u(0.3, 0.6), u(0, 2), u(0, 0.3), u(0.4, 0.9)
    if kind < 0.75:  # wavy, slack fibres
        return u(0, 0.2), u(2.5, 5), u(0.3, 0.8), u(0.3, 0.8)
    return 1.0, 0.0, 0.0, u(0.6, 1)  # an amorphous mass in the fibres' place


def _draw_spot(rng: np.random.Generator) -> Spot:
    u = rng.uniform
    side = 1 if u() < 0.5 else -1  # femur or tibia
    return Spot((u(-30, 30), u(-22, 22), side * u(6, 35)), u(3, 9), u(0.4, 1))
