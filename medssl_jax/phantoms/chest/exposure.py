"""How one radiograph was taken: pose, beam, detector."""

from typing import NamedTuple

import numpy as np


class Exposure(NamedTuple):
    """The acquisition of one image."""

    field_mm: float  # from top to bottom
    shift_mm: tuple[float, float]  # x, z
    roll: float  # radians, in the image's plane
    turn_mm: float  # by which heart and mediastinum move as the patient turns
    per_mm: float  # attenuation of water
    quanta: float  # of the unattenuated beam in a pixel
    scatter: float  # share of the mean, added everywhere
    gamma: float  # of the display
    texture: float  # mm of water, of what is too fine to be drawn
    noise_seed: int
    scale: float  # arbitrary units of the detector


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draw an acquisition."""
    u = rng.uniform
    return Exposure(
        field_mm=u(310, 380),
        shift_mm=(rng.normal(0, 9), rng.normal(0, 10)),
        roll=rng.normal(0, 0.035),
        turn_mm=rng.normal(0, 6),
        per_mm=u(0.014, 0.021),
        quanta=10 ** u(4.2, 5.2),
        scatter=u(0.0, 0.5),
        gamma=u(1.0, 2.2),
        texture=u(1, 4),
        noise_seed=int(rng.integers(2**32)),
        scale=10 ** u(2, 3.5),
    )
