"""The phantom's scanner: pose, field, motion and noise, against SciPy."""

import numpy as np
import pytest
from perfect_knee import MEAN, Z, centre_mm, image, share
from scipy import ndimage, stats

from medssl_jax.phantoms.knee.scan import (
    ATTENUATION,
    ECHO,
    SIGNAL,
    as_modality,
    draw_scan,
)


def test_a_shift_is_in_mm():
    moved = image(shift_mm=(4, 6, -10))  # to lateral, posterior, inferior
    still = np.roll(image(), (2, 5, 3), (0, 1, 2))
    inner = (slice(4, -4), slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(moved[inner], still[inner], atol=1e-5)


@pytest.mark.parametrize(
    "about, axes", [((0.1, 0, 0), (1, 2)), ((0, 0.1, 0), (0, 1)), ((0, 0, 0.1), (0, 2))]
)
def test_the_pose_turns_the_whole_knee(about, axes):
    def turned(degrees):
        centred = image(shift_mm=(0, -2, 8))  # the joint to the field's centre
        return ndimage.rotate(centred, degrees, axes, reshape=False, order=1)

    posed = image(shift_mm=(0, -2, 8), rotation=about)
    inner = (slice(10, -10), slice(15, -15), slice(15, -15))
    degrees = np.rad2deg(0.1)
    fits = [
        np.corrcoef(posed[inner].ravel(), turned(d)[inner].ravel())[0, 1]
        for d in (degrees, -degrees, 0)
    ]
    assert max(fits[:2]) > 0.97 > fits[2]


def test_flexion_bends_the_femur_alone():
    straight, bent = share("marrow"), share("marrow", flexion=0.3)
    np.testing.assert_allclose(bent[Z < -12], straight[Z < -12], atol=1e-5)
    shaft = Z > 60
    # 50 mm above the epicondyles the shaft has gone back by 50 sin(.3)
    move = centre_mm(bent * shaft) - centre_mm(straight * shaft)
    assert move[1] == pytest.approx(15, abs=4)


def test_a_right_knee_is_a_left_one_in_the_mirror():
    left, right = image(bias=(0,) * 6), image(left=False)
    np.testing.assert_allclose(right, left[::-1], atol=1e-5)
    assert np.abs(right - left).max() > 0.1  # the fibula changes sides


def test_size_is_isotropic_and_exact():
    # a knee of 1.1 in a field of 1.1 is the same picture
    larger = image(
        anatomy=MEAN._replace(size=1.1),
        spacing_mm=(2.2, 2.2, 2.2),
        shift_mm=(0, 0.2, -0.8),
    )
    # the joint's place in the field is in mm of the scanner, so it is moved along
    np.testing.assert_allclose(larger, image(), atol=1e-3)


def test_noise_is_rician():
    flat = dict.fromkeys(SIGNAL, 0.1)
    for signal, noise in ((0.0, 0.05), (0.1, 0.05)):
        noisy = image(signal=dict.fromkeys(flat, signal), noise=noise)
        rice = stats.rice(signal / noise, scale=noise)
        assert noisy.mean() == pytest.approx(rice.mean(), rel=5e-3)
        assert noisy.std() == pytest.approx(rice.std(), rel=5e-3)


def test_the_coil_scales_and_shades_the_picture():
    plain = image()
    np.testing.assert_allclose(image(scale=700.0), 700 * plain, rtol=1e-5)
    shaded = image(bias=(0, 0.4, 0, 0, 0, 0))
    rows_mm = (np.arange(80) - 39.5) * 2
    ratio = shaded / np.where(plain > 0, plain, np.inf)
    expected = np.exp(0.4 * rows_mm / 75)[:, None] * (plain > 0)
    np.testing.assert_allclose(ratio, expected, rtol=1e-4)


def test_motion_leaves_copies_along_one_axis():
    plain, ghosted = image(), image(ghost=0.2, ghost_axis=2)
    copies = np.roll(plain, 26, 2) + np.roll(plain, 52, 2)
    np.testing.assert_allclose(ghosted, 0.8 * plain + 0.2 * copies, atol=1e-5)


def test_blur_is_within_slices():
    expected = image()
    for axis in (1, 2):
        expected = ndimage.convolve1d(expected, (0.2, 0.6, 0.2), axis, mode="wrap")
    np.testing.assert_allclose(image(blur=0.2), expected, atol=1e-5)


def test_speckle_is_of_rayleigh_about_the_mean():
    flat = dict.fromkeys(SIGNAL, 0.5)
    speckled = image(signal=flat, speckle=True) / 0.5
    law = stats.rayleigh(scale=np.sqrt(2 / np.pi))
    assert law.mean() == pytest.approx(1)
    assert stats.kstest(speckled.ravel()[::50], law.cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    ("modality", "table"), [("ct", ATTENUATION), ("us", ECHO), ("mr", None)]
)
def test_another_scanner_sees_the_same_pose_by_its_own_contrast(modality, table):
    rng = np.random.default_rng(0)
    settings = {"slices": (8, 12), "matrix": (40, 32)}
    before = [draw_scan(rng, **settings)._replace(ghost=0.1) for _ in range(200)]
    after = [as_modality(scan, modality, rng) for scan in before]
    if table is None:
        assert after == before
        return
    kept = "left slices spacing_mm rotation shift_mm flexion blur noise_seed scale"
    for field in kept.split():
        assert [getattr(s, field) for s in after] == [getattr(s, field) for s in before]
    ratios = np.array(
        [[s.signal[tissue] / of for tissue, of in table.items() if of] for s in after]
    )
    logs = np.log(ratios)
    assert abs(logs.mean()) < 5 * 0.05 / np.sqrt(logs.size)
    assert logs.std() == pytest.approx(0.05, rel=0.1)
    assert all(s.signal["air"] == 0 and s.ghost == 0 for s in after)
    assert not any(np.array(s.texture)[:, 0].any() for s in after)
    bias = np.array([s.bias for s in after])
    if modality == "ct":
        assert not bias.any() and not any(s.speckle for s in after)
        assert [2 * s.noise for s in after] == [s.noise for s in before]
    else:  # echoes weaken from the front, the first column, to the back
        assert not np.delete(bias, 2, axis=1).any() and all(s.speckle for s in after)
        assert -1.4 <= bias[:, 2].min() < -1.2 and -0.8 < bias[:, 2].max() <= -0.6
        assert [s.noise for s in after] == [s.noise for s in before]
        flat = image(signal=dict.fromkeys(SIGNAL, 0.5), bias=after[0].bias)
        columns = flat.mean(axis=(0, 1))
        assert (np.diff(columns) < 0).all() and columns[0] > columns[-1] > 0
