"""The phantom's anatomy and signs, against adults' sizes and where a tear shows."""

import math

import numpy as np
import pytest
from perfect_knee import HEALTHY, PLACES, X, Y, Z, centre_mm, extent_mm, image, share

from medssl_jax.phantoms import shapes
from medssl_jax.phantoms.knee.signs import Spot


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
