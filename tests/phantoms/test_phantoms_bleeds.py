"""The five kinds of bleeding: how much, where, how bright, and what they push."""

import numpy as np
import pytest
from perfect_head import (
    MEAN,
    NONE,
    PLACES,
    VOXEL_ML,
    X,
    Y,
    Z,
    blood,
    centre_mm,
    extent_mm,
    image,
    share,
)

from medssl_jax.phantoms.head.bleeds import masses, thickness
from medssl_jax.phantoms.head.blood import (
    KINDS,
    Bleeding,
    Epidural,
    Intraparenchymal,
    Intraventricular,
    Subarachnoid,
    Subdural,
    draw_bleeding,
    draw_kinds,
    on_vault,
)
from medssl_jax.phantoms.head.layers import head
from medssl_jax.phantoms.head.skull import reach
from medssl_jax.phantoms.shapes import Points

LENS = Epidural(on_vault(60, 15, 10), 15.0, 32.0, 70.0)
CRESCENT = Subdural("convexity", 1, on_vault(64, 0, 20), 10.0, 45.0, 70.0, -200.0, 20.0)
FALX = CRESCENT._replace(site="falx", centre_mm=(0.0, 10.0, 42.0), thickness_mm=6.0)
TENT = FALX._replace(site="tentorium", centre_mm=(25.0, 50.0, -12.0))
CISTERNS = Subarachnoid((0.0, -10.0, -14.0), 30.0, 1.0, 70.0)
SULCI = Subarachnoid(on_vault(50, 0, 40), 25.0, 1.0, 70.0)
CLOT = Intraparenchymal(
    (24.0, 0.0, 5.0), (14.0,) * 3, 0.0, (0.0,) * 3, 6.0, (-5.0, 0.0, 0.0), 70.0
)
LEVEL = Intraventricular(36.0, 0, 70.0)

ONE_EACH = {
    "epidural": Bleeding(epidural=LENS),
    "subdural": Bleeding(subdural=CRESCENT),
    "falx": Bleeding(subdural=FALX),
    "tentorium": Bleeding(subdural=TENT),
    "cisterns": Bleeding(subarachnoid=CISTERNS),
    "sulci": Bleeding(subarachnoid=SULCI),
    "clot": Bleeding(intraparenchymal=(CLOT,)),
    "level": Bleeding(intraventricular=LEVEL),
}


@pytest.mark.parametrize("kind", ONE_EACH)
def test_full_voxels_of_blood_have_its_hu_and_no_others_change_to_it(kind):
    shown = blood(ONE_EACH[kind])
    hu, plain = image(ONE_EACH[kind]).astype(float), image().astype(float)
    full = shown > 0.995
    assert full.any() and shown.min() >= 0 and shown.max() <= 1 + 1e-6
    np.testing.assert_allclose(hu[full], 70, atol=1)
    # where brain has moved it may be brighter, and never as bright as blood
    soft = (plain > 0) & (plain < 45) & (shown < 1e-3)
    assert (hu[soft] < 60).mean() > 0.999
    assert blood(NONE).max() == 0


def test_an_epidural_haematoma_is_a_lens_of_its_size_under_the_bone():
    shown = blood(ONE_EACH["epidural"])
    # pi r^2 t / 2, a paraboloid on a flat base: the vault's curve takes some away
    paraboloid_ml = np.pi * 32**2 * 15 / 2 / 1000
    assert 0.6 < shown.sum() * VOXEL_ML / paraboloid_ml < 1.0
    depth = _depth_mm()
    assert depth[shown > 0.5].max() < 15 + 4 and (X[shown > 0.1] > 0).all()
    # thickest in the middle, pointed at the rim
    away = np.linalg.norm(PLACES - np.reshape(LENS.centre_mm, (3, 1, 1, 1)), axis=0)
    deep = (depth > 7) & (depth < 9)
    middle, rim = shown[deep & (away < 14)], shown[deep & (away > 28)]
    assert middle.mean() > 0.8 and rim.mean() < 0.1


@pytest.mark.parametrize(("y", "inside"), [(-60, Y < -16), (0, Y > -21), (70, Y > 53)])
def test_an_epidural_haematoma_stops_at_the_sutures_and_a_subdural_does_not(y, inside):
    at = on_vault(40, y, 20)
    wide = Bleeding(epidural=LENS._replace(centre_mm=at, radius_mm=60.0))
    shown = blood(wide)
    assert shown.sum() * VOXEL_ML > 3 and shown[~inside].sum() < 0.02 * shown.sum()
    crescent = blood(ONE_EACH["subdural"])
    assert crescent[Y < -25].sum() > 0.05 * crescent.sum() < crescent[Y > 25].sum()


def test_an_epidural_haematoma_near_the_midline_stays_on_its_side():
    near = LENS._replace(centre_mm=on_vault(15, 0, 60))
    shown = blood(Bleeding(epidural=near))
    assert shown.sum() * VOXEL_ML > 3 and shown[X < 0].sum() < 0.01 * shown.sum()


def test_a_subdural_haematoma_is_a_crescent_over_one_hemisphere():
    shown = blood(ONE_EACH["subdural"])
    assert 30 < shown.sum() * VOXEL_ML < 100  # ml, of a large acute one
    assert shown[X < 0].sum() < 1e-3 * shown.sum()
    assert extent_mm(shown, 1) > 100 and extent_mm(shown, 2) > 70
    assert _depth_mm()[(shown > 0.5) & (Z > 8)].max() < 10 + 4
    mirrored = CRESCENT._replace(side=-1, centre_mm=on_vault(-64, 0, 20))
    other = blood(Bleeding(subdural=mirrored))
    assert other.sum() == pytest.approx(shown.sum(), rel=0.01)


def test_blood_lies_on_the_falx_and_on_the_tentorium():
    falx, tent = blood(ONE_EACH["falx"]), blood(ONE_EACH["tentorium"])
    assert np.abs(X[falx > 0.5]).max() < 6 + 2.4 and centre_mm(falx)[0] > 1
    assert extent_mm(falx, 1) > 60 and (Z[falx > 0.5] > 0).all()
    assert (X[tent > 0.5] > 0).all() and (np.abs(Z[tent > 0.5] + 15) < 20).all()
    assert (Y[tent > 0.5] > 5).all()


def test_settled_blood_lies_below_the_older_fluid():
    mixed = Bleeding(subdural=CRESCENT._replace(settled_mm=5.0))
    hu, full = image(mixed), blood(mixed) > 0.99
    np.testing.assert_allclose(hu[full & (Y > 15)], 70, atol=1)
    np.testing.assert_allclose(hu[full & (Y < 3)], 20, atol=1)


def test_subarachnoid_blood_takes_the_fluids_place_and_no_tissues():
    for kind, place in (("cisterns", CISTERNS), ("sulci", SULCI)):
        bleeding = ONE_EACH[kind]
        shown = blood(bleeding)
        assert 5 < shown.sum() * VOXEL_ML < 60
        away = np.linalg.norm(
            PLACES - np.reshape(place.centre_mm, (3, 1, 1, 1)), axis=0
        )
        assert shown[away > 3.5 * place.extent_mm].sum() < 0.01 * shown.sum()
        # thin sheets: much of it shares voxels with cortex
        assert np.mean(shown[shown > 0.05] < 0.6) > 0.4
        ventricles = _head(bleeding).brain.ventricles < -4
        assert shown[ventricles].max() < 0.05
    cisterns = blood(ONE_EACH["cisterns"])
    assert centre_mm(cisterns)[2] < 0 and np.abs(centre_mm(cisterns)[0]) < 3
    assert blood(ONE_EACH["sulci"])[X < -20].sum() < 0.05 * shown.sum()


def test_a_clot_has_its_volume_and_a_dark_rim():
    shown = blood(ONE_EACH["clot"])
    ball_ml = 4 / 3 * np.pi * 14**3 / 1000
    assert shown.sum() * VOXEL_ML == pytest.approx(ball_ml, rel=0.03)
    np.testing.assert_allclose(centre_mm(shown), CLOT.centre_mm, atol=0.5)
    away = np.linalg.norm(PLACES - np.reshape(CLOT.centre_mm, (3, 1, 1, 1)), axis=0)
    rim = (away > 16) & (away < 18) & (share("white", "nuclei") > 0.9)
    change = image(ONE_EACH["clot"]).astype(float) - image()
    assert change[rim].mean() < -4
    rough = CLOT._replace(rough=0.3, phases=(0.3, 1.0, 2.0))
    bumpy = blood(Bleeding(intraparenchymal=(rough,)))
    assert np.abs(bumpy - shown).sum() > 0.2 * shown.sum()


def test_ventricular_blood_settles_behind_a_level():
    shown, filled = blood(ONE_EACH["level"]), _head(NONE).brain.ventricles < -2
    assert shown[filled & (Y > 40)].min() > 0.9 and shown[Y < 34].max() < 0.05
    assert 1 < shown.sum() * VOXEL_ML < 8 and (np.abs(X[shown > 0.5]) > 10).all()
    cast = blood(Bleeding(intraventricular=LEVEL._replace(cast=1)))
    assert cast[filled & (X > 6) & (Y < 0)].min() > 0.9
    assert cast[filled & (X < -6) & (Y < 30)].max() < 0.05


@pytest.mark.parametrize("kind", ["epidural", "subdural", "clot"])
def test_a_mass_on_the_left_pushes_the_midline_to_the_right(kind):
    def third_ventricle_mm(bleeding):
        near = (np.abs(X) < 9) & (np.abs(Y) < 10) & (np.abs(Z - 2) < 6)
        inside = _head(bleeding).brain.ventricles < 0
        return X[inside & near].mean()

    assert third_ventricle_mm(NONE) == pytest.approx(0, abs=0.3)
    assert third_ventricle_mm(ONE_EACH[kind]) < -0.8


def test_a_crescent_closes_the_sulci_below_and_blood_in_them_opens_them():
    near = (X > 20) & (np.abs(Y) < 30) & (np.abs(Z - 25) < 20) & (_depth_mm() > 14)

    def furrows_ml(bleeding):
        return np.sum(_head(bleeding).brain.furrow[near] < 0) * VOXEL_ML

    plain = furrows_ml(NONE)
    assert furrows_ml(ONE_EACH["subdural"]) < 0.7 * plain
    assert furrows_ml(ONE_EACH["sulci"]) > 1.1 * plain


def test_every_kind_comes_alone_and_with_others():
    rng = np.random.default_rng(0)
    kinds = np.array([draw_kinds(rng, True) for _ in range(3000)])
    assert kinds.any(axis=1).all() and kinds.shape[1] == len(KINDS)
    assert (kinds.mean(axis=0) > 0.1).all() and (kinds.mean(axis=0) < 0.55).all()
    alone = kinds[kinds.sum(axis=1) == 1].sum(axis=0)
    assert (alone > 100).all() and 0.25 < np.mean(kinds.sum(axis=1) > 1) < 0.6
    assert not any(any(draw_kinds(rng, False)) for _ in range(100))


def test_what_is_drawn_is_of_the_kinds_asked_for():
    for k in range(5):
        kinds = [j == k for j in range(5)]
        bleeding = draw_bleeding(np.random.default_rng(k), kinds)
        assert [bool(bleed) for bleed in bleeding] == kinds
    # acute blood is bright, some subdural blood no brighter than cortex
    every = [draw_bleeding(np.random.default_rng(k), [True] * 5) for k in range(300)]
    for kind in ("epidural", "subarachnoid", "intraventricular"):
        hu = np.array([getattr(bleeding, kind).hu for bleeding in every])
        assert 55 <= hu.min() < 65 and 75 < hu.max() <= 85, kind
    subdural = np.array([bleeding.subdural.hu for bleeding in every])
    assert 0.1 < np.mean(subdural < 48) < 0.4
    sites = {bleeding.subdural.site for bleeding in every}
    assert sites == {"convexity", "falx", "tentorium"}


def _points():
    return Points(*(q.astype(np.float32) for q in (X, Y, Z)))


def _head(bleeding):
    points = _points()
    retreat = sum(thickness(points, bleeding))
    return head(points, MEAN, masses(bleeding), retreat)


def _depth_mm():
    return 75 * (1 - reach(_points(), MEAN, below=0.7))
