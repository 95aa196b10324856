"""Phantom brains as a source: masks, labels, what a probe can see."""

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

from medssl_jax.data.sources.phantom_brains import REVISION, phantom_brains
from medssl_jax.data.sources.phantom_heads import phantom_heads
from medssl_jax.errors import ConfigError

SIZE = (16, 48, 40)


def brains(count=24, seed=0, **settings):
    return phantom_brains(count=count, seed=seed, **{"size_voxels": SIZE} | settings)


def test_an_example_depends_on_seed_and_index_alone():
    source = brains()
    fifth = source[5]
    for i in (23, 0, 5):
        source[i]
    again = brains(count=6)[5]  # a fresh, shorter source, nothing drawn before
    np.testing.assert_array_equal(fifth["image"], again["image"])
    np.testing.assert_array_equal(fifth["mask"], again["mask"])
    np.testing.assert_array_equal(brains(count=6).labels, source.labels[:6])


def test_records_are_raw_volumes_with_masks_and_spacing():
    source = brains()
    scales = []
    for i in range(24):
        record = source[i]
        image, mask = record["image"], record["mask"]
        assert image.shape == (*SIZE, 1) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0
        assert mask.shape == SIZE and mask.dtype == np.uint8 and mask.max() <= 1
        covered_mm = np.array(record["spacing_mm"]) * SIZE
        assert 100 < covered_mm[0] < 155 and (covered_mm[1:] > 210).all()
        scales.append(image.max())
    assert max(scales) > 20 * min(scales)  # MR intensities have no unit
    assert source.has_masks and source.class_names == ("background", "metastasis")


@pytest.mark.parametrize("size_voxels", [SIZE, (40, 56, 48), (9, 64, 64)])
def test_a_label_says_what_the_mask_shows(size_voxels):
    source = brains(count=40, seed=2, size_voxels=size_voxels)
    shown = [source[i]["mask"].max() for i in range(40)]
    np.testing.assert_array_equal(shown, source.labels)


def test_every_metastasis_is_within_the_slices():
    source = brains(count=60, metastasis_fraction=1.0)
    for i in range(60):
        anatomy, lesions, *_, scan = source.draw(i)
        voxels = source[i]["mask"].sum()
        volume_mm3 = sum(4 / 3 * np.pi * lesion.radius_mm**3 for lesion in lesions)
        volume_mm3 *= anatomy.size**3 * anatomy.width * anatomy.length * anatomy.height
        voxel_mm3 = np.prod(scan.pose.spacing_mm)
        # one at the surface is cut off there; a small one has some voxels of its own
        assert voxels * voxel_mm3 > 0.4 * volume_mm3
        assert voxels * voxel_mm3 < 1.5 * volume_mm3 + 4 * len(lesions) * voxel_mm3


def test_half_of_the_brains_have_metastases_unless_asked_otherwise():
    for settings, fraction in (({}, 0.5), ({"metastasis_fraction": 0.2}, 0.2)):
        labels = brains(count=2000, **settings).labels
        low, high = stats.binom(2000, fraction).interval(0.9999)
        assert low <= labels.sum() <= high and labels.dtype == np.int64


def test_a_brain_without_metastases_is_the_same_otherwise():
    ill, well = (brains(count=8, metastasis_fraction=f) for f in (1.0, 0.0))
    for i in range(8):
        anatomy, lesions, *rest = ill.draw(i)
        same, none, *others = well.draw(i)
        assert anatomy == same and rest == others and lesions and not none
        changed = (
            np.abs(ill[i]["image"] - well[i]["image"]) > 0.02 * ill[i]["image"].max()
        )
        assert changed.any() and changed.mean() < 0.2


def test_sources_of_other_seeds_and_heads_share_nothing():
    source, other = brains(), brains(seed=1)
    ct = phantom_heads(count=24, seed=0, size_voxels=SIZE)
    drawn = [{s.draw(i)[0] for i in range(24)} for s in (source, other, ct)]
    patients = [set(s.patients) for s in (source, other, ct)]
    for a, b in ((0, 1), (0, 2)):
        assert not drawn[a] & drawn[b] and not patients[a] & patients[b]
    assert len(patients[0]) == 24


def test_names_and_stamps_tell_examples_apart():
    source = brains()
    assert source.name(12) == "phantom-brain-000012"
    stamps = {source.stamp(i) for i in range(24)} | {brains(seed=1).stamp(0)}
    stamps |= {brains(size_voxels=(16, 32, 32)).stamp(0)}
    assert len(stamps) == 26
    assert source.stamp(3) == brains(count=4).stamp(3)


def test_a_source_crosses_to_worker_processes():
    source = brains(count=4)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_a_mask_is_written_as_an_array(tmp_path):
    source = brains(count=4)
    path = source.write_mask(source.name(3), source[3]["mask"], tmp_path)
    assert path == tmp_path / "phantom-brain-000003.npy"
    np.testing.assert_array_equal(np.load(path), source[3]["mask"])


def test_pictures_change_only_with_the_revision():
    # caches of phantoms look at REVISION: raise it when these figures have to move
    record = brains(count=8, metastasis_fraction=1.0)[7]
    image = record["image"]
    figures = [image.mean(), image.std(), image[8, 24, 20, 0], record["mask"].sum()]
    np.testing.assert_allclose(figures, FIGURES[REVISION], rtol=1e-3)


@pytest.mark.slow
def test_neither_pixels_nor_place_nor_brightness_finds_the_slices():
    (x, y), (more, truth) = (
        seen(brains(200, s, size_voxels=(16, 64, 64))) for s in (0, 1)
    )
    assert 0.05 < y.mean() < 0.2
    probe = make_pipeline(
        PCA(64, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000)
    ).fit(x, y)
    assert roc_auc_score(truth, probe.decision_function(more)) < 0.7
    place = np.tile(y.reshape(-1, 16).mean(axis=0), len(truth) // 16)
    assert roc_auc_score(truth, place) < 0.75
    assert roc_auc_score(truth, np.quantile(more, 0.995, axis=1)) < 0.7


def seen(source):
    """Return the slices of all brains, each in its percentiles, and their labels."""
    records = [source[i] for i in range(len(source))]
    slices = []
    for record in records:
        low, high = np.percentile(record["image"], (0.5, 99.5))
        image = np.clip((record["image"] - low) / (high - low), 0, 1)
        slices.append(image.reshape(len(image), -1))
    shown = np.concatenate([r["mask"].max(axis=(1, 2)) for r in records])
    return np.concatenate(slices), shown


def test_an_example_is_made_in_a_tenth_of_a_second():
    source = brains(count=6, size_voxels=(16, 64, 64))
    source[0]
    start = time.process_time()
    for i in range(6):
        source[i]
    # 0.09 s without the annotations' checks, on one core
    assert (time.process_time() - start) / 6 < 0.5


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"size_voxels": (32, 32)}, "size_voxels"),
        ({"size_voxels": (0, 32, 32)}, "size_voxels"),
        ({"metastasis_fraction": 1.5}, "metastasis_fraction"),
    ],
)
def test_a_number_out_of_range_is_named(settings, field):
    with pytest.raises(ConfigError, match=f"data.{field}"):
        brains(**settings)


def test_there_is_nothing_past_the_end():
    with pytest.raises(IndexError, match="no example 4 among 4"):
        brains(count=4)[4]


# mean, deviation, one voxel and the mask's voxels of an example, per REVISION
FIGURES = {1: (191.3165, 200.0477, 467.8235, 2)}
