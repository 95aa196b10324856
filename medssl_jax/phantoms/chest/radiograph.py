"""The detector: a radiograph of a posed chest, and boxes around its findings."""

import math

import numpy as np
from jaxtyping import Float32
from scipy import ndimage

from medssl_jax.phantoms.chest.anatomy import Anatomy, Plane
from medssl_jax.phantoms.chest.exposure import Exposure
from medssl_jax.phantoms.chest.shadows import lost, water
from medssl_jax.phantoms.chest.signs import FINDINGS, Nodule, Signs, outline

_MIDDLE_MM = 120.0  # z of what a well centred image has in its middle
_SEEN = 0.5  # the least share of a pixel that is counted to a finding


def acquire(
    anatomy: Anatomy, signs: Signs, exposure: Exposure, matrix: tuple[int, int]
) -> Float32[np.ndarray, "r c 1"]:
    """Return the image as it is displayed: bones bright, air dark."""
    x, z = _chest_coordinates(anatomy, exposure, matrix)
    edge_mm = _pixel_mm(exposure, matrix) / anatomy.size
    turn_mm = exposure.turn_mm
    depth = water(x, z, anatomy, signs, turn_mm=turn_mm, edge_mm=edge_mm)
    rng = np.random.default_rng(exposure.noise_seed)
    fine = ndimage.gaussian_filter(rng.standard_normal(matrix), 1.2) * 4
    depth = (depth + exposure.texture * fine) * anatomy.size
    passed = np.exp(-exposure.per_mm * np.maximum(depth, 0))
    passed += exposure.scatter * passed.mean() * 0.5
    counts = exposure.quanta * passed
    counts += np.sqrt(counts) * rng.standard_normal(matrix)
    optical = -np.log(np.maximum(counts, 1) / exposure.quanta)
    optical -= optical.min()
    displayed = (optical / optical.max()) ** exposure.gamma
    return (displayed * exposure.scale).astype(np.float32)[..., None]


def boxes(
    anatomy: Anatomy, signs: Signs, exposure: Exposure, matrix: tuple[int, int]
) -> Float32[np.ndarray, "m 5"]:
    """Return boxes around what is seen: low corner, high corner, place in `FINDINGS`.

    Corners are fractions of the image, rows first. What lies outside has none.
    """
    found = [
        [*_around(nodule, anatomy, exposure, matrix), FINDINGS.index("nodule")]
        for nodule in signs.nodules
    ]
    if signs.pneumothorax is not None:
        x, z = _chest_coordinates(anatomy, exposure, matrix)
        edge_mm = _pixel_mm(exposure, matrix) / anatomy.size
        seen = lost(x, z, anatomy, signs, edge_mm) >= _SEEN
        if seen.any():
            ends = [np.flatnonzero(seen.any(axis=axis))[[0, -1]] for axis in (1, 0)]
            (top, bottom), (left, right) = ends
            corners = [top, left, bottom + 1, right + 1]
            corners = np.array(corners) / np.tile(matrix, 2)
            found.append([*corners, FINDINGS.index("pneumothorax")])
    rows = np.array(found, np.float32).reshape(-1, 5)
    rows[:, :4] = np.clip(rows[:, :4], 0, 1)
    return rows[(rows[:, :2] < rows[:, 2:4]).all(axis=1)]


def _around(nodule: Nodule, anatomy, exposure, matrix) -> list[float]:
    angle = np.linspace(0, math.tau, 90, endpoint=False)
    far = outline(nodule, angle)
    x = nodule.x_mm + far * np.cos(angle)
    z = nodule.z_mm + far * np.sin(angle)
    rows, columns = _on_detector(x, z, anatomy, exposure)
    down, across = _half_mm(exposure, matrix)
    rows, columns = 0.5 + rows / (2 * down), 0.5 + columns / (2 * across)
    return [rows.min(), columns.min(), rows.max(), columns.max()]


def _chest_coordinates(anatomy, exposure, matrix) -> tuple[Plane, Plane]:
    """Return x and z of each pixel, in mm of the mean chest."""
    mm = _pixel_mm(exposure, matrix)
    lines = ((np.arange(n) - (n - 1) / 2) * mm for n in matrix)
    rows, columns = np.meshgrid(*lines, indexing="ij")
    across, down = (p - s for p, s in zip((columns, rows), exposure.shift_mm))
    cosine, sine = math.cos(exposure.roll), math.sin(exposure.roll)
    x, z = cosine * across + sine * down, cosine * down - sine * across
    return x / anatomy.size, z / anatomy.size + _MIDDLE_MM


def _on_detector(x, z, anatomy, exposure) -> tuple[Plane, Plane]:
    """Return rows and columns in mm from the image's middle: the inverse."""
    x, z = x * anatomy.size, (z - _MIDDLE_MM) * anatomy.size
    cosine, sine = math.cos(exposure.roll), math.sin(exposure.roll)
    across, down = cosine * x - sine * z, cosine * z + sine * x
    shift_x, shift_z = exposure.shift_mm
    return down + shift_z, across + shift_x


def _pixel_mm(exposure, matrix) -> float:
    return exposure.field_mm / matrix[0]


def _half_mm(exposure, matrix) -> tuple[float, float]:
    mm = _pixel_mm(exposure, matrix)
    rows, columns = matrix
    return rows * mm / 2, columns * mm / 2
