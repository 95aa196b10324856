"""Metastases and all that enhances beside them, in the MR of a perfect head."""

import numpy as np
import pytest
from perfect_head import (
    MEAN,
    MR,
    PLACES,
    PLAIN,
    POSE,
    VOXEL_ML,
    X,
    Y,
    Z,
    centre_mm,
    mask,
    signal,
)
from scipy import stats

from medssl_jax.phantoms.head.anatomy import draw_anatomy
from medssl_jax.phantoms.head.layers import head
from medssl_jax.phantoms.head.metastases import Metastasis, draw_metastases, masses
from medssl_jax.phantoms.head.mimics import Lesion
from medssl_jax.phantoms.head.mr import SIGNAL, draw_scan
from medssl_jax.phantoms.head.pose import draw_pose
from medssl_jax.phantoms.head.vessels import draw_veins
from medssl_jax.phantoms.shapes import Points

SOLID = Metastasis((30.0, 10.0, 40.0), 8.0, 0.0, 1.0, 0.0)
BRIGHT = SIGNAL["metastasis"][0]


def away_mm(place):
    return np.linalg.norm(PLACES - np.reshape(place, (3, 1, 1, 1)), axis=0)


def test_a_mask_has_the_volume_and_the_place_of_the_lesion():
    found = mask((SOLID,))
    ball_ml = 4 / 3 * np.pi * 8**3 / 1000
    assert found.sum() * VOXEL_ML == pytest.approx(ball_ml, rel=0.05)
    np.testing.assert_allclose(centre_mm(found), SOLID.centre_mm, atol=0.5)
    assert found.dtype == np.uint8 and set(np.unique(found)) == {0, 1}
    assert mask(()).max() == 0


def test_a_lesion_smaller_than_a_voxel_is_in_the_mask_where_it_is():
    thick = POSE._replace(size_voxels=(17, 60, 50), spacing_mm=(8.0, 4.0, 4.0))
    small = SOLID._replace(radius_mm=2.0)
    found = mask((small,), pose=thick)
    assert 1 <= found.sum() <= 4
    k, r, c = np.argwhere(found).mean(axis=0)
    place = ((c - 24.5) * 4, (r - 29.5) * 4, (k - 8) * 8 + 6)
    assert np.abs(np.subtract(place, small.centre_mm)).max() <= 4
    both = mask((small, small._replace(centre_mm=(-30.0, 10.0, 40.0))), pose=thick)
    assert both.sum() == 2 * found.sum()


def test_a_solid_lesion_is_bright_and_a_ring_dark_inside():
    inner, shell = (
        away_mm(SOLID.centre_mm) < 3,
        np.abs(away_mm(SOLID.centre_mm) - 6) < 1,
    )
    solid = signal((SOLID,))
    np.testing.assert_allclose(solid[inner], BRIGHT, atol=0.01)
    ring = signal((SOLID._replace(core=0.55),))
    np.testing.assert_allclose(ring[inner], SIGNAL["necrosis"][0], atol=0.01)
    assert ring[shell].mean() > 0.8 * BRIGHT
    faint = signal((SOLID._replace(enhancement=0.5),))
    oedema = SIGNAL["oedema"][0]
    np.testing.assert_allclose(faint[inner], (BRIGHT + oedema) / 2, atol=0.01)
    far = away_mm(SOLID.centre_mm) > 45  # where even its mass is not felt
    np.testing.assert_allclose(solid[far], signal()[far], atol=0.02)


def test_oedema_darkens_white_matter_around_a_lesion_and_enlarges_no_mask():
    swollen = SOLID._replace(oedema_mm=9.0)
    change = signal((swollen,)) - signal((SOLID,))
    assert change.min() < -0.1 and change.max() < 1e-3
    around = (away_mm(SOLID.centre_mm) > 11) & (away_mm(SOLID.centre_mm) < 14)
    assert change[around].mean() < -0.03
    np.testing.assert_array_equal(mask((swollen,)), mask((SOLID,)))


def test_veins_sinuses_plexus_and_pituitary_enhance_in_healthy_heads():
    veins = draw_veins(np.random.default_rng(0))
    plain = signal(veins=veins)
    bright = plain > 0.8 * SIGNAL["vein"][0]
    inside = (away_mm((0, 0, 10)) < 75) & (np.abs(Z) < 60)
    assert bright[inside].sum() > 100  # and none of them is in a mask
    sagittal = bright & (np.abs(X) < 3) & (Y > 70) & (Z > 0)
    assert sagittal.any()
    for place in ((22, 36, 7), (-22, 36, 7), (0, -14, -28), (0, 0, -30)):
        near = away_mm(place) < 6
        assert plain[near].max() > 0.75, place
    cortical = signal(veins=veins) - signal()
    assert cortical.min() > -0.05 and 2 < np.sum(cortical > 0.1) * VOXEL_ML < 30
    tumour = PLAIN._replace(meningioma=Lesion((55, 10, 42), 8, 1.0))
    assert (signal(mimics=tumour) - signal()).max() > 0.3  # a round one outside


def test_lesions_without_contrast_are_dark():
    old = PLAIN._replace(infarcts=(Lesion((35, 40, 30), 10, 1.0),), pallor=0.8)
    change = signal(mimics=old) - signal()
    # brighter than fluid in sulci they may be, and not as brain is
    assert (
        change.max() < SIGNAL["infarct"][0] - SIGNAL["csf"][0] and change.min() < -0.3
    )


def test_metastases_are_one_to_six_apart_and_of_4_to_20_mm():
    numbers, diameters, at_junction = [], [], []
    for k in range(250):
        rng = np.random.default_rng(k)
        anatomy = draw_anatomy(rng)
        drawn = draw_metastases(rng, anatomy)
        numbers.append(len(drawn))
        diameters += [2 * lesion.radius_mm for lesion in drawn]
        centres = np.array([lesion.centre_mm for lesion in drawn], np.float32)
        distances = np.linalg.norm(centres[:, None] - centres, axis=-1)
        assert (distances + 99 * np.eye(len(drawn)) >= 16).all()
        points = Points(*(axis[:, None, None] for axis in centres.T))
        brain = head(points, anatomy).brain
        assert (np.minimum(brain.cerebrum, brain.cerebellum) < 0).all()
        assert (brain.ventricles > 0).all()
        at_junction += (np.abs(brain.depth - anatomy.cortex_mm) < 1.5).ravel().tolist()
    assert (
        set(numbers) == {1, 2, 3, 4, 5, 6}
        and 0.28 < np.mean(np.equal(numbers, 1)) < 0.45
    )
    assert 4 <= min(diameters) < 5.5 and 18 < max(diameters) <= 20
    assert 0.65 < np.mean(at_junction) < 0.95
    assert len(masses((SOLID, SOLID._replace(radius_mm=3.0)))) == 1


def test_noise_is_rician_and_the_coil_scales_the_picture():
    plain, noisy = signal(), signal(noise=0.05, noise_seed=3)
    air = plain == 0
    rice = stats.rice(0, scale=0.05)
    assert noisy[air].mean() == pytest.approx(rice.mean(), rel=0.01)
    np.testing.assert_allclose(signal(scale=300.0), 300 * plain, rtol=1e-5)


def test_scans_lie_between_two_sequences():
    rng = np.random.default_rng(0)
    pose = draw_pose(rng, MEAN, (16, 64, 64))
    scans = [draw_scan(rng, pose) for _ in range(300)]
    assert scans[0].signal.keys() == MR.signal.keys()
    arteries = np.array([scan.signal["artery"] for scan in scans])
    assert (
        arteries.min() < 0.2 and arteries.max() > 0.8
    )  # flowing blood: void or bright
    contrast = np.array([s.signal["white"] / s.signal["grey"] for s in scans])
    assert 1.0 < np.quantile(contrast, 0.05) and np.quantile(contrast, 0.95) < 1.8
    enhanced = np.array([s.signal["metastasis"] / s.signal["white"] for s in scans])
    assert enhanced.min() > 1.2
