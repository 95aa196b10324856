"""The phantom chest, against adults' sizes, and its findings against their boxes."""

import math

import numpy as np
import pytest
from scipy import stats

from medssl_jax.phantoms.chest.anatomy import Anatomy, dome, draw_anatomy
from medssl_jax.phantoms.chest.exposure import Exposure
from medssl_jax.phantoms.chest.radiograph import acquire, boxes
from medssl_jax.phantoms.chest.shadows import lost, round_shadow, water
from medssl_jax.phantoms.chest.signs import (
    FINDINGS,
    Nodule,
    Pneumothorax,
    Signs,
    draw_signs,
)

SIZE, MM = 180, 2.0
MEAN = Anatomy(
    size=1.0,
    half_width=137,
    depth=190,
    wall=42,
    heart=1.0,
    axis=0.55,
    mediastinum=29,
    diaphragm=215,
    right_dome=10,
    rib_gap=22,
    rib_slope=60,
    density=0.25,
    breast=0,
    vessels=(),
)
HEALTHY = Signs((), None, (), (), None, (0.0, 0.0), None, (0.0, 0.0))
STILL = Exposure(
    field_mm=SIZE * MM,
    shift_mm=(0.0, 0.0),
    roll=0.0,
    turn_mm=0.0,
    per_mm=0.02,
    quanta=1e9,
    scatter=0.0,
    gamma=1.0,
    texture=0.0,
    noise_seed=0,
    scale=1.0,
)
LINE = (np.arange(SIZE) - (SIZE - 1) / 2) * MM
Z, X = np.meshgrid(LINE + 120, LINE, indexing="ij")
NODULE = Nodule(-70.0, 110.0, 12.0, 1.0)
COLLAPSE = Pneumothorax(side=-1, apical_mm=40, lateral_mm=15, air=1.0)


def depth(signs=HEALTHY, anatomy=MEAN):
    return water(X, Z, anatomy, signs, turn_mm=0.0, edge_mm=MM)


def test_a_chest_has_the_size_of_one():
    body = depth()
    row = body[np.abs(LINE + 120 - 150).argmin()]
    # from side to side 28 cm of lungs and heart, in a trunk of 36
    trunk = LINE[row > 20]
    assert np.ptp(trunk) == pytest.approx(360, abs=25)
    lung = LINE[(row < 0.75 * row.max()) & (np.abs(LINE) < 130)]
    assert lung.min() < -120 and lung.max() > 120
    # the heart's width over the chest's: below a half in health, and most of it left
    heart = depth() - depth(anatomy=MEAN._replace(heart=0.01))
    width = np.flatnonzero((heart > 15).any(axis=0))
    ratio = np.ptp(LINE[width]) / (2 * MEAN.half_width)
    assert 0.3 < ratio < 0.55
    assert (heart * X).sum() / heart.sum() > 10
    right, left = (dome(float(x), MEAN) for x in (-68, 68))
    assert left - right == MEAN.right_dome


def test_ribs_lie_at_their_distance():
    # along a line through the right lung, where nothing else changes
    column = depth()[:, np.abs(LINE + 80).argmin()]
    within = (LINE + 120 > 60) & (LINE + 120 < 170)
    wave = column[within] - np.poly1d(np.polyfit(Z[within, 0], column[within], 4))(
        Z[within, 0]
    )
    spectrum = np.abs(np.fft.rfft(wave * np.hanning(len(wave)), 1024))
    period_mm = MM / np.fft.rfftfreq(1024, 1)[spectrum.argmax()]
    assert period_mm == pytest.approx(MEAN.rib_gap, rel=0.25)


def test_a_nodule_is_a_ball_of_water():
    shadow = round_shadow(X, Z, NODULE, MM)
    assert shadow.max() == pytest.approx(24, abs=0.3)
    volume = shadow.sum() * MM**2
    assert volume == pytest.approx(4 / 3 * math.pi * 12**3, rel=0.01)
    change = depth(HEALTHY._replace(nodules=(NODULE,))) - depth()
    np.testing.assert_allclose(change, shadow, atol=1e-9)


def test_what_is_smaller_than_a_pixel_keeps_its_mass():
    small = Nodule(0.3, 100.2, 1.5, 4.0)
    mass = [round_shadow(X, Z, small, edge_mm).sum() * MM**2 for edge_mm in (2.0, 4.0)]
    np.testing.assert_allclose(mass, 4 / 3 * math.pi * 1.5**3 * 4.0, rtol=0.12)


@pytest.mark.parametrize("roll", [0.0, 0.2])
def test_a_box_goes_round_what_its_nodule_changes(roll):
    lobed = NODULE._replace(lobes=((0.1, 0.3), (0.12, 2.0)))
    signs = HEALTHY._replace(nodules=(lobed,))
    taken = STILL._replace(roll=roll, shift_mm=(8.0, -12.0), quanta=1e12)
    images = [acquire(MEAN, s, taken, (SIZE, SIZE))[..., 0] for s in (HEALTHY, signs)]
    changed = np.abs(images[1] - images[0]) > 1e-3
    ends = [np.flatnonzero(changed.any(axis=axis))[[0, -1]] for axis in (1, 0)]
    (top, bottom), (left, right) = ends
    expected = np.array([top, left, bottom + 1, right + 1]) / SIZE
    ((*box, kind),) = boxes(MEAN, signs, taken, (SIZE, SIZE))
    np.testing.assert_allclose(box, expected, atol=2 / SIZE)
    assert FINDINGS[int(kind)] == "nodule"


def test_air_takes_the_lungs_place_beside_the_wall_and_at_the_apex():
    signs = HEALTHY._replace(pneumothorax=COLLAPSE)
    gone = lost(X, Z, MEAN, signs, MM)
    change = depth(signs) - depth()
    assert change[gone == 0].min() >= 0  # but the lung's edge is denser there
    assert change[(gone == 1) & (Z > 20)].max() < 0
    assert (X[gone > 0] < 0).all()  # on its side alone: the patient's right
    ((*box, kind),) = boxes(MEAN, signs, STILL, (SIZE, SIZE))
    assert FINDINGS[int(kind)] == "pneumothorax"
    top, left, bottom, right = np.array(box) * SIZE
    rows, columns = np.nonzero(gone >= 0.5)
    assert (top, left) == (rows.min(), columns.min())
    assert (bottom, right) == (rows.max() + 1, columns.max() + 1)
    # 15 mm beside the base, and more above
    row = np.abs(LINE + 120 - 170).argmin()
    assert gone[row].sum() * MM == pytest.approx(16, abs=4)


def test_no_vessel_is_seen_in_the_air():
    vessel = MEAN._replace(vessels=((-60.0, 60.0, -135.0, 110.0, 3.0),))
    signs = HEALTHY._replace(pneumothorax=COLLAPSE)
    with_air = depth(signs, vessel) - depth(signs)
    without = depth(anatomy=vessel) - depth()
    gone = lost(X, Z, MEAN, signs, MM)
    assert without[gone == 1].max() > 1
    assert np.abs(with_air[gone == 1]).max() < 1e-9
    np.testing.assert_allclose(with_air[gone == 0], without[gone == 0], atol=1e-9)


def test_more_water_is_brighter():
    image = acquire(MEAN, HEALTHY, STILL, (SIZE, SIZE))[..., 0]
    ranks, _ = stats.spearmanr(image.ravel(), depth().ravel())
    assert ranks > 0.999
    # Beer and Lambert: what is displayed grows with the water
    scaled = depth() - depth().min()
    np.testing.assert_allclose(image, scaled / scaled.max(), atol=2e-3)


def test_noise_is_that_of_counted_quanta():
    few = STILL._replace(quanta=1e4)
    pair = [
        acquire(MEAN, HEALTHY, few._replace(noise_seed=seed), (SIZE, SIZE))[..., 0]
        for seed in (1, 2)
    ]
    spread = depth().max() - depth().min()
    apart = (pair[1] - pair[0]) * STILL.per_mm * spread / math.sqrt(2)
    for low, high in ((60, 100), (100, 150)):
        here = (depth() > low) & (depth() < high)
        counts = 1e4 * np.exp(-STILL.per_mm * depth()[here])
        expected = np.sqrt(np.mean(1 / counts))
        assert apart[here].std() == pytest.approx(expected, rel=0.15)


def test_healthy_chests_have_what_looks_like_findings():
    rng = np.random.default_rng(0)
    drawn = [
        draw_signs(rng, draw_anatomy(rng), nodule=False, pneumothorax=False)
        for _ in range(300)
    ]
    assert not any(signs.nodules or signs.pneumothorax for signs in drawn)
    shares = {
        "spots": np.mean([len(signs.spots) > 1 for signs in drawn]),
        "folds": np.mean([signs.fold is not None for signs in drawn]),
        "opacities": np.mean([signs.opacity is not None for signs in drawn]),
        "electrodes": np.mean([len(signs.electrodes) > 0 for signs in drawn]),
    }
    assert shares["spots"] > 0.6
    assert all(0.1 < shares[name] < 0.35 for name in shares if name != "spots")


def test_nodules_lie_in_lungs_and_apart():
    rng = np.random.default_rng(1)
    for _ in range(100):
        anatomy = draw_anatomy(rng)
        signs = draw_signs(rng, anatomy, nodule=True, pneumothorax=False)
        assert 1 <= len(signs.nodules) <= 3
        for one in signs.nodules:
            assert abs(one.x_mm) < anatomy.half_width * 1.1
            assert 10 < one.z_mm < dome(one.x_mm, anatomy)
        for one, other in zip(signs.nodules, signs.nodules[1:], strict=False):
            far = math.hypot(one.x_mm - other.x_mm, one.z_mm - other.z_mm)
            assert far > one.radius_mm + other.radius_mm
