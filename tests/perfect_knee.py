"""The mean healthy knee, perfectly scanned: what tests of the phantoms start from."""

import numpy as np

from medssl_jax.phantoms.knee.acquire import acquire
from medssl_jax.phantoms.knee.anatomy import Anatomy
from medssl_jax.phantoms.knee.scan import SIGNAL, Scan
from medssl_jax.phantoms.knee.signs import Signs

MATRIX = (80, 80)  # of 2 mm, as are the 50 slices

MEAN = Anatomy(
    size=1,
    width=1,
    depth=1,
    condyle=1,
    notch_mm=10,
    shaft_mm=15,
    slope=0.1,
    patella_mm=0,
    fat_mm=7,
    muscle=1,
    cartilage_mm=2,
    ligament_mm=5,
    steepness=1,
    vessel_mm=(0, 38),
    red_marrow=0,
    warp=((0, 0, 0, 0),) * 3,
)
HEALTHY = Signs(
    gap=0,
    wave_mm=0,
    sag=0,
    oedema=0,
    effusion_mm=1,
    bruise_femur=0,
    bruise_tibia=0,
    bruise_mm=9,
    tibial_shift_mm=0,
    fading=0,
    spots=(),
)
PERFECT = Scan(
    left=True,
    slices=50,
    spacing_mm=(2, 2, 2),
    rotation=(0, 0, 0),
    shift_mm=(0, 0, 0),
    flexion=0,
    signal={tissue: signals[2] for tissue, signals in SIGNAL.items()},
    bias=(0,) * 6,
    texture=((0, 0, 0, 0),),
    blur=0,
    ghost=0,
    ghost_axis=1,
    noise=0,
    noise_seed=0,
    scale=1,
)

# of each voxel: mm to lateral, posterior and superior of the joint, in a left knee
_SLICE, _ROW, _COLUMN = np.meshgrid(
    *((np.arange(n) - (n - 1) / 2) * 2 for n in (50, *MATRIX)), indexing="ij"
)
X, Y, Z = PLACES = np.stack([_SLICE, _COLUMN - 2, -_ROW + 8])


def image(signs: Signs = HEALTHY, anatomy: Anatomy = MEAN, **scan) -> np.ndarray:
    return acquire(anatomy, signs, PERFECT._replace(**scan), MATRIX)[..., 0]


def share(*tissues: str, signs: Signs = HEALTHY, **scan) -> np.ndarray:
    """Return which part of each voxel the tissues fill."""
    signal = {tissue: float(tissue in tissues) for tissue in SIGNAL}
    return image(signs, signal=signal, **scan)


def centre_mm(weights: np.ndarray) -> np.ndarray:
    return (PLACES * weights).sum((1, 2, 3)) / weights.sum()


def extent_mm(inside: np.ndarray, axis: int) -> float:
    """Return how far a mask reaches along x, y or z."""
    along = PLACES[axis][inside > 0.5]
    return along.max() - along.min() + 2
