"""The scanner: slices through a posed knee, with its field, motion and noise."""

import math

import numpy as np
from jaxtyping import Float32, UInt8

from medssl_jax.phantoms.knee.anatomy import Anatomy
from medssl_jax.phantoms.knee.render import bones, render
from medssl_jax.phantoms.knee.scan import Scan
from medssl_jax.phantoms.knee.signs import Signs
from medssl_jax.phantoms.scanner import (
    Axes,
    axes_mm,
    blurred,
    ghosted,
    magnitude,
    sensitivity,
    texture,
    wave,
)
from medssl_jax.phantoms.shapes import Points, Volume, turn


def acquire(
    anatomy: Anatomy, signs: Signs, scan: Scan, matrix: tuple[int, int]
) -> Float32[np.ndarray, "s r c 1"]:
    """Return the raw magnitude image: slices from the patient's right, then rows from
    the head, then columns from the front.
    """
    axes = axes_mm((scan.slices, *matrix), scan.spacing_mm)
    # slices are thick: a tilted surface blurs through them
    edge_mm = (scan.spacing_mm[1] + 0.15 * scan.spacing_mm[0]) / anatomy.size
    image = render(
        _knee_coordinates(axes, scan, anatomy),
        anatomy,
        signs,
        flexion=scan.flexion,
        signal=scan.signal,
        edge_mm=edge_mm,
    )
    image *= texture(axes, scan.texture)
    image *= sensitivity(axes, scan.bias)
    if scan.speckle:
        image *= _speckle(image.shape, scan)
    image = ghosted(blurred(image, scan.blur), scan.ghost, scan.ghost_axis)
    return (magnitude(image, scan.noise, scan.noise_seed) * scan.scale)[..., None]


def acquire_bones(
    anatomy: Anatomy, signs: Signs, scan: Scan, matrix: tuple[int, int]
) -> UInt8[np.ndarray, "s r c"]:
    """Return the bone at the centre of each voxel of that image, as `render.bones`."""
    axes = axes_mm((scan.slices, *matrix), scan.spacing_mm)
    points = _knee_coordinates(axes, scan, anatomy)
    return bones(points, anatomy, signs, flexion=scan.flexion)


def _knee_coordinates(axes: Axes, scan: Scan, anatomy: Anatomy) -> Points:
    slices, rows, columns = axes
    x, y, z = (
        line - shift
        for line, shift in zip((slices, columns, -rows), scan.shift_mm, strict=True)
    )
    about_x, about_y, about_z = ((math.sin(a), math.cos(a)) for a in scan.rotation)
    y, z = turn(y - 2, z + 8, *about_x)  # the joint lies a little below the centre
    x, z = turn(x, z, *about_y)
    x, y = turn(x, y, *about_z)
    # the patient's left is lateral in a left knee, medial in a right one
    side = 1 if scan.left else -1
    scales = (side * anatomy.width, anatomy.depth, 1)
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


def _speckle(shape: tuple[int, ...], scan: Scan) -> Volume:
    """Return the amplitude of many echoes in each voxel, on the mean 1: Rayleigh."""
    rng = np.random.default_rng([scan.noise_seed, 1])
    real, imaginary = rng.standard_normal((2, *shape), np.float32)
    return np.hypot(real, imaginary) * np.float32(math.sqrt(2 / math.pi))
