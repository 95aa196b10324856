"""How a head lies in the scanner, and where each voxel is in the mean head."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from medssl_jax.phantoms.head.anatomy import Anatomy
from medssl_jax.phantoms.scanner import Axes, axes_mm, wave
from medssl_jax.phantoms.shapes import Points, Triple, Volume, turn

_MIDDLE_MM = 6.0  # the field's centre above the mean head's
_THICKEST_MM = 5.0  # that one sample stands for along the slices


class Pose(NamedTuple):
    """A stack of axial slices, and the head in it."""

    size_voxels: tuple[int, int, int]  # slices, rows, columns
    spacing_mm: Triple
    rotation: Triple  # radians about x, y, z
    shift_mm: Triple  # to the left, backwards, upwards


def draw_pose(
    rng: np.random.Generator, anatomy: Anatomy, size_voxels: tuple[int, int, int]
) -> Pose:
    """Draw a pose; slices cover the cerebrum, and are as thick as that needs."""
    u, (slices, *matrix) = rng.uniform, size_voxels
    field_mm = u(215, 245)
    height_mm = anatomy.size * anatomy.height * u(122, 134)
    return Pose(
        size_voxels=size_voxels,
        spacing_mm=(height_mm / slices, *(field_mm / n for n in matrix)),
        rotation=tuple(rng.normal(0, s) for s in (0.12, 0.05, 0.09)),
        shift_mm=tuple(rng.normal(0, s) for s in (5, 6, 2.5)),
    )


def samples(pose: Pose) -> int:
    """Return how many planes are sampled in each slice: a thick one blurs edges."""
    return math.ceil(pose.spacing_mm[0] / _THICKEST_MM)


def fine_axes(pose: Pose) -> Axes:
    """Return the scanner's coordinates in mm of all planes that are sampled."""
    (slices, *matrix), (thick_mm, *pixel_mm) = pose.size_voxels, pose.spacing_mm
    n = samples(pose)
    return axes_mm((slices * n, *matrix), (thick_mm / n, *pixel_mm))


def slices_of(fine: Float32[np.ndarray, "planes r c"], pose: Pose) -> Volume:
    """Average the planes that were sampled in each slice."""
    return fine.reshape(pose.size_voxels[0], samples(pose), *fine.shape[1:]).mean(1)


def edge_mm(pose: Pose, anatomy: Anatomy) -> float:
    """Return over how much edges are spread by a voxel, in mm of the mean head."""
    thick_mm = pose.spacing_mm[0] / samples(pose)
    return (0.9 * pose.spacing_mm[1] + 0.15 * thick_mm) / anatomy.size


def head_coordinates(axes: Axes, pose: Pose, anatomy: Anatomy) -> Points:
    """Return where in the mean head each point of the scanner is, in mm."""
    slices, rows, columns = axes
    x, y, z = (
        line - shift
        for line, shift in zip((columns, rows, slices), pose.shift_mm, strict=True)
    )
    about_x, about_y, about_z = ((math.sin(a), math.cos(a)) for a in pose.rotation)
    y, z = turn(y, z + _MIDDLE_MM, *about_x)
    x, z = turn(x, z, *about_y)
    x, y = turn(x, y, *about_z)
    y = y + anatomy.skew * x
    scales = (anatomy.width, anatomy.length, anatomy.height)
    points = (
        p * (1 / (anatomy.size * s)) for p, s in zip((x, y, z), scales, strict=True)
    )
    waves = (wave(axes, 0.05, phases) for _, *phases in anatomy.warp)
    return Points(
        *(
            p + w * mm
            for p, w, (mm, *_) in zip(points, waves, anatomy.warp, strict=True)
        )
    )
