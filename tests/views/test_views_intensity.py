"""Intensity views against Pillow, SciPy and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import ndimage, stats

from medssl_jax.errors import ConfigError
from medssl_jax.views import intensity

VOLUME = np.random.default_rng(0).random((4, 12, 10, 1), np.float32)


def _apply(op, image, seed=0):
    run = jax.jit(lambda key, x: op.apply(op.sample(key, x.shape[:-1]), x))
    return np.asarray(run(jax.random.key(seed), jnp.asarray(image)))


def _sampled(op, n=2000):
    keys = jax.random.split(jax.random.key(3), n)
    return jax.jit(jax.vmap(lambda key: op.sample(key, (4, 12, 10))))(keys)


@pytest.mark.parametrize("factor", [0.4, 1.6])
@pytest.mark.parametrize(
    "view, enhance",
    [
        (intensity.brightness, ImageEnhance.Brightness),
        (intensity.contrast, ImageEnhance.Contrast),
        (intensity.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_brightness_contrast_and_sharpness_equal_pillows(view, enhance, factor):
    pixels = np.random.default_rng(1).integers(0, 256, (16, 16), np.uint8)
    expected = np.asarray(enhance(Image.fromarray(pixels)).enhance(factor))
    ours = _apply(view(factor=factor), pixels[..., None].astype(np.float32) / 255)
    # Pillow rounds the mean, or the smoothed image, to a whole step of 1 / 255, of
    # which 1 - factor is .6 at most, and cuts the result down to one
    np.testing.assert_allclose(ours[..., 0] * 255, expected, atol=1.31)
    assert ours.min() >= 0 and ours.max() <= 1


def test_contrast_keeps_the_relation_between_slices():
    slices = np.linspace(0.3, 0.7, 4, dtype=np.float32)[:, None, None, None]
    flat = np.broadcast_to(slices, VOLUME.shape)
    ours = _apply(intensity.contrast(factor=1.5), flat)
    np.testing.assert_allclose(ours, 0.5 + 1.5 * (flat - 0.5), atol=1e-6)


def test_jitter_is_brightness_then_contrast():
    bright = np.clip(VOLUME * 1.3, 0, 1)
    expected = np.clip(bright.mean() + 0.7 * (bright - bright.mean()), 0, 1)
    ours = _apply(intensity.jitter(brightness=1.3, contrast=0.7), VOLUME)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_jitter_changes_brightness_and_contrast_together_or_neither():
    limits = (0.6, 1.4)
    op = intensity.jitter(brightness=limits, contrast=limits, probability=0.8)
    factors = np.asarray(_sampled(op), np.float64)
    changed = factors != 1
    np.testing.assert_array_equal(changed[:, 0], changed[:, 1])
    np.testing.assert_allclose(changed.mean(), 0.8, atol=0.03)
    hits = factors[changed.all(1)]
    for factor in hits.T:
        assert stats.kstest(factor, stats.uniform(0.6, 0.8).cdf).pvalue > 0.01
    assert abs(np.corrcoef(hits.T)[0, 1]) < 0.08


def test_bias_field_is_exp_of_numpys_polynomial_without_a_constant():
    op = intensity.bias_field(coefficients=(-0.5, 0.5), order=3)
    drawn = np.asarray(op.sample(jax.random.key(0), VOLUME.shape[:-1]))
    powers = [p for p in np.ndindex(4, 4, 4) if 1 <= sum(p) <= 3]
    assert len(drawn) == len(powers) == 19 and np.abs(drawn).max() <= 0.5
    coefficients = np.zeros((4, 4, 4))
    coefficients[tuple(np.transpose(powers))] = drawn
    axes = np.meshgrid(
        *(np.linspace(-1, 1, n) for n in VOLUME.shape[:-1]), indexing="ij"
    )
    field = np.exp(np.polynomial.polynomial.polyval3d(*axes, coefficients))
    np.testing.assert_allclose(_apply(op, VOLUME), VOLUME * field[..., None], rtol=1e-5)


def test_bias_field_misses_at_its_probability_and_works_on_slices():
    op = intensity.bias_field(coefficients=(0.1, 0.5), order=1, probability=0.3)
    hit = np.asarray(_sampled(op)).all(axis=1)
    assert stats.binomtest(int(hit.sum()), len(hit), 0.3).pvalue > 1e-3
    missed = intensity.bias_field(coefficients=(0.1, 0.5), probability=0.0)
    np.testing.assert_array_equal(_apply(missed, VOLUME[0]), VOLUME[0])


def test_bias_fields_coefficients_are_uniform_and_of_each_other_independent():
    drawn = np.asarray(_sampled(intensity.bias_field(coefficients=(0.1, 0.5), order=1)))
    for one in drawn.T:
        assert stats.kstest(one, stats.uniform(0.1, 0.4).cdf).pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.T) - np.eye(3)).max() < 5 / np.sqrt(len(drawn))


def test_gamma_is_a_power_that_keeps_the_sign():
    image = np.array([[-0.25], [0.0], [0.25], [1.0]], np.float32)
    ours = _apply(intensity.gamma(log_gamma=np.log(0.5).item()), image)
    np.testing.assert_allclose(ours, [[-0.5], [0.0], [0.5], [1.0]], atol=1e-6)


def test_gamma_takes_the_exponent_itself_or_its_logarithm():
    image = np.array([[-0.25], [0.5], [1.5]], np.float32)
    ours = _apply(intensity.gamma(exponent=2), image)
    np.testing.assert_allclose(ours, [[-0.0625], [0.25], [2.25]], rtol=1e-5)
    ours = _apply(intensity.gamma(log_gamma=np.log(2).item()), image)
    np.testing.assert_allclose(ours, [[-0.0625], [0.25], [2.25]], rtol=1e-5)


@pytest.mark.parametrize(
    "arguments, transform",
    [({"exponent": (1.8, 2.6)}, lambda x: x), ({"log_gamma": (0.2, 0.9)}, np.log)],
)
def test_the_one_of_the_two_that_gamma_is_given_is_uniform(arguments, transform):
    ((low, high),) = arguments.values()
    powers = np.asarray(_sampled(intensity.gamma(**arguments, probability=0.6)))
    hits = powers[powers != 1].astype(np.float64)
    np.testing.assert_allclose(len(hits) / len(powers), 0.6, atol=0.04)
    law = stats.uniform(low, high - low).cdf
    assert stats.kstest(transform(hits), law).pvalue > 0.01
    # the two laws differ by enough to be told apart from so many
    other = np.exp if transform is np.log else np.log
    wide = stats.uniform(other(low), other(high) - other(low)).cdf
    assert stats.kstest(other(transform(hits)), wide).pvalue < 0.01


@pytest.mark.parametrize("image", [VOLUME, 3 * VOLUME[0] - 1])
def test_linear_adds_a_share_of_the_range_and_does_not_clip(image):
    ours = _apply(intensity.linear(factor=1.1, offset=-0.2), image)
    expected = 1.1 * image - 0.2 * np.ptp(image)
    np.testing.assert_allclose(ours, expected, atol=2e-6)
    assert ours.min() < 0


def test_linears_two_draws_are_uniform_and_independent_and_miss_together():
    op = intensity.linear(factor=(0.9, 1.1), offset=(-0.2, 0.2), probability=0.6)
    drawn = np.asarray(_sampled(op), np.float64)
    missed = (drawn == [1, 0]).all(1)
    np.testing.assert_allclose(missed.mean(), 0.4, atol=0.04)
    hits = drawn[~missed]
    assert stats.kstest(hits[:, 0], stats.uniform(0.9, 0.2).cdf).pvalue > 0.01
    assert stats.kstest(hits[:, 1], stats.uniform(-0.2, 0.4).cdf).pvalue > 0.01
    assert abs(np.corrcoef(hits.T)[0, 1]) < 0.08


@pytest.mark.parametrize("axes", [(-2, -1), (-3, -2, -1)])
def test_blur_equals_scipys_normalised_by_what_lies_inside(axes):
    sigma = [1.3 if axis in axes else 0 for axis in (-3, -2, -1)]
    blur = {"sigma": [*sigma, 0], "mode": "constant", "truncate": 20}
    inside = ndimage.gaussian_filter(np.ones_like(VOLUME), **blur)
    expected = ndimage.gaussian_filter(VOLUME, **blur) / inside
    ours = _apply(intensity.gaussian_blur(sigma=1.3, axes=axes), VOLUME)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_blur_misses_at_its_probability_and_a_miss_changes_nothing():
    op = intensity.gaussian_blur(sigma=(0.8, 2), probability=0.6)
    sigma = np.asarray(_sampled(op), np.float64)
    np.testing.assert_allclose((sigma > 0).mean(), 0.6, atol=0.04)
    assert stats.kstest(sigma[sigma > 0], stats.uniform(0.8, 1.2).cdf).pvalue > 0.01
    unchanged = op.apply(jnp.float32(0), jnp.asarray(VOLUME))
    np.testing.assert_array_equal(unchanged, VOLUME)


def test_noise_is_white_gaussian_of_the_given_deviation():
    flat = np.full((16, 16, 16, 1), 0.5, np.float32)
    noise = _apply(intensity.gaussian_noise(std=0.2), flat) - 0.5
    assert stats.kstest(noise.ravel() / 0.2, "norm").pvalue > 0.01
    neighbours = np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]
    assert abs(neighbours) < 0.06


def test_standardised_clip_has_mean_0_and_deviation_1():
    ours = _apply(intensity.standardise(), 0.2 + 0.05 * VOLUME)
    np.testing.assert_allclose(ours, stats.zscore(VOLUME, axis=None), atol=2e-4)


def test_standardised_constant_clip_is_zero():
    flat = np.full((16, 64, 64, 1), 0.1, np.float32)
    np.testing.assert_allclose(_apply(intensity.standardise(), flat), 0, atol=0.01)


@pytest.mark.parametrize(
    "make, text",
    [
        (lambda: intensity.brightness(factor=(-0.4, 0.4)), "brightness.factor is"),
        (lambda: intensity.gamma(exponent=(0, 2)), r"gamma.exponent is \(0, 2\)"),
        (
            lambda: intensity.gamma(exponent=2, log_gamma=(0, 1)),
            r"gamma.log_gamma \(0, 1\) and gamma.exponent 2 are both",
        ),
        (lambda: intensity.linear(offset=(1, 0)), "linear.offset is"),
        (lambda: intensity.jitter(contrast=(1.4, 0.6)), "jitter.contrast is"),
        (lambda: intensity.gaussian_blur(sigma=-1), "gaussian_blur.sigma is -1"),
        (
            lambda: intensity.gaussian_noise(std=0.1, probability=-1),
            "noise.probability",
        ),
    ],
)
def test_unusable_argument_is_named(make, text):
    with pytest.raises(ConfigError, match=text):
        make()
