"""What differs from one healthy knee to the next."""

import math
from typing import NamedTuple

import numpy as np


class Anatomy(NamedTuple):
    """A knee relative to a mean adult one; lengths in mm of that mean knee."""

    size: float
    width: float  # medial to lateral, on top of `size`
    depth: float  # anterior to posterior, on top of `size`
    condyle: float  # height of the femoral condyles, relative
    notch_mm: float  # width of the intercondylar notch
    shaft_mm: float  # radius of femur and tibia away from the joint
    slope: float  # of the tibial plateau, backwards
    patella_mm: float  # how high the patella rides
    fat_mm: float  # under the skin
    muscle: float  # girth of thigh and calf, relative
    cartilage_mm: float
    ligament_mm: float  # half thickness of the anterior cruciate
    steepness: float  # of the anterior cruciate, relative
    vessel_mm: tuple[float, float]  # x and y of the popliteal artery
    red_marrow: float  # share in its patches
    warp: tuple[tuple[float, ...], ...]  # per axis: amplitude in mm, three phases


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw a knee."""
    u = rng.uniform
    return Anatomy(
        size=u(0.86, 1.14),
        width=u(0.9, 1.1),
        depth=u(0.92, 1.08),
        condyle=u(0.9, 1.1),
        notch_mm=u(8, 12),
        shaft_mm=u(13, 18),
        slope=u(0.03, 0.18),
        patella_mm=u(-6, 8),
        fat_mm=math.exp(rng.normal(math.log(7), 0.5)),
        muscle=u(0.85, 1.15),
        cartilage_mm=u(1.5, 3),
        ligament_mm=u(3.5, 5.5),
        steepness=u(0.85, 1.2),
        vessel_mm=(u(-6, 6), u(34, 42)),
        red_marrow=max(0.0, rng.normal(0.1, 0.15)),
        warp=tuple((u(-3, 3), *u(0, math.tau, 3).tolist()) for _ in range(3)),
    )
