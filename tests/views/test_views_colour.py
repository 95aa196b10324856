"""Colour views against Pillow and colorsys."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats

from medssl_jax.errors import ConfigError
from medssl_jax.views import colour, intensity, spatial
from medssl_jax.views.compose import compose
from medssl_jax.views.warp import merge

PIXELS = np.random.default_rng(1).integers(0, 256, (16, 16, 3), np.uint8)
PIXELS[0, :4] = [[0, 0, 0], [255, 255, 255], [90, 90, 90], [200, 30, 30]]
RGB = PIXELS.astype(np.float32) / 255
GREY = RGB[..., :1]
NONE = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.0}

_jitter = jax.jit(colour.color_jitter().apply)


def jittered(image, **changed):
    drawn = jnp.float32(list((NONE | changed).values()))
    return np.asarray(_jitter(drawn, jnp.asarray(image)))


def sampled(op, n=4000):
    keys = jax.random.split(jax.random.key(3), n)
    sample = jax.jit(jax.vmap(lambda key: op.sample(key, (16, 16))))
    return np.asarray(sample(keys), np.float64)


@pytest.mark.parametrize("factor", [0.3, 1.7])
@pytest.mark.parametrize(
    "field, enhance",
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[..., 0]], ids=["rgb", "grey"])
def test_brightness_contrast_and_saturation_equal_pillows(
    pixels, field, enhance, factor
):
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(factor))
    image = pixels.reshape(16, 16, -1).astype(np.float32) / 255
    ours = jittered(image, **{field: factor})
    # Pillow rounds the grey, its mean and the result to whole steps of 1 / 255
    np.testing.assert_allclose(ours.reshape(pixels.shape) * 255, expected, atol=1.3)


@pytest.mark.parametrize("turn", [-0.2, 0.07, 0.5])
def test_hue_turns_as_in_colorsys(turn):
    def turned(pixel):
        h, s, v = colorsys.rgb_to_hsv(*pixel)
        return colorsys.hsv_to_rgb((h + turn) % 1, s, v)

    expected = np.apply_along_axis(turned, -1, RGB.astype(np.float64))
    np.testing.assert_allclose(jittered(RGB, hue=turn), expected, atol=2e-6)


def test_the_order_is_brightness_contrast_saturation_hue():
    every = {"brightness": 1.3, "contrast": 0.6, "saturation": 1.5, "hue": 0.1}
    image = RGB
    for field, value in every.items():
        image = jittered(image, **{field: value})
    np.testing.assert_allclose(jittered(RGB, **every), image, atol=1e-6)


def test_grey_images_know_neither_saturation_nor_hue():
    ours = jittered(GREY, brightness=0.9, saturation=0.2, hue=0.3)
    np.testing.assert_array_equal(ours, jittered(GREY, brightness=0.9))


@pytest.mark.parametrize("image", [RGB, GREY], ids=["rgb", "grey"])
def test_no_strength_changes_no_bit(image):
    np.testing.assert_array_equal(jittered(image), image)


@pytest.mark.parametrize("strength", [0.5, 1.0, 1.5])
def test_strength_gives_simclrs_ranges_all_four_or_none(strength):
    drawn = sampled(colour.color_jitter(strength=strength, probability=0.8))
    changed = drawn != list(NONE.values())
    assert (changed.all(1) | ~changed.any(1)).all()
    np.testing.assert_allclose(changed.all(1).mean(), 0.8, atol=0.03)
    hits = drawn[changed.all(1)]
    low = max(0, 1 - 0.8 * strength)
    factor = stats.uniform(low, 1 + 0.8 * strength - low)
    for values in hits.T[:3]:
        assert stats.kstest(values, factor.cdf).pvalue > 0.01
    hue = stats.uniform(-0.2 * strength, 0.4 * strength)
    assert stats.kstest(hits[:, 3], hue.cdf).pvalue > 0.01
    correlation = np.corrcoef(hits.T) - np.eye(4)
    assert np.abs(correlation).max() < 0.06


def test_greyscale_is_pillows_mode_l_in_all_channels():
    op = colour.greyscale(probability=0.2)
    ours = np.asarray(op.apply(jnp.float32(1), jnp.asarray(RGB)))
    expected = np.asarray(Image.fromarray(PIXELS).convert("L"))
    np.testing.assert_allclose(ours[..., 0] * 255, expected, atol=0.51)
    np.testing.assert_array_equal(ours, np.repeat(ours[..., :1], 3, axis=-1))
    np.testing.assert_array_equal(op.apply(jnp.float32(0), jnp.asarray(RGB)), RGB)
    np.testing.assert_array_equal(op.apply(jnp.float32(1), jnp.asarray(GREY)), GREY)
    np.testing.assert_allclose(sampled(op).mean(), 0.2, atol=0.03)


def test_colour_comes_before_blur_and_after_the_crop():
    crop = {"scale": (0.3, 0.6), "size": (8, 8)}
    ops = {
        "random_resized_crop": crop,
        "color_jitter": {"strength": 1.0},
        "gaussian_blur": {"sigma": 1.0},
    }
    stages = [
        merge([spatial.random_resized_crop(**crop)]),
        colour.color_jitter(strength=1.0),
        intensity.gaussian_blur(sigma=1.0),
    ]

    def one_by_one(key, image):
        for stage, stage_key in zip(stages, jax.random.split(key, 3), strict=True):
            image = stage.apply(stage.sample(stage_key, image.shape[:-1]), image)
        return image

    ours = jax.jit(compose(dict(sorted(ops.items(), reverse=True))))
    key = jax.random.key(5)
    np.testing.assert_allclose(ours(key, RGB), jax.jit(one_by_one)(key, RGB), atol=1e-6)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: colour.color_jitter(strength=-1), "color_jitter.strength is"),
        (lambda: colour.color_jitter(probability=2), "color_jitter.probability is 2"),
        (lambda: colour.greyscale(probability=1.5), "greyscale.probability is 1.5"),
        (lambda: jittered(np.zeros((4, 4, 2), np.float32)), "'color_jitter'.* have 2"),
    ],
)
def test_what_cannot_be_used_is_named(make, text):
    with pytest.raises(ConfigError, match=text):
        make()
