"""The scanner: slices through a posed knee, with its field, motion and noise."""

import math

import numpy as np
from jaxtyping import Float32, UInt8

from medssl_jax.phantoms.knee.anatomy import Anatomy
from medssl_jax.phantoms.knee.render import bones, render
from medssl_jax.phantoms.knee.scan import Scan
from medssl_jax.phantoms.knee.signs import Signs
from medssl_jax.phantoms.shapes import Grid, Points, Volume, turn

Axes = list[Grid]


def acquire(
    anatomy: Anatomy, signs: Signs, scan: Scan, matrix: tuple[int, int]
) -> Float32[np.ndarray, "s r c 1"]:
    """Return the raw magnitude image: slices from the patient's right, then rows from
    the head, then columns from the front.
    """
    axes = _axes(scan, matrix)
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
    image *= _texture(axes, scan)
    image *= _sensitivity(axes, scan)
    if scan.speckle:
        image *= _speckle(image.shape, scan)
    image = _magnitude(_ghosted(_blurred(image, scan), scan), scan)
    return (image * scan.scale)[..., None]


def acquire_bones(
    anatomy: Anatomy, signs: Signs, scan: Scan, matrix: tuple[int, int]
) -> UInt8[np.ndarray, "s r c"]:
    """Return the bone at the centre of each voxel of that image, as `render.bones`."""
    points = _knee_coordinates(_axes(scan, matrix), scan, anatomy)
    return bones(points, anatomy, signs, flexion=scan.flexion)


def _axes(scan: Scan, matrix: tuple[int, int]) -> Axes:
    """Return the scanner's coordinate in mm of slices, rows and columns."""
    sizes = (scan.slices, *matrix)
    lines = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm
        for n, mm in zip(sizes, scan.spacing_mm, strict=True)
    )
    return list(np.meshgrid(*lines, indexing="ij", sparse=True))


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
    waves = (_wave(axes, 0.05, phases) for _, *phases in anatomy.warp)
    return Points(
        *(
            p + w * mm
            for p, w, (mm, *_) in zip(points, waves, anatomy.warp, strict=True)
        )
    )


def _wave(axes: Axes, per_mm: float, phases: list[float]) -> Volume:
    a, b, c = (
        np.sin(line * per_mm + phase) for line, phase in zip(axes, phases, strict=True)
    )
    return a * b * c


def _texture(axes: Axes, scan: Scan) -> Volume:
    waves = (
        _wave(axes, 0.1 * 1.7**k, phases) * amplitude
        for k, (amplitude, *phases) in enumerate(scan.texture)
    )
    return sum(waves, start=np.float32(1))


def _sensitivity(axes: Axes, scan: Scan) -> Volume:
    """Return the receive field of a coil near the knee."""
    a, b, c = (
        np.exp(linear * u + quadratic * (u * u - 0.3))
        for u, linear, quadratic in zip(
            (line * (1 / 75) for line in axes),
            scan.bias[:3],
            scan.bias[3:],
            strict=True,
        )
    )
    return a * b * c


def _blurred(image: Volume, scan: Scan) -> Volume:
    if not scan.blur:
        return image
    for axis in (1, 2):
        neighbours = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image = (1 - 2 * scan.blur) * image + scan.blur * neighbours
    return image


def _ghosted(image: Volume, scan: Scan) -> Volume:
    """Add copies along the phase encoding, as periodic motion does."""
    if not scan.ghost:
        return image
    third = image.shape[scan.ghost_axis] // 3
    copies = (np.roll(image, k * third, scan.ghost_axis) for k in (1, 2))
    return (1 - scan.ghost) * image + scan.ghost * sum(copies, start=np.float32(0))


def _speckle(shape: tuple[int, ...], scan: Scan) -> Volume:
    """Return the amplitude of many echoes in each voxel, on the mean 1: Rayleigh."""
    rng = np.random.default_rng([scan.noise_seed, 1])
    real, imaginary = rng.standard_normal((2, *shape), np.float32)
    return np.hypot(real, imaginary) * np.float32(math.sqrt(2 / math.pi))


def _magnitude(image: Volume, scan: Scan) -> Volume:
    """Add noise in both channels and take the magnitude: Rician."""
    rng = np.random.default_rng(scan.noise_seed)
    real, imaginary = rng.standard_normal((2, *image.shape), np.float32)
    return np.hypot(image + real * scan.noise, imaginary * scan.noise)
