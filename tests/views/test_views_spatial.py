"""What spatial views sample, and where it lies in the image."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from medssl_jax.errors import ConfigError
from medssl_jax.views import spatial
from medssl_jax.views.warp import merge

VOLUME = np.random.default_rng(1).random((5, 9, 9, 1), np.float32)
CUBE = np.random.default_rng(2).random((6, 6, 6, 2), np.float32)


def _apply(op, image, seed=0):
    run = jax.jit(lambda key, x: op.apply(op.sample(key, x.shape[:-1]), x))
    return np.asarray(run(jax.random.key(seed), jnp.asarray(image)))


def _sampled(op, shape, n=2000):
    keys = jax.random.split(jax.random.key(3), n)
    places = jax.jit(jax.vmap(lambda key: op.sample(key, shape)))(keys)
    return np.asarray(places.matrix, np.float64), np.asarray(places.offset, np.float64)


def _check_independent(*drawn):
    correlation = np.corrcoef(drawn)
    assert np.abs(correlation - np.eye(len(drawn))).max() < 5 / np.sqrt(len(drawn[0]))


def test_crop_area_aspect_and_place_are_uniform_within_the_image():
    op = spatial.random_resized_crop(scale=(0.2, 0.4), aspect=(0.8, 1.25), size=(8, 4))
    matrix, offset = _sampled(op, (16, 30, 50))
    np.testing.assert_array_equal(matrix[:, 0], np.tile([1, 0, 0], (2000, 1)))
    np.testing.assert_array_equal(offset[:, 0], 0)

    extent = matrix[:, [1, 2], [1, 2]] * [8, 4]
    fraction = extent / [30, 50]
    area = stats.uniform(0.2, 0.2)
    assert stats.kstest(fraction.prod(1), area.cdf).pvalue > 0.01
    log_aspect = stats.uniform(np.log(0.8), 2 * np.log(1.25))
    ratio = fraction[:, 1] / fraction[:, 0]
    assert stats.kstest(np.log(ratio), log_aspect.cdf).pvalue > 0.01
    start = offset[:, 1:] / ([30, 50] - extent)
    for axis in range(2):
        assert stats.kstest(start[:, axis], "uniform").pvalue > 0.01
    _check_independent(area.cdf(fraction.prod(1)), np.log(ratio), *start.T)


@pytest.mark.parametrize("axes", [(-2, -1), (-3, -2, -1)])
def test_crop_of_any_aspect_fits_and_keeps_its_area(axes):
    op = spatial.random_resized_crop(scale=(0.5, 1), aspect=(0.3, 3), axes=axes)
    matrix, offset = _sampled(op, (16, 30, 50))
    extent = np.diagonal(matrix, axis1=1, axis2=2)
    assert (extent <= 1 + 1e-5).all()
    assert (offset >= 0).all()
    assert (offset + extent * [16, 30, 50] <= np.array([16, 30, 50]) * (1 + 1e-5)).all()
    volume = extent.prod(1)
    assert stats.kstest(volume, stats.uniform(0.5, 0.5).cdf).pvalue > 0.01


def test_all_slices_of_a_volume_are_treated_alike():
    slices = np.linspace(0.1, 0.9, 5, dtype=np.float32)[:, None, None, None]
    op = merge(
        [
            spatial.affine(rotation_degrees=(-20, 20), scale=(1.2, 1.4)),
            spatial.random_resized_crop(scale=(0.5, 1), size=(7, 8)),
            spatial.flip(probability=0.5),
        ]
    )
    ours = _apply(op, VOLUME[:1] * slices)
    assert ours.shape == (5, 7, 8, 1)
    np.testing.assert_allclose(
        ours / slices, np.tile(ours[:1] / 0.1, (5, 1, 1, 1)), 2e-5
    )


def test_composed_crop_flip_and_resize_equal_one_after_the_other():
    op = merge(
        [
            spatial.centre_crop(size=(7, 4)),
            spatial.flip(axis=(-3, -1), probability=1),
            spatial.resize(size=(14, 8)),
        ]
    )
    cropped = VOLUME[::-1, 1:8, 2:6][:, :, ::-1]
    expected = jax.image.resize(cropped, (5, 14, 8, 1), "linear")
    ours = _apply(op, VOLUME)
    inner = np.s_[
        :, 1:-1, 1:-1
    ]  # the border reads the image beyond the crop, see merge
    np.testing.assert_allclose(ours[inner], expected[inner], atol=2e-6)


def test_composition_reads_through_the_maps_from_last_to_first():
    ops = [
        spatial.affine(rotation_degrees=30, scale=1.2, translation=0.1),
        spatial.random_resized_crop(scale=0.5, size=(5, 6)),
        spatial.flip(axis=-1, probability=1),
    ]
    shape, key, point = (4, 9, 9), jax.random.key(4), np.array([1.5, 2.5, 0.5])
    keys = list(jax.random.split(key, 3))
    shapes = [shape, shape, (4, 5, 6)]

    @jax.jit
    def sample():
        maps = [op.sample(k, s) for op, k, s in zip(ops, keys, shapes, strict=True)]
        return maps, merge(ops).sample(key, shape)

    maps, place = sample()
    read = point
    for step in reversed(maps):
        read = np.asarray(step.matrix) @ read + np.asarray(step.offset)
    ours = np.asarray(place.matrix) @ point + np.asarray(place.offset)
    np.testing.assert_allclose(ours, read, rtol=1e-5)


@pytest.mark.parametrize("plane", [(-3, -2), (-3, -1), (-2, -1)])
def test_rotation_by_90_degrees_is_numpys(plane):
    ours = _apply(spatial.affine(rotation_degrees=90, axes=plane), CUBE)
    axes = tuple(axis - 1 for axis in plane)
    np.testing.assert_allclose(ours, np.rot90(CUBE, axes=axes), atol=1e-5)


@pytest.mark.parametrize("degrees", [-45, 20, 45])
def test_a_colour_image_is_turned_as_by_scipy_and_black_comes_in(degrees):
    image = np.random.default_rng(3).random((21, 21, 3), np.float32) + 0.5
    ours = _apply(spatial.affine(rotation_degrees=degrees), image)
    turn = {"axes": (1, 0), "reshape": False, "order": 1}
    expected = ndimage.rotate(image, degrees, **turn)
    # scipy's image ends at the centres of the outermost pixels, ours at their edges
    inside = ndimage.rotate(np.ones_like(image), degrees, **turn) > 0.5
    np.testing.assert_allclose(ours[inside], expected[inside], atol=1e-5)
    rows, columns = np.mgrid[:21, :21] - 10.0
    radians = np.deg2rad(degrees)
    cos, sin = np.cos(radians), np.sin(radians)
    read = np.abs([cos * rows + sin * columns, cos * columns - sin * rows]).max(0)
    np.testing.assert_array_equal((ours == 0).all(-1), read > 10.5)


def test_isotropic_rotation_turns_about_all_three_axes():
    ours = _apply(spatial.affine(rotation_degrees=90, axes=(-3, -2, -1)), CUBE)
    expected = np.rot90(np.rot90(CUBE, axes=(0, 1)), axes=(0, 2))
    expected = np.rot90(expected, axes=(1, 2))
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_translation_moves_content_by_a_fraction_of_the_extent():
    ours = _apply(spatial.affine(translation=1 / 3), VOLUME)
    expected = np.zeros_like(VOLUME)
    expected[:, 3:, 3:] = VOLUME[:, :6, :6]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_scale_enlarges_about_the_centre():
    ours = _apply(spatial.affine(scale=3), VOLUME)
    expected = jax.image.resize(VOLUME, (5, 27, 27, 1), "linear")[:, 9:18, 9:18]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_centre_crop_and_certain_flip_copy_voxels_to_the_bit():
    cropped = _apply(spatial.centre_crop(size=(4, 9, 6)), VOLUME)
    np.testing.assert_array_equal(cropped, VOLUME[0:4, :, 1:7])
    flipped = _apply(spatial.flip(axis=-3, probability=1), VOLUME)
    np.testing.assert_array_equal(flipped, VOLUME[::-1])


def test_each_axis_is_flipped_at_its_probability_independently():
    op = spatial.flip(axis=(-2, -1), probability=0.3)
    matrix, _ = _sampled(op, (4, 4))
    flipped = np.diagonal(matrix, axis1=1, axis2=2) < 0
    np.testing.assert_allclose(flipped.mean(0), 0.3, atol=0.04)
    np.testing.assert_allclose(flipped.all(1).mean(), 0.09, atol=0.03)


def test_composed_views_draw_independently():
    flips = [spatial.flip(axis=axis, probability=0.5) for axis in (-2, -1)]
    matrix, _ = _sampled(merge(flips), (4, 4))
    flipped = np.diagonal(matrix, axis1=1, axis2=2) < 0
    np.testing.assert_allclose(flipped.all(1).mean(), 0.25, atol=0.04)


def test_affine_draws_scale_angle_and_each_axis_shift_on_their_own():
    spread = {"rotation_degrees": (-30, 30), "scale": (0.8, 1.25)}
    op = spatial.affine(**spread, translation=(-0.2, 0.2))
    matrix, offset = _sampled(op, (16, 30, 50))
    plane, extent = matrix[:, 1:, 1:], np.array([30, 50])
    zoom = np.sqrt(np.linalg.det(plane)) ** -1
    angle = np.arctan2(plane[:, 0, 1], plane[:, 0, 0])
    # the image's centre comes to that of the view and the shift
    back = np.linalg.solve(plane, (extent / 2 - offset[:, 1:])[..., None])[..., 0]
    shift = back / extent - 0.5
    for one, low, high in (
        (np.rad2deg(angle), -30, 30),
        (zoom, 0.8, 1.25),
        (shift[:, 0], -0.2, 0.2),
        (shift[:, 1], -0.2, 0.2),
    ):
        assert stats.kstest(one, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    _check_independent(angle, zoom, *shift.T)


def test_affine_turns_and_enlarges_about_the_centre_and_shifts_what_comes_of_it():
    shape, angle, zoom, shift = (4, 9, 15), np.deg2rad(30), 2.0, 0.1
    op = spatial.affine(rotation_degrees=30, scale=zoom, translation=shift)
    place = jax.jit(lambda key: op.sample(key, shape))(jax.random.key(0))
    sine, cosine = np.sin(angle), np.cos(angle)
    turn = np.array([[cosine, -sine], [sine, cosine]])
    extent, point = np.array(shape[1:]), np.array([2.5, 11.0])  # of the image
    seen = zoom * turn @ (point - extent / 2) + extent / 2 + shift * extent
    read = np.asarray(place.matrix) @ [1.5, *seen] + np.asarray(place.offset)
    np.testing.assert_allclose(read, [1.5, *point], atol=1e-5)


def test_affine_happens_at_its_probability():
    op = spatial.affine(
        rotation_degrees=(10, 20), scale=(1.1, 1.2), translation=0.1, probability=0.25
    )
    matrix, offset = _sampled(op, (8, 8))
    missed = (matrix == np.eye(2)).all((1, 2)) & (offset == 0).all(1)
    np.testing.assert_allclose(missed.mean(), 0.75, atol=0.04)
    zoom = 1 / np.sqrt(np.linalg.det(matrix[~missed]))
    assert zoom.min() >= 1.1 - 1e-5 and zoom.max() <= 1.2 + 1e-5
    degrees = np.rad2deg(np.arctan2(matrix[~missed, 0, 1], matrix[~missed, 0, 0]))
    assert stats.kstest(degrees, stats.uniform(10, 10).cdf).pvalue > 0.01


def test_crop_larger_than_the_image_names_both_shapes():
    op = spatial.centre_crop(size=(16, 8))
    with pytest.raises(ConfigError, match=r"centre_crop.size \(16, 8\).*\(5, 9, 9\)"):
        op.sample(jax.random.key(0), (5, 9, 9))


def test_axis_that_the_image_lacks_is_named():
    op = spatial.flip(axis=-3, probability=0.5)
    with pytest.raises(ConfigError, match=r"flip .*axis -3.*\(9, 9\)"):
        op.sample(jax.random.key(0), (9, 9))


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: spatial.random_resized_crop(scale=(1, 0.5)), "crop.scale is"),
        (lambda: spatial.random_resized_crop(scale=(0.5, 1.5)), "crop.scale is"),
        (lambda: spatial.random_resized_crop(aspect=(0.5,)), "crop.aspect is"),
        (lambda: spatial.random_resized_crop(size=(8,)), "crop.size is"),
        (lambda: spatial.resize(size=(8, 0)), "resize.size is"),
        (lambda: spatial.flip(axis=1), "flip.axis is 1.*from the right"),
        (lambda: spatial.flip(axis=(-1, -1)), "flip.axis is"),
        (lambda: spatial.flip(probability=1.5), "flip.probability is 1.5"),
        (lambda: spatial.affine(scale=0), "affine.scale is 0"),
        (lambda: spatial.affine(rotation_degrees=5, axes=-1), "two axes"),
    ],
)
def test_unusable_argument_is_named(make, text):
    with pytest.raises(ConfigError, match=text):
        make()
