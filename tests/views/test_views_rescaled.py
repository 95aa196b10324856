"""The crop of a rescaled image: its law, against NumPy and Pillow, its errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from scipy import stats

from medssl_jax.errors import ConfigError
from medssl_jax.views.compose import compose
from medssl_jax.views.rescaled import rescaled_crop


def _sampled(op, shape, n=2000):
    keys = jax.random.split(jax.random.key(3), n)
    places = jax.jit(jax.vmap(lambda key: op.sample(key, shape)))(keys)
    return np.asarray(places.matrix, np.float64), np.asarray(places.offset, np.float64)


def _check_law(matrix, offset, extent, low, high, crop, border):
    """Compare what axes of `extent` are read at with what was asked for."""
    extent, low, high, crop = (np.asarray(x) for x in (extent, low, high, crop))
    size = (1 - 2 * border) * extent / matrix  # of the rescaled image
    share = (size - low) / (high - low)
    assert stats.kstest(share[:, 0], "uniform").pvalue > 0.01
    np.testing.assert_allclose(share, share[:, :1] + 0 * share, atol=1e-4)
    # the box, in voxels of the image, is inside of the border ...
    first, last = offset, offset + matrix * crop
    assert (first >= border * extent - 1e-3).all()
    assert (last <= (1 - border) * extent + 1e-3).all()
    # ... and anywhere there
    room = (1 - 2 * border) * extent - matrix * crop
    place = (offset - border * extent) / room
    for along in place.T:
        assert stats.kstest(along, "uniform").pvalue > 0.01
    assert abs(np.corrcoef(place[:, 0], share[:, 0])[0, 1]) < 0.08
    assert abs(np.corrcoef(place.T)[0, 1]) < 0.08


def test_radiographs_of_table_i_are_shrunk_and_cut_uniformly_within_the_border():
    ends = ((600, 600), (1200, 1200))
    op = rescaled_crop(rescaled_to=ends, size=(224, 224), border=0.1)
    matrix, offset = _sampled(op, (1500, 1600))
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    assert (matrix[:, 0, 1] == 0).all() and (matrix[:, 1, 0] == 0).all()
    _check_law(diagonal, offset, (1500, 1600), *ends, (224, 224), 0.1)
    assert op.output_shape((1500, 1600)) == (224, 224)


@pytest.mark.parametrize(
    "low, crop", [((112, 96), (112, 96)), ((224, 192), (224, 192))]
)
def test_volumes_of_table_i_are_shrunk_and_cut_in_plane(low, crop):
    ends = (low, (250, 200))
    op = rescaled_crop(rescaled_to=ends, size=crop, border=0.1)
    matrix, offset = _sampled(op, (40, 320, 256))
    assert (matrix[:, 0] == [1, 0, 0]).all() and (offset[:, 0] == 0).all()
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)[:, 1:]
    # a crop as large as the smallest image has no room there: 0 / 0
    _check_law(diagonal, offset[:, 1:], (320, 256), *ends, crop, 0.1)
    assert op.output_shape((40, 320, 256)) == (40, *crop)


def test_three_axes_are_rescaled_together():
    ends = ((10, 12, 14), (20, 24, 28))
    op = rescaled_crop(rescaled_to=ends, size=(8, 8, 8))
    matrix, offset = _sampled(op, (20, 30, 40))
    diagonal = np.diagonal(matrix, axis1=1, axis2=2)
    _check_law(diagonal, offset, (20, 30, 40), *ends, (8, 8, 8), 0)


def test_fixed_size_is_pillows_cut_and_shrunk():
    image = np.random.default_rng(0).random((20, 30, 1), np.float32)
    view = compose({"rescaled_crop": {"rescaled_to": (8, 12), "size": (8, 12)}})
    ours = jax.jit(view)(jax.random.key(0), image)
    expected = Image.fromarray(image[..., 0]).resize((12, 8), Image.BILINEAR)
    np.testing.assert_allclose(ours[..., 0], np.asarray(expected), atol=1e-6)


def test_without_a_size_to_rescale_to_the_crop_is_of_the_images_own_voxels():
    image = jnp.broadcast_to(jnp.arange(40.0)[:, None, None], (40, 40, 1))
    view = jax.jit(compose({"rescaled_crop": {"size": (8, 8), "border": 0.25}}))
    for seed in range(5):
        rows = np.asarray(view(jax.random.key(seed), image))[:, 0, 0]
        np.testing.assert_allclose(np.diff(rows), 1, atol=1e-4)
        assert rows[0] >= 9.5 and rows[-1] <= 29.5


@pytest.mark.parametrize(
    "arguments, shape, text",
    [
        (
            {"rescaled_to": ((600, 600), (1200, 1200)), "size": (224, 224)},
            (512, 512),
            r"rescaled_to \(1200, 1200\) is larger than \(512, 512\).*enlarged.*shape",
        ),
        (
            {"rescaled_to": (204, 204), "size": (96, 96), "border": 0.1},
            (254, 256),
            r"rescaled_to \(204, 204\) is larger than \(203, 204\).*border of 0.1",
        ),
        (
            {"rescaled_to": ((112, 96), (250, 200)), "size": (224, 192)},
            (40, 320, 256),
            r"size \(224, 192\) does not fit into \(112, 96\), the smallest of rescaled",
        ),
        (
            {"size": (224, 224), "border": 0.1},
            (224, 224),
            r"size \(224, 224\) does not fit into \(179, 179\), what a border of 0.1",
        ),
        ({"size": (64, 300)}, (256, 256), r"size \(64, 300\) does not fit into"),
        ({"rescaled_to": (32, 32)}, (64, 64), r"\(64, 64\) does not fit into \(32, 32"),
    ],
)
def test_a_crop_or_size_larger_than_the_image_is_refused_when_traced(
    arguments, shape, text
):
    view = compose({"rescaled_crop": arguments})
    image = jax.ShapeDtypeStruct((*shape, 1), jnp.float32)
    with pytest.raises(ConfigError, match=text):
        jax.eval_shape(view, jax.random.key(0), image)


def test_the_largest_sizes_that_fit_are_taken():
    ends = ((80, 80), (120, 120))
    view = compose(
        {"rescaled_crop": {"rescaled_to": ends, "size": (80, 80), "border": 0.1}}
    )
    image = jax.ShapeDtypeStruct((150, 150, 1), jnp.float32)
    assert jax.eval_shape(view, jax.random.key(0), image).shape == (80, 80, 1)


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"rescaled_to": ((64, 64), (32, 32))}, r"rescaled_to is.*\(low, high\)"),
        ({"rescaled_to": ((64, 64), (128,))}, "rescaled_to is"),
        ({"rescaled_to": (64, 64), "size": (32, 32, 32)}, "rescaled_to is.*3 axes"),
        ({"size": (32, 0)}, r"rescaled_crop.size is \(32, 0\)"),
        ({"border": 0.5}, "rescaled_crop.border is"),
        ({"border": -0.1}, "rescaled_crop.border is"),
    ],
)
def test_unusable_argument_is_named(arguments, text):
    with pytest.raises(ConfigError, match=text):
        rescaled_crop(**arguments)
