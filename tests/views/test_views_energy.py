"""Energy bands against SciPy and NumPy."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, stats

from medssl_jax.errors import ConfigError
from medssl_jax.views import bands
from medssl_jax.views.compose import compose
from medssl_jax.views.whole import energy_bands

SIGMAS = (0.7, 1.5, 3.0)
VOLUME = np.random.default_rng(0).random((4, 12, 10, 1), np.float32)
COLOUR = np.random.default_rng(1).random((12, 10, 3), np.float32) * [0.5, 1, 0.2]
COLOUR = COLOUR.astype(np.float32)


def _scipy_bands(image, axes):
    """Blur by SciPy, made to sum to 1 within the image; subtract neighbours."""
    places = [axis - 1 for axis in axes]
    blurred = [image.astype(np.float64)]
    for sigma in SIGMAS:
        widths = np.zeros(image.ndim)
        widths[places] = sigma
        how = {"sigma": widths, "mode": "constant", "truncate": 20}
        inside = ndimage.gaussian_filter(np.ones(image.shape), **how)
        blurred.append(ndimage.gaussian_filter(blurred[0], **how) / inside)
    return [a - b for a, b in itertools.pairwise(blurred)] + blurred[-1:]


def _energies(image, axes=(-2, -1)):
    """Take one channel's deviations about its mean, then all channels' together."""
    spatial = tuple(range(image.ndim - 1))
    of_channels = [band.std(axis=spatial) for band in _scipy_bands(image, axes)]
    return np.sqrt(np.mean(np.square(of_channels), axis=1))


def _apply(op, image, seed=0):
    run = jax.jit(lambda key, x: op.apply(op.sample(key, x.shape[:-1]), x))
    return np.asarray(run(jax.random.key(seed), jnp.asarray(image)))


@pytest.mark.parametrize("axes", [(-2, -1), (-3, -2, -1)])
def test_bands_are_scipys_and_their_sum_is_the_image(axes):
    ours = bands.split(jnp.asarray(VOLUME), SIGMAS, axes)
    expected = _scipy_bands(VOLUME, axes)
    np.testing.assert_allclose(np.stack(ours), expected, atol=2e-6)
    np.testing.assert_allclose(sum(ours), VOLUME, atol=1e-6)
    energies = [bands.energy(band) for band in ours]
    np.testing.assert_allclose(energies, _energies(VOLUME, axes), rtol=1e-4)


@pytest.mark.parametrize("image", [VOLUME, VOLUME[0], COLOUR])
def test_each_band_is_scaled_by_reference_over_own_energy_and_the_mean_stays(image):
    references = np.array([0.3, 0.02, 0.1, 0.2])
    factors = references / _energies(image)
    expected = image.mean(axis=tuple(range(image.ndim - 1)), keepdims=True)
    for factor, band in zip(factors, _scipy_bands(image, (-2, -1)), strict=True):
        spatial = tuple(range(image.ndim - 1))
        expected = expected + factor * (band - band.mean(spatial, keepdims=True))
    op = energy_bands(sigmas=SIGMAS, mean=tuple(references.tolist()), std=0)
    np.testing.assert_allclose(_apply(op, image), expected, atol=1e-5)


def test_own_energies_as_references_give_the_image_back():
    own = tuple(_energies(VOLUME).tolist())
    op = energy_bands(sigmas=SIGMAS, mean=own, std=(0.0,) * 4)
    np.testing.assert_allclose(_apply(op, VOLUME), VOLUME, atol=2e-6)


def test_eq_8_as_printed_is_this_but_for_the_mean():
    references = [0.3, 0.02, 0.1, 0.2]
    split = _scipy_bands(VOLUME, (-2, -1))
    factors = references / _energies(VOLUME)
    printed = sum(f * band for f, band in zip(factors, split, strict=True))
    ours = _apply(energy_bands(sigmas=SIGMAS, mean=references, std=0), VOLUME)
    means = [band.mean() for band in split]
    added = np.sum((1 - factors) * means)
    np.testing.assert_allclose(ours, printed + added, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_a_constant_image_has_no_energy_and_stays(level):
    flat = np.full((12, 10, 1), level, np.float32)
    op = energy_bands(sigmas=SIGMAS, mean=(0.05,) * 3 + (0.2,), std=0.02)
    np.testing.assert_allclose(_apply(op, flat), flat, atol=2e-3)


def test_references_are_uniform_about_the_mean_and_independent_and_miss_together():
    mean, std = np.array([0.02, 0.05, 0.3, 0.1]), np.array([0.01, 0.02, 0.1, 0.3])
    op = energy_bands(
        sigmas=SIGMAS,
        mean=tuple(mean.tolist()),
        std=tuple(std.tolist()),
        probability=0.7,
    )
    keys = jax.random.split(jax.random.key(3), 2000)
    hit, drawn = jax.jit(jax.vmap(lambda key: op.sample(key, (12, 10))))(keys)
    assert stats.binomtest(int(hit.sum()), 2000, 0.7).pvalue > 0.01
    drawn = np.asarray(drawn, np.float64)
    for values, m, s in zip(drawn.T[:3], mean, std, strict=False):
        assert stats.kstest(values, stats.uniform(m - s, 2 * s).cdf).pvalue > 0.01
    correlation = np.corrcoef(np.column_stack([hit, drawn]).T)
    assert np.abs(correlation - np.eye(5)).max() < 0.08
    assert drawn[:, 3].min() == 0  # .1 +- .3: an energy is not negative
    np.testing.assert_allclose((drawn[:, 3] == 0).mean(), 1 / 3, atol=0.04)


def test_a_miss_is_the_identity_to_the_bit():
    op = energy_bands(sigmas=SIGMAS, mean=(1.0,) * 4, std=0.5, probability=0.0)
    np.testing.assert_array_equal(_apply(op, VOLUME), VOLUME)


def test_energies_are_those_of_the_whole_image_whatever_is_cut_out_of_it():
    energy = {"sigmas": SIGMAS, "mean": (0.3, 0.02, 0.1, 0.2), "std": 0.0}
    view = compose({"centre_crop": {"size": (6, 4)}, "energy_bands": energy})
    ours = jax.jit(view)(jax.random.key(0), VOLUME)
    whole = _apply(energy_bands(**energy), VOLUME)
    np.testing.assert_allclose(ours, whole[:, 3:9, 3:7], atol=1e-6)
    of_crop = _apply(energy_bands(**energy), VOLUME[:, 3:9, 3:7])
    assert np.abs(ours - of_crop).max() > 0.01


def test_views_of_an_image_share_one_split_and_compile_once():
    energy = {"sigmas": SIGMAS, "mean": (0.3, 0.02, 0.1, 0.2), "std": 0.01}
    traces = []

    def views(key, image):
        traces.append(image.shape)
        crops = [{"rescaled_crop": {"size": size}} for size in ((8, 8), (4, 4))]
        large, small = (compose({"energy_bands": energy} | crop) for crop in crops)
        keys = jax.random.split(key, 4)
        return large(keys[0], image), jax.vmap(small, (0, None))(keys[1:], image)

    step = jax.jit(jax.vmap(views))
    for seed in (0, 1):
        images = np.random.default_rng(seed).random((2, 3, 12, 10, 1), np.float32)
        keys = jax.random.split(jax.random.key(seed), 2)
        large, small = step(keys, images)
    assert traces == [(3, 12, 10, 1)]
    assert large.shape == (2, 3, 8, 8, 1) and small.shape == (2, 3, 3, 4, 4, 1)
    text = step.lower(keys, images).compile().as_text()
    # two for each sigma, two for each of the two crops
    assert len(re.findall(r" = \S+ dot\(", text)) == 2 * len(SIGMAS) + 4


@pytest.mark.parametrize(
    "arguments, text",
    [
        ({"sigmas": ()}, "energy_bands.sigmas is"),
        ({"sigmas": (2, 1)}, "energy_bands.sigmas is.*that rise"),
        ({"sigmas": (0, 1)}, "energy_bands.sigmas is"),
        ({"mean": None}, "energy_bands.mean is not given.*energies.fill.*3 numbers"),
        ({"mean": ()}, "energy_bands.mean is not given"),
        ({"std": None}, "energy_bands.std is not given"),
        ({"mean": (0.1, 0.2)}, "energy_bands.mean is.*3 numbers"),
        ({"std": (0.1, -0.2, 0.1)}, "energy_bands.std is"),
        ({"std": -0.1}, "energy_bands.std is"),
        ({"mean": (0.1, float("nan"), 0.1)}, "energy_bands.mean is"),
        ({"probability": 2}, "energy_bands.probability is"),
        ({"axes": (1,)}, "energy_bands.axes is"),
    ],
)
def test_unusable_argument_is_named(arguments, text):
    usable = {"sigmas": (1, 2), "mean": (0.1, 0.1, 0.1), "std": 0.0}
    with pytest.raises(ConfigError, match=text):
        energy_bands(**(usable | arguments))


def test_axis_that_the_image_lacks_is_named():
    op = energy_bands(sigmas=(1,), mean=(0.1, 0.1), std=0.0, axes=(-3, -2, -1))
    with pytest.raises(ConfigError, match=r"energy_bands .*axis -3.*\(12, 10\)"):
        _apply(op, VOLUME[0])
