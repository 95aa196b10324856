"""The phantom head's anatomy and scanner, against adults' sizes and against SciPy."""

import numpy as np
import pytest
from perfect_head import (
    CT,
    MEAN,
    PLAIN,
    POSE,
    SPACING_MM,
    VOXEL_ML,
    X,
    Y,
    Z,
    centre_mm,
    extent_mm,
    image,
    share,
)
from scipy import ndimage

from medssl_jax.phantoms.head import ct
from medssl_jax.phantoms.head.anatomy import draw_anatomy
from medssl_jax.phantoms.head.brain import brain
from medssl_jax.phantoms.head.mimics import Lesion
from medssl_jax.phantoms.head.pose import draw_pose, samples
from medssl_jax.phantoms.head.skull import skull
from medssl_jax.phantoms.shapes import Points

WITHIN = ("csf", "grey", "white", "cerebellum", "stem", "nuclei", "dura", "vein")


def test_the_mean_head_has_the_size_of_one():
    cavity = share(*WITHIN)
    # textbook means of adults: 1,400 to 1,600 ml, 170 x 135 mm inside
    assert cavity.sum() * VOXEL_ML == pytest.approx(1500, abs=120)
    assert extent_mm(cavity, 0) == pytest.approx(135, abs=6)
    assert extent_mm(cavity, 1) == pytest.approx(172, abs=6)
    head = image() > -300
    assert extent_mm(head * (Z > 10), 0) == pytest.approx(155, abs=10)


@pytest.mark.parametrize(
    ("tissues", "low_ml", "high_ml"),
    [
        (("grey", "white", "cerebellum", "stem", "nuclei"), 1100, 1350),  # the brain
        (("grey",), 380, 560),
        (("white",), 420, 640),
        (("cerebellum",), 110, 150),
        (("stem",), 20, 35),
        (("nuclei",), 25, 45),  # without the hippocampus
        (("csf",), 150, 320),
        (("eye",), 11, 17),  # two globes of 7 ml
    ],
)
def test_tissues_have_the_volumes_of_an_adults(tissues, low_ml, high_ml):
    assert low_ml < share(*tissues).sum() * VOXEL_ML < high_ml


def test_the_parts_lie_where_they_belong():
    place = {t: centre_mm(share(t)) for t in (*WITHIN, "eye", "petrous", "gas")}
    assert place["eye"][1] < -60 and place["cerebellum"][1] > 35
    for part in ("eye", "cerebellum", "petrous", "stem", "gas"):
        assert place[part][2] < -20, part  # below the cerebrum
    assert place["grey"][2] > 10 < place["white"][2]
    for part, (x, *_) in place.items():
        assert abs(x) < 1, part  # the mean head is symmetric


def test_the_cortex_is_a_folded_ribbon_around_white_matter():
    grey, white, csf = (share(t) for t in ("grey", "white", "csf"))
    convexity = (Z > 30) & (Z < 55)
    solid = (grey + white) * convexity
    depth_mm = ndimage.distance_transform_edt(solid > 0.2, sampling=SPACING_MM)
    rim, deep = (depth_mm > 0) & (depth_mm < 4), depth_mm > 9
    assert grey[rim].mean() > 1.6 * white[rim].mean()
    assert white[deep].mean() > max(0.6, 2 * grey[deep].mean())
    # folded: a smooth shell of this thickness has less of it
    smooth = share("grey", anatomy=MEAN._replace(folds=((1e-3, 0, 0, 1.5),)))
    assert (grey * convexity).sum() > 1.4 * (smooth * convexity).sum()
    # a sulcus holds fluid between gyri, far below the surface
    frame = skull(_points(), MEAN)
    inner = (frame.cavity < -10) & convexity & (np.abs(X) > 8)
    assert 0.01 < csf[inner].mean() < 0.15


def test_ventricles_are_those_of_an_adult_and_grow_with_girth():
    def volume_ml(ventricle):
        anatomy = MEAN._replace(ventricle=ventricle)
        found = brain(_points(), anatomy, skull(_points(), anatomy).cavity, _none())
        return np.sum(found.ventricles < 0) * VOXEL_ML

    assert 15 < volume_ml(1.0) < 40  # textbook: about 25 ml
    assert volume_ml(1.8) > 2.2 * volume_ml(1.0)


def test_bone_is_two_tables_with_marrow_between_and_its_thickness_differs():
    def thickness_mm(place):
        line = share("compact", "diploe")[place]
        return line.sum(axis=-1).mean() * SPACING_MM[2]

    forehead = np.abs(Y[0, :, 0]).argmin()
    k = np.abs(Z[:, 0, 0] - 20).argmin()
    side_mm = thickness_mm((slice(k, k + 1), forehead, slice(50, None)))
    assert 4 < side_mm < 9  # adults: 5 to 8 mm
    low = np.abs(Z[:, 0, 0] + 8).argmin()
    temple_mm = thickness_mm((slice(low, low + 1), forehead, slice(50, None)))
    assert temple_mm < 0.8 * side_mm
    compact, diploe = share("compact"), share("diploe")
    column = (k, forehead, slice(50, None))
    marrow, bone = diploe[column], compact[column]
    assert marrow.max() > 0.2
    within = marrow.argmax()
    assert bone[:within].sum() > 0.3 and bone[within + 1 :].sum() > 0.3


def test_heads_differ_in_what_age_changes():
    drawn = [draw_anatomy(np.random.default_rng(k)) for k in range(300)]
    age = np.array([a.age for a in drawn])
    for field in ("gap_mm", "sulcus_mm", "ventricle"):
        assert np.corrcoef(age, [getattr(a, field) for a in drawn])[0, 1] > 0.5, field
    old = MEAN._replace(gap_mm=4, sulcus_mm=1.4, ventricle=1.6)
    assert share("csf", anatomy=old).sum() > 1.4 * share("csf").sum()


def test_tissues_have_their_hu():
    hu = image()
    for tissue in ("white", "nuclei", "cerebellum", "stem", "csf", "petrous", "air"):
        full = share(tissue) > 0.999
        assert full.any(), tissue
        np.testing.assert_allclose(hu[full], ct.ATTENUATION[tissue], atol=1)
    # thin sheets and ribbons are never full, and never another thing
    assert hu.dtype == np.int16 and hu.min() >= -1000 and hu.max() <= 1500


@pytest.mark.parametrize(
    ("about", "axes"),
    [((0.1, 0, 0), (0, 1)), ((0, 0.1, 0), (0, 2)), ((0, 0, 0.1), (1, 2))],
)
def test_the_pose_turns_the_whole_head(about, axes):
    # voxels are no cubes: both are turned on a grid of equal sides
    cube = POSE._replace(size_voxels=(60, 60, 60), spacing_mm=(4, 4, 4))
    cube = cube._replace(shift_mm=(0, 0, -6))  # the head's centre in the field's
    still, posed = (
        np.clip(image(pose=cube._replace(rotation=r)), -200, 200).astype(float)
        for r in ((0, 0, 0), about)
    )
    inner = (slice(12, -12),) * 3
    degrees = np.rad2deg(0.1)
    fits = [
        np.corrcoef(
            posed[inner].ravel(),
            ndimage.rotate(still, d, axes, reshape=False, order=1)[inner].ravel(),
        )[0, 1]
        for d in (degrees, -degrees, 0)
    ]
    assert max(fits[:2]) > 0.94 and max(fits[:2]) - fits[2] > 0.03


def test_a_shift_is_in_mm():
    moved = image(pose=POSE._replace(shift_mm=(4.8, -7.2, 6)))
    still = np.roll(image(), (3, -3, 2), (0, 1, 2))
    inner = (slice(6, -6),) * 3
    np.testing.assert_allclose(moved[inner], still[inner], atol=1)


def test_thick_slices_are_means_of_thin_ones():
    size, mm = POSE.size_voxels, POSE.spacing_mm
    thin, thick = (
        POSE._replace(size_voxels=(n, *size[1:]), spacing_mm=(140 / n, *mm[1:]))
        for n in (32, 16)
    )
    assert (samples(thin), samples(thick)) == (1, 2)
    averaged = image(pose=thin).reshape(16, 2, *size[1:]).mean(axis=1)
    np.testing.assert_allclose(image(pose=thick), averaged, atol=1)


def test_slices_cover_the_brain_however_many():
    for k in range(60):
        rng = np.random.default_rng(k)
        anatomy = draw_anatomy(rng)
        pose = draw_pose(rng, anatomy, (int(rng.integers(8, 48)), 32, 32))
        covered_mm = pose.size_voxels[0] * pose.spacing_mm[0]
        # of the mean head's 136 mm from the foramen magnum to the vertex
        assert 122 <= covered_mm / (anatomy.size * anatomy.height) <= 134
        assert pose.spacing_mm[0] / samples(pose) <= 5


def test_noise_is_gaussian_and_larger_behind_more_bone():
    plain, noisy = image().astype(float), image(noise=4.0, noise_seed=1)
    noise = noisy - plain
    # rounded twice: 1 / 6 of variance
    bone = np.clip(plain - 300, 0, 1500).mean(axis=(1, 2))
    air = plain > -900
    for k in range(0, len(plain), 7):
        expected = np.sqrt((4 * (1 + bone[k] / 300)) ** 2 + 1 / 6)
        assert noise[k][air[k]].std() == pytest.approx(expected, rel=0.05)
    # tissues of half a unit are rounded down when there is no noise
    assert noise[air].mean() == pytest.approx(0, abs=0.25)


def test_beams_harden_between_the_petrous_bones():
    dark = image(hardening=8.0).astype(float) - image()
    between = (np.abs(X) < 12) & (np.abs(Z + 34) < 4) & (np.abs(Y - 14) < 8)
    vertex = (Z > 45) & (np.abs(X) < 12) & (np.abs(Y) < 30)
    assert dark[between].mean() < -2 and np.abs(dark[vertex]).mean() < 0.6


def test_cupping_brightens_the_brain_beside_bone():
    bright = image(cupping=14.0).astype(float) - image()
    frame = skull(_points(), MEAN)
    convexity = (Z > 20) & (Z < 50)
    near = convexity & (frame.cavity < -1) & (frame.cavity > -4)
    far = convexity & (frame.cavity < -15)
    assert bright[near].mean() > 1 and np.abs(bright[far]).max() <= 1


def test_motion_lays_a_moved_copy_over_its_slices_alone():
    plain, moved = image().astype(float), image(motion=((30, 0.4, 2, -1),))
    copy = 0.6 * plain[30] + 0.4 * np.roll(plain[30], (2, -1), (0, 1))
    np.testing.assert_allclose(moved[30], copy, atol=1.1)
    np.testing.assert_array_equal(np.delete(moved, 30, 0), np.delete(plain, 30, 0))


@pytest.mark.parametrize(
    ("shown", "tissue", "place_mm", "within_mm"),
    [
        ({"pineal_mm": 3.0}, "calcium", (0, 27, 2), 2),
        ({"plexus_mm": (0.0, 4.0)}, "calcium", (22, 36, 7), 2),
        ({"pallidum": 0.3}, "calcium", (0, -2, 3), 2),  # on both sides alike
        ({"plaques": ((-20.0, 50.0, 4.0),)}, "calcium", (0, -20, 50), 3),
        ({"infarcts": (Lesion((35, 40, 30), 12, 1.0),)}, "infarct", (35, 40, 30), 4),
        ({"meningioma": Lesion((55, 10, 42), 10, 1.0)}, "tumour", (50, 9, 38), 6),
        ({"pallor": 0.8}, "oedema", (0, 8, 10), 8),
    ],
)
def test_what_is_no_blood_lies_where_it_belongs(shown, tissue, place_mm, within_mm):
    mimics = PLAIN._replace(**shown)
    found = share(tissue, mimics=mimics)
    assert share(tissue).sum() == 0 < found.sum()
    assert np.abs(centre_mm(found) - place_mm).max() < within_mm
    change = image(mimics=mimics).astype(float) - image()
    assert change[found < 1e-3].max() <= 1  # and nothing else is changed
    assert (change[found > 0.5].mean() if (found > 0.5).any() else 1) != 0


def test_a_blow_swells_the_scalp_outside_the_skull():
    mimics = PLAIN._replace(swelling=Lesion((68, 0, 20), 20, 1.0), swollen_mm=8.0)
    change = share("swelling", mimics=mimics)
    assert share("swelling").sum() == 0 and 1 < change.sum() * VOXEL_ML < 40
    assert change[share(*WITHIN) > 0].max() == 0
    assert np.abs(centre_mm(change) - (80, 0, 22)).max() < 8


def test_dense_veins_are_a_setting_of_the_patient():
    full = share("vein") > 0.999
    assert full.any() and centre_mm(full)[1] > 20
    np.testing.assert_allclose(
        image(mimics=PLAIN._replace(vein_hu=70))[full], 70, atol=2
    )


def _points():
    return Points(*(q.astype(np.float32) for q in (X, Y, Z)))


def _none():
    return np.zeros((1, 1, 1), np.float32)


def test_the_perfect_scan_is_one_that_draws_could_have_made():
    """So that nothing above is tested on settings that no source has."""
    rng = np.random.default_rng(0)
    pose = draw_pose(rng, MEAN, (16, 64, 64))
    scan = ct.draw_scan(rng, pose)
    assert scan.hu.keys() == CT.hu.keys() and scan._fields == CT._fields
