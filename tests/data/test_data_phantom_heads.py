"""Phantom heads as a source: findings, slices, what is unknown, what pixels tell."""

import pickle
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl_jax.data.source import UNLABELLED, has_findings
from medssl_jax.data.sources.phantom_heads import LEAST_MM2, REVISION, phantom_heads
from medssl_jax.errors import ConfigError
from medssl_jax.phantoms.head.blood import KINDS
from medssl_jax.phantoms.head.ct import acquire

SIZE = (16, 48, 40)


def heads(count=24, seed=0, **settings):
    return phantom_heads(count=count, seed=seed, **{"size_voxels": SIZE} | settings)


def test_an_example_depends_on_seed_and_index_alone():
    source = heads()
    fifth = source[5]
    for i in (23, 0, 5):
        source[i]
    again = heads(count=6)[5]  # a fresh, shorter source, nothing drawn before
    np.testing.assert_array_equal(fifth["image"], again["image"])
    np.testing.assert_array_equal(fifth["planes"], again["planes"])
    np.testing.assert_array_equal(heads(count=6).labels, source.labels[:6])
    for other in (source[6], heads(seed=1)[5]):
        assert other["spacing_mm"] != fifth["spacing_mm"]


def test_records_are_volumes_in_hu_with_their_spacing():
    source = heads(count=12)
    for i in range(12):
        record = source[i]
        image, spacing_mm = record["image"], record["spacing_mm"]
        assert image.shape == (*SIZE, 1) and image.dtype == np.int16
        assert -1024 <= image.min() < -900 and 700 < image.max() < 2200
        brain = image[8, 20:28, 16:24].astype(float)
        assert 15 < np.median(brain) < 45
        covered_mm = np.array(spacing_mm) * SIZE
        assert 100 < covered_mm[0] < 155 and (covered_mm[1:] > 210).all()


def test_any_blood_is_what_the_five_kinds_say():
    source = heads(count=1500)
    labels = source.labels
    assert has_findings(source) and source.label_names == ("any", *KINDS)
    assert labels.dtype == np.int64 and labels.shape == (1500, 6)
    np.testing.assert_array_equal(labels[:, 0], labels[:, 1:].max(axis=1))
    within = stats.binom(1500, 0.5).interval(0.9999)
    assert within[0] <= labels[:, 0].sum() <= within[1]
    assert (labels[:, 1:].sum(axis=0) > 80).all()
    assert heads(count=50, bleeding_fraction=0.0).labels.max() == 0
    assert heads(count=50, bleeding_fraction=1.0).labels[:, 0].min() == 1


def test_slices_show_blood_where_there_is_enough_of_it():
    source = heads(count=24)
    for i in range(24):
        planes = source[i]["planes"]
        drawn = source.draw(i)
        _, rows_mm, columns_mm = drawn[-1].pose.spacing_mm
        area_mm2 = acquire(*drawn)[1].sum(axis=(1, 2)) * rows_mm * columns_mm
        assert planes.shape == SIZE[:1] and planes.dtype == np.int32
        np.testing.assert_array_equal(planes, area_mm2 >= LEAST_MM2)


@pytest.mark.parametrize("size_voxels", [SIZE, (40, 56, 48), (9, 64, 64)])
def test_a_head_bleeds_where_one_of_its_slices_shows_it(size_voxels):
    source = heads(count=60, seed=5, size_voxels=size_voxels)
    shown = [source[i]["planes"].max() for i in range(60)]
    np.testing.assert_array_equal(shown, source.labels[:, 0])


def test_every_kind_that_a_head_shows_is_to_be_seen():
    """The labels are drawn before a picture is made: it has to keep to them."""
    source = heads(count=60, seed=3)
    for i in range(60):
        anatomy, bleeding, mimics, scan = source.draw(i)
        for kind, bleed, label in zip(
            KINDS, bleeding, source.labels[i, 1:], strict=True
        ):
            assert bool(bleed) == label, kind
            if bleed:
                empty = type(bleeding)()
                alone = empty._replace(**{kind: bleed})
                share = acquire(anatomy, alone, mimics, scan)[1]
                assert share.sum() * np.prod(scan.pose.spacing_mm) > 400, kind  # mm3


def test_what_nobody_labelled_is_unknown_and_the_rest_is_as_before():
    plain, source = heads(count=600), heads(600, unknown_planes=0.3, unknown_types=0.6)
    unknown = (source.labels[:, 1:] == UNLABELLED).all(axis=1)
    low, high = stats.binom(600, 0.6).interval(0.9999)
    assert low <= unknown.sum() <= high
    np.testing.assert_array_equal(source.labels[~unknown], plain.labels[~unknown])
    np.testing.assert_array_equal(source.labels[:, 0], plain.labels[:, 0])
    hidden = 0
    for i in range(20):
        planes, known = source[i]["planes"], plain[i]["planes"]
        np.testing.assert_array_equal(source[i]["image"], plain[i]["image"])
        missing = (planes == UNLABELLED).all()
        hidden += missing
        assert missing or (planes == known).all()
        assert (source.stamp(i) != plain.stamp(i)) == missing
    assert 1 <= hidden <= 14
    none = heads(count=3, unknown_planes=1.0)
    assert all((none[i]["planes"] == UNLABELLED).all() for i in range(3))


def test_healthy_heads_have_what_looks_like_blood():
    source = heads(count=400, bleeding_fraction=0.0)
    mimics = [source.draw(i)[2] for i in range(400)]
    assert 0.5 < np.mean([m.pineal_mm > 0 for m in mimics]) < 0.7
    assert 0.2 < np.mean([m.plexus_mm[0] > 0 for m in mimics]) < 0.5
    for kind in ("plaques", "infarcts", "pallidum", "swelling"):
        assert 0.1 < np.mean([bool(getattr(m, kind)) for m in mimics]) < 0.7, kind
    assert 0.01 < np.mean([m.meningioma is not None for m in mimics]) < 0.12
    veins = np.array([m.vein_hu for m in mimics])
    assert veins.min() < 47 and veins.max() > 68
    for i in range(20):  # voxels as bright as blood, and no slice that shows any
        record = source[i]
        hu = record["image"]
        assert np.sum((hu > 55) & (hu < 90)) > 20 and not record["planes"].any()


def test_sources_of_other_seeds_share_nothing():
    source, other = heads(), heads(seed=1)
    assert not set(source.patients) & set(other.patients)
    assert len(set(source.patients)) == 24
    drawn = [{s.draw(i)[0] for i in range(24)} for s in (source, other)]
    assert not drawn[0] & drawn[1]


def test_names_and_stamps_tell_examples_apart():
    source = heads()
    assert source.name(12) == "phantom-head-000012"
    stamps = {source.stamp(i) for i in range(24)} | {heads(seed=1).stamp(0)}
    stamps |= {heads(size_voxels=(16, 32, 32)).stamp(0)}
    assert len(stamps) == 26
    assert source.stamp(3) == heads(count=4).stamp(3)


def test_a_source_crosses_to_worker_processes():
    source = heads(count=4)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_pictures_change_only_with_the_revision():
    # caches of phantoms look at REVISION: raise it when these figures have to move
    record = heads(count=8)[7]
    image = record["image"].astype(float)
    figures = [image.mean(), image.std(), image[8, 24, 20, 0], record["planes"].sum()]
    np.testing.assert_allclose(figures, FIGURES[REVISION], rtol=1e-3)


@pytest.mark.slow
def test_pixels_do_not_tell_and_the_blood_does():
    train, test = (heads(300, seed, size_voxels=(16, 64, 64)) for seed in (0, 1))
    (x, blood), (more, shown) = seen(train), seen(test)
    probe = make_pipeline(
        PCA(64, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000)
    ).fit(x, train.labels[:, 0])
    assert roc_auc_score(test.labels[:, 0], probe.decision_function(more)) < 0.7
    assert roc_auc_score(train.labels[:, 0], blood) == 1.0
    assert roc_auc_score(test.labels[:, 0], shown) == 1.0


def seen(source):
    """Return pixels in the window of centre 55 and width 200, and slices with blood."""
    records = [source[i] for i in range(len(source))]
    pixels = [np.clip((r["image"].ravel() + 45.0) / 200, 0, 1) for r in records]
    return np.float32(pixels), [r["planes"].sum() for r in records]


def test_an_example_is_made_in_a_tenth_of_a_second():
    source = heads(count=6, size_voxels=(16, 64, 64))
    source[0]
    start = time.process_time()
    for i in range(6):
        source[i]
    # 0.06 s without the annotations' checks, on one core
    assert (time.process_time() - start) / 6 < 0.4


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"size_voxels": (32, 32)}, "size_voxels"),
        ({"size_voxels": (0, 32, 32)}, "size_voxels"),
        ({"bleeding_fraction": 1.5}, "bleeding_fraction"),
        ({"unknown_planes": -0.1}, "unknown_planes"),
        ({"unknown_types": 2.0}, "unknown_types"),
    ],
)
def test_a_number_out_of_range_is_named(settings, field):
    with pytest.raises(ConfigError, match=f"data.{field}"):
        heads(**settings)


def test_there_is_nothing_past_the_end():
    with pytest.raises(IndexError, match="no example 4 among 4"):
        heads(count=4)[4]


# mean, deviation, one voxel and slices with blood of an example, per REVISION
FIGURES = {1: (-502.333, 600.957, 22, 14)}
