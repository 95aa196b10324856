"""Interpolation against jax.image, Pillow and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medssl_jax.views.interpolate import affine_grid, along_axes, axis_matrix


def _noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape, np.float32)


def _resized(image, rows, columns, size):
    """Read (start, stop) of rows and columns into `size`; image (s, r, c, 1)."""

    @jax.jit
    def read(image, starts, scales):
        axes = (-2, -1)
        shape = image.shape[1:3]
        matrices = map(axis_matrix, scales, starts, shape, size)
        return along_axes(dict(zip(axes, matrices, strict=True)), image)

    starts, stops = np.array([rows, columns], np.float32).T
    return np.asarray(read(image, starts, (stops - starts) / np.float32(size)))


def _gridded(image, matrix, offset, size):
    read = jax.jit(lambda m, o, x: affine_grid(m, o, (-2, -1), size, x))
    return np.asarray(read(np.float32(matrix), np.float32(offset), image))


@pytest.mark.parametrize(
    "rows, columns, size",
    [
        ((0, 20), (0, 31), (7, 40)),
        ((3.25, 19.5), (2.5, 11), (7, 9)),
        ((3.25, 19.5), (20.1, 30.9), (33, 9)),
    ],
)
def test_crop_and_resize_equal_pillows_antialiased_bilinear(rows, columns, size):
    volume = _noise(2, 20, 31, 1)
    box = (columns[0], rows[0], columns[1], rows[1])
    expected = [
        Image.fromarray(plane).resize(size[::-1], Image.Resampling.BILINEAR, box=box)
        for plane in volume[..., 0]
    ]
    ours = _resized(volume, rows, columns, size)[..., 0]
    np.testing.assert_allclose(ours, np.stack(expected), atol=2e-6)


@pytest.mark.parametrize("scale, shift", [(0.4, 2.3), (1.0, 0.25), (1.7, -6.1)])
def test_scaling_and_shifting_equal_jax_image_also_outside_the_image(scale, shift):
    image = jnp.asarray(_noise(20, 3))
    expected = jax.image.scale_and_translate(
        image, (24, 3), (0,), jnp.array([scale]), jnp.array([shift]), "linear"
    )
    read = jax.jit(axis_matrix, static_argnums=(2, 3))
    matrix = read(jnp.float32(1 / scale), jnp.float32(-shift / scale), 20, 24)
    np.testing.assert_allclose(matrix @ image, expected, atol=2e-6)


def test_negative_scale_mirrors_to_the_bit():
    image = _noise(4, 6, 5, 2)
    matrix = axis_matrix(jnp.float32(-1), jnp.float32(6), 6, 6)
    ours = along_axes({-2: matrix}, jnp.asarray(image))
    np.testing.assert_array_equal(ours, image[:, ::-1])


def test_grid_equals_scipy_inside_the_image_and_is_zero_outside():
    volume = _noise(3, 12, 14, 2)
    angle = np.deg2rad(25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = 0.9 * turn
    offset = np.array([1.5, -2.0])
    ours = _gridded(volume, matrix, offset, (11, 15))

    # SciPy counts from the centre of voxel 0
    index_offset = offset + matrix @ [0.5, 0.5] - 0.5
    output = {"output_shape": (11, 15), "order": 1, "mode": "nearest"}
    expected = np.zeros((3, 11, 15, 2))
    for s, c in np.ndindex(3, 2):
        expected[s, ..., c] = ndimage.affine_transform(
            volume[s, ..., c], matrix, index_offset, **output
        )
    centres = np.stack(np.meshgrid(np.arange(11), np.arange(15), indexing="ij")) + 0.5
    positions = np.tensordot(matrix, centres, 1) + offset[:, None, None]
    extent = np.array([12, 14])[:, None, None]
    inside = ((positions >= 0) & (positions <= extent)).all(0)
    assert 0.2 < inside.mean() < 0.9
    np.testing.assert_allclose(ours, expected * inside[..., None], atol=1e-5)


def test_grid_that_shrinks_averages_what_it_skips():
    # 1 voxel of 16 is read: plain interpolation keeps half of the noise, a mean of 16
    # voxels a quarter, triangles (4 voxels wide at half height) about a sixth
    noise = _noise(1, 96, 96, 1)
    angle = np.deg2rad(30)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = 4 * turn
    offset = 48 - matrix @ [8, 8]
    inner = _gridded(noise, matrix, offset, (16, 16))[0, 4:12, 4:12, 0]
    straight = _resized(noise, (0, 96), (0, 96), (24, 24))[0, 8:16, 8:16, 0]
    assert inner.std() / noise.std() < 0.22
    np.testing.assert_allclose(inner.std(), straight.std(), rtol=0.3)
    np.testing.assert_allclose(inner.mean(), 0.5, atol=0.02)


def test_what_is_blurred_is_the_axis_along_which_samples_are_far_apart():
    """Output rows are read from columns, three apart; stripes across them become grey."""
    image = np.tile(np.float32([0, 1]), 30)[None, None, :, None]
    image = np.broadcast_to(image, (1, 20, 60, 1))
    found = _gridded(image, [[0, 1], [3, 0]], [0, 0], (20, 20))[0, ..., 0]
    np.testing.assert_allclose(found[1:-1], 0.5, atol=0.06)
    across = np.moveaxis(image, 1, 2)  # stripes of the other axis stay
    found = _gridded(across[:, :20], [[0, 1], [3, 0]], [0, 0], (6, 20))[0, ..., 0]
    assert np.ptp(found, axis=1).min() > 0.9
