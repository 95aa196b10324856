"""The phantom's anatomy, signs and scanner, against clinical sizes and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from medssl_jax.data.knee import shapes
from medssl_jax.data.knee.acquire import acquire
from medssl_jax.data.knee.anatomy import Anatomy
from medssl_jax.data.knee.scan import SIGNAL, Scan
from medssl_jax.data.knee.signs import Signs, Spot

MATRIX = (80, 80)  # of 2 mm, as are the slices

MEAN = Anatomy(
    size=1,
    width=1,
    depth=1,
    condyle=1,
    notch_mm=10,
    shaft_mm=15,
    slope=0.1,
    patella_mm=0,
    fat_mm=7,
    muscle=1,
    cartilage_mm=2,
    ligament_mm=5,
    steepness=1,
    vessel_mm=(0, 38),
    red_marrow=0,
    warp=((0, 0, 0, 0),) * 3,
)
HEALTHY = Signs(
    gap=0,
    wave_mm=0,
    sag=0,
    oedema=0,
    effusion_mm=1,
    bruise_femur=0,
    bruise_tibia=0,
    bruise_mm=9,
    tibial_shift_mm=0,
    fading=0,
    spots=(),
)
FAT_SATURATED_T2 = {tissue: signals[2] for tissue, signals in SIGNAL.items()}
PERFECT = Scan(
    left=True,
    slices=50,
    spacing_mm=(2, 2, 2),
    rotation=(0, 0, 0),
    shift_mm=(0, 0, 0),
    flexion=0,
    signal=FAT_SATURATED_T2,
    bias=(0,) * 6,
    texture=((0, 0, 0, 0),),
    blur=0,
    ghost=0,
    ghost_axis=1,
    noise=0,
    noise_seed=0,
    scale=1,
)

# of each voxel: mm to lateral, posterior and superior of the joint, in a left knee
_SLICE, _ROW, _COLUMN = np.meshgrid(
    *((np.arange(n) - (n - 1) / 2) * 2 for n in (50, *MATRIX)), indexing="ij"
)
X, Y, Z = PLACES = np.stack([_SLICE, _COLUMN - 2, -_ROW + 8])


def image(signs=HEALTHY, anatomy=MEAN, **scan):
    return acquire(anatomy, signs, PERFECT._replace(**scan), MATRIX)[..., 0]


def share(*tissues, signs=HEALTHY, **scan):
    """Return which part of each voxel the tissues fill."""
    signal = {tissue: float(tissue in tissues) for tissue in SIGNAL}
    return image(signs, signal=signal, **scan)


def centre_mm(weights):
    return (PLACES * weights).sum((1, 2, 3)) / weights.sum()


def extent_mm(inside, axis):
    """Return how far a mask reaches along x, y or z."""
    along = PLACES[axis][inside > 0.5]
    return along.max() - along.min() + 2


def test_the_mean_knee_has_the_size_of_one():
    bone = share("marrow", "cortex")
    condyles = bone * ((Z > 15) & (Z < 25) & (Y > -30))
    plateau = bone * ((Z < -10) & (Z > -16) & (Y > -30))
    # textbook means of adults: femur about 80 x 60 mm, tibial plateau about 75 x 50
    assert extent_mm(condyles, 0) == pytest.approx(80, abs=10)
    assert extent_mm(condyles, 1) == pytest.approx(62, abs=8)
    assert extent_mm(plateau, 0) == pytest.approx(75, abs=10)
    assert extent_mm(plateau, 1) == pytest.approx(50, abs=8)
    # an anterior cruciate is 30 to 40 mm long and 10 mm thick
    fibres = share("fibres")
    assert 1500 < fibres.sum() * 8 < 4000


def test_the_parts_lie_where_they_belong():
    bone = share("marrow")
    patella = bone * (Y < -36) * (Z > 10)
    assert patella.sum() * 8 > 5000  # mm3
    fibula = bone * (Y > 12) * (X > 24) * (Z < -25)
    assert fibula.sum() > 0 and (bone * (Y > 12) * (X < -24) * (Z < -25)).sum() < 5
    menisci = share("meniscus")
    assert np.abs(centre_mm(menisci) - (0, 2, -2)).max() < 4
    anterior, posterior = share("fibres"), share("ligament") * (Y > 0)
    assert centre_mm(anterior)[1] < centre_mm(posterior)[1]


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


@pytest.mark.parametrize(
    "field, place_mm",
    [("bruise_femur", (24, -4, 10)), ("bruise_tibia", (23, 17, -13))],
)
def test_a_bruise_brightens_the_lateral_compartment(field, place_mm):
    change = image(HEALTHY._replace(**{field: 1.0})) - image()
    assert change.min() > -1e-6 and change.max() > 0.5
    # cut off by the bone's surface, so not quite at its centre
    assert np.linalg.norm(centre_mm(change) - place_mm) < 6
    distance = np.linalg.norm(PLACES - np.reshape(place_mm, (3, 1, 1, 1)), axis=0)
    assert change[distance > 4 * HEALTHY.bruise_mm].max() < 1e-3
    assert change[share("marrow", "cortex") < 1e-3].max() < 1e-6


def test_an_effusion_fills_the_suprapatellar_pouch():
    fluid = share("fluid", signs=HEALTHY._replace(effusion_mm=8)) - share("fluid")
    assert fluid.min() > -1e-6
    assert 10_000 < fluid.sum() * 8 < 60_000  # 10 to 60 ml: a large effusion
    pouch = fluid * (Z > 42)
    assert pouch.sum() > 0.3 * fluid.sum() and centre_mm(pouch)[1] < -15


def test_a_shift_moves_tibia_and_fibula_forwards():
    shifted = share("marrow", signs=HEALTHY._replace(tibial_shift_mm=8))
    still = share("marrow")
    below, above = Z < -12, Z > 15
    move = centre_mm(shifted * below) - centre_mm(still * below)
    np.testing.assert_allclose(move, (0, -8, 0), atol=0.3)
    np.testing.assert_allclose(shifted[above], still[above], atol=1e-6)


def test_a_gap_takes_fibres_from_the_notch_in_proportion():
    intact = share("fibres")
    for gap in (0.3, 0.6):
        torn = share("fibres", signs=HEALTHY._replace(gap=gap))
        lost = intact - torn
        assert lost.min() > -1e-6
        assert lost.sum() / intact.sum() == pytest.approx(1.1 * gap, abs=0.15)
        assert np.abs(centre_mm(lost) - (2, 3, 12)).max() < 5
    absent = share("fibres", signs=HEALTHY._replace(gap=1.0))
    assert absent.sum() < 0.05 * intact.sum()


def test_slack_fibres_leave_the_straight_line():

    def bend_mm(fibres):
        inside = np.stack([Y, Z])[:, fibres > 0.3]
        return np.linalg.svd(inside - inside.mean(1, keepdims=True))[1][1] / math.sqrt(
            inside.shape[1]
        )

    wavy = share("fibres", signs=HEALTHY._replace(wave_mm=5))
    assert bend_mm(wavy) > 1.3 * bend_mm(share("fibres"))


def test_a_faded_ligament_is_thinner_though_whole():
    intact = share("fibres")
    faded = share("fibres", signs=HEALTHY._replace(fading=0.5))
    assert 0.2 < faded.sum() / intact.sum() < 0.5
    np.testing.assert_allclose(centre_mm(faded), centre_mm(intact), atol=1)


def test_a_spot_is_bright_marrow_where_it_says():
    spot = Spot((-20.0, 0.0, 25.0), 5.0, 0.8)
    change = image(HEALTHY._replace(spots=(spot,))) - image()
    np.testing.assert_allclose(centre_mm(change), spot.centre_mm, atol=2)


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


def test_blur_keeps_the_mean():
    plain, blurred = image(), image(blur=0.25)
    assert blurred.mean() == pytest.approx(plain.mean(), rel=1e-4)
    assert (
        np.abs(np.diff(blurred, axis=1)).mean() < np.abs(np.diff(plain, axis=1)).mean()
    )


def test_partial_volume_keeps_a_spheres_volume():
    line = np.arange(-20, 20, 3, dtype=np.float32)
    points = shapes.Points(*np.meshgrid(line, line, line, indexing="ij"))
    ball = shapes.ellipsoid(points, (0.4, -0.3, 0.9), (12, 12, 12))
    volume = shapes.cover(ball, 3.0).sum() * 27
    assert volume == pytest.approx(4 / 3 * math.pi * 12**3, rel=0.03)


def test_a_thin_sheet_keeps_its_volume_at_any_voxel():
    for mm in (0.5, 2.0, 5.0):
        line = np.arange(-20, 20, mm, dtype=np.float32)
        points = shapes.Points(*np.meshgrid(line, line[:1], line[:1], indexing="ij"))
        thickness = shapes.sheet(points.x + 0.2, 1.5, mm).sum() * mm
        assert thickness == pytest.approx(3.0, rel=0.15)
