"""What differs from one healthy head to the next."""

import math
from typing import NamedTuple

import numpy as np


class Anatomy(NamedTuple):
    """A head relative to a mean adult one; lengths in mm of that mean head."""

    size: float
    width: float  # right to left, on top of `size`
    length: float  # front to back
    height: float
    egg: float  # how much narrower the forehead is than the middle
    skew: float  # one side lies further back: plagiocephaly, petalia
    skull_mm: float
    scalp_mm: float
    age: float  # 0 young to 1 old: atrophy
    gap_mm: float  # from the cortex to the skull's inner table
    sulcus_mm: float  # half the width of a sulcus at its mouth
    sulcus_depth_mm: float
    cortex_mm: float
    ventricle: float  # girth, relative
    lopsided: float  # how much larger the left ventricle is, relative
    sinus_mm: float  # radius of the sagittal sinus
    airy: float  # how far paranasal sinuses and mastoids are aerated, relative
    folds: tuple[tuple[float, float, float, float], ...]  # waves: radians per mm, phase
    warp: tuple[tuple[float, ...], ...]  # per axis: amplitude in mm, three phases


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a head."""
    u, age = rng.uniform, rng.uniform()
    return Anatomy(
        size=u(0.93, 1.07),
        width=u(0.94, 1.06),
        length=u(0.94, 1.06),
        height=u(0.95, 1.05),
        egg=u(0.04, 0.16),
        skew=u(-0.06, 0.06),
        skull_mm=u(5, 8.5),
        scalp_mm=u(4, 8),
        age=age,
        gap_mm=1 + 2.2 * age * u(0.5, 1.5),
        sulcus_mm=0.5 + 0.9 * age * u(0.6, 1.4),
        sulcus_depth_mm=u(14, 21),
        cortex_mm=u(2.6, 3.6),
        ventricle=math.exp(rng.normal(-0.15 + 0.55 * age, 0.2)),
        lopsided=rng.normal(0, 0.12),
        sinus_mm=u(2.5, 5),
        airy=u(0.6, 1.1),
        folds=_draw_folds(rng),
        warp=tuple((u(-3, 3), *u(0, math.tau, 3).tolist()) for _ in range(3)),
    )


def _draw_folds(rng: np.random.Generator) -> tuple[tuple[float, ...], ...]:
    """Draw waves of one length and any direction: gyri are as wide as half of it."""
    directions = rng.normal(size=(6, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    lengths_mm = rng.uniform(22, 30, (6, 1))
    phases = rng.uniform(0, math.tau, (6, 1))
    waves = np.concatenate([directions * math.tau / lengths_mm, phases], axis=1)
    return tuple(tuple(row) for row in waves.tolist())
