"""What every phantom's scanner does to an ideal image: field, motion and noise."""

from collections.abc import Sequence

import numpy as np

from medssl_jax.phantoms.shapes import Grid, Triple, Volume

Axes = list[Grid]


def axes_mm(sizes: tuple[int, int, int], spacing_mm: Triple) -> Axes:
    """Return the scanner's coordinate of slices, rows and columns, 0 in the middle."""
    lines = (
        (np.arange(n, dtype=np.float32) - (n - 1) / 2) * mm
        for n, mm in zip(sizes, spacing_mm, strict=True)
    )
    return list(np.meshgrid(*lines, indexing="ij", sparse=True))


def wave(axes: Axes, per_mm: float, phases: Sequence[float]) -> Volume:
    """Return a product of one sine along each axis."""
    a, b, c = (
        np.sin(line * per_mm + phase) for line, phase in zip(axes, phases, strict=True)
    )
    return a * b * c


def texture(axes: Axes, waves: Sequence[Sequence[float]]) -> Volume:
    """Return a factor about 1 of waves, each finer: amplitude, three phases."""
    parts = (
        wave(axes, 0.1 * 1.7**k, phases) * amplitude
        for k, (amplitude, *phases) in enumerate(waves)
    )
    return sum(parts, start=np.float32(1))


def sensitivity(axes: Axes, bias: Sequence[float]) -> Volume:
    """Return the receive field of a coil: log linear, then quadratic, of each axis."""
    a, b, c = (
        np.exp(linear * u + quadratic * (u * u - 0.3))
        for u, linear, quadratic in zip(
            (line * (1 / 75) for line in axes), bias[:3], bias[3:], strict=True
        )
    )
    return a * b * c


def blurred(image: Volume, weight: float) -> Volume:
    """Give each neighbour in the slice a weight."""
    if not weight:
        return image
    for axis in (1, 2):
        neighbours = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        image = (1 - 2 * weight) * image + weight * neighbours
    return image


def ghosted(image: Volume, strength: float, axis: int) -> Volume:
    """Add copies along the phase encoding, as periodic motion does."""
    if not strength:
        return image
    third = image.shape[axis] // 3
    copies = (np.roll(image, k * third, axis) for k in (1, 2))
    return (1 - strength) * image + strength * sum(copies, start=np.float32(0))


def magnitude(image: Volume, noise: float, seed: int) -> Volume:
    """Add noise in both channels and take the magnitude: Rician."""
    rng = np.random.default_rng(seed)
    real, imaginary = rng.standard_normal((2, *image.shape), np.float32)
    return np.hypot(image + real * noise, imaginary * noise)
