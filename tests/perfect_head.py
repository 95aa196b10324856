"""The mean healthy head, perfectly scanned: what tests of heads start from."""

import math

import numpy as np

from medssl_jax.phantoms.head import ct, mr
from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.head.blood import Bleeding
from medssl_jax.phantoms.head.mimics import Mimics
from medssl_jax.phantoms.head.pose import Pose

SIZE = (70, 100, 84)  # of 2 x 2.4 x 2.4 mm
SPACING_MM = (2.0, 2.4, 2.4)
VOXEL_ML = float(np.prod(SPACING_MM)) / 1000

MEAN = Anatomy(
    size=1,
    width=1,
    length=1,
    height=1,
    egg=0.1,
    skew=0,
    skull_mm=6.5,
    scalp_mm=6,
    age=0.3,
    gap_mm=1.5,
    sulcus_mm=0.8,
    sulcus_depth_mm=17,
    cortex_mm=3,
    ventricle=1,
    lopsided=0,
    sinus_mm=3.5,
    airy=0.9,
    folds=tuple(
        (0.25 * math.cos(k), 0.25 * math.sin(k), 0.04 * k, 1.3 * k) for k in range(6)
    ),
    warp=((0, 0, 0, 0),) * 3,
)
NONE = Bleeding()
PLAIN = Mimics(
    pineal_mm=0,
    plexus_mm=(0, 0),
    pallidum=0,
    plaques=(),
    infarcts=(),
    pallor=0,
    meningioma=None,
    swelling=None,
    swollen_mm=0,
    vein_hu=55,
)
POSE = Pose(SIZE, SPACING_MM, (0, 0, 0), (0, 0, 0))
CT = ct.Scan(
    pose=POSE,
    hu=dict(ct.ATTENUATION),
    blur=0,
    hardening=0,
    cupping=0,
    streaks=(),
    motion=(),
    noise=0,
    noise_seed=0,
)
MR = mr.Scan(
    pose=POSE,
    signal={tissue: signals[0] for tissue, signals in mr.SIGNAL.items()},
    bias=(0,) * 6,
    texture=((0, 0, 0, 0),),
    blur=0,
    ghost=0,
    ghost_axis=1,
    noise=0,
    noise_seed=0,
    scale=1,
)

# of each voxel: mm to the left, backwards and upwards in the mean head
_UP, _BACK, _LEFT = np.meshgrid(
    *(
        (np.arange(n) - (n - 1) / 2) * mm
        for n, mm in zip(SIZE, SPACING_MM, strict=True)
    ),
    indexing="ij",
)
X, Y, Z = PLACES = np.stack([_LEFT, _BACK, _UP + 6])


def image(
    bleeding: Bleeding = NONE, mimics: Mimics = PLAIN, anatomy: Anatomy = MEAN, **scan
) -> np.ndarray:
    """Return the CT in HU."""
    return ct.acquire(anatomy, bleeding, mimics, CT._replace(**scan))[0][..., 0]


def blood(bleeding: Bleeding, anatomy=MEAN) -> np.ndarray:
    """Return the share of each voxel that is blood."""
    return ct.acquire(anatomy, bleeding, PLAIN, CT)[1]


def share(*tissues: str, mimics=PLAIN, anatomy=MEAN, **scan) -> np.ndarray:
    """Return which part of each voxel the tissues fill."""
    lit = {tissue: 1000.0 * (tissue in tissues) for tissue in ct.ATTENUATION}
    mimics = mimics._replace(vein_hu=lit["vein"])
    scan = CT._replace(hu=lit, **scan)
    return ct.acquire(anatomy, NONE, mimics, scan)[0][..., 0] / 1000


def signal(lesions=(), veins=(), mimics=PLAIN, anatomy=MEAN, **scan) -> np.ndarray:
    """Return the MR image."""
    scan = MR._replace(**scan)
    return mr.acquire(anatomy, lesions, veins, mimics, scan)[0][..., 0]


def mask(lesions, anatomy=MEAN, **scan) -> np.ndarray:
    return mr.acquire(anatomy, lesions, (), PLAIN, MR._replace(**scan))[1]


def centre_mm(weights: np.ndarray) -> np.ndarray:
    return (PLACES * weights).sum((1, 2, 3)) / weights.sum()


def extent_mm(inside: np.ndarray, axis: int) -> float:
    """Return how far a mask reaches along x, y or z."""
    along = PLACES[axis][inside > 0.5]
    return along.max() - along.min() + SPACING_MM[2 - axis]
