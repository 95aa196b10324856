"""Phantom knees as a source: what is random, what is fixed, what a probe can see."""

import pickle
import time

import numpy as np
import pytest
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medssl_jax.data.sources.phantom import REVISION, phantom
from medssl_jax.errors import ConfigError

SIZE = (12, 32, 32)


def knees(count=64, seed=0, **settings):
    return phantom(count=count, seed=seed, **{"size_voxels": SIZE} | settings)


def test_an_example_depends_on_seed_and_index_alone():
    source = knees()
    fifth = source[5]
    for i in (63, 0, 5):
        source[i]
    again = knees(count=6)[5]  # a fresh, shorter source, nothing drawn before
    np.testing.assert_array_equal(fifth["image"], again["image"])
    assert fifth["spacing_mm"] == again["spacing_mm"]
    np.testing.assert_array_equal(knees(count=6).labels, source.labels[:6])
    for other in (source[6], knees(seed=1)[5]):
        assert other["spacing_mm"] != fifth["spacing_mm"]


def test_records_are_raw_volumes_with_their_spacing():
    source = knees(count=32)
    scales = []
    for i in range(len(source)):
        image, spacing_mm = source[i]["image"], source[i]["spacing_mm"]
        assert image.dtype == np.float32 and image.shape[1:] == (32, 32, 1)
        assert np.isfinite(image).all() and image.min() >= 0
        coverage_mm = [n * mm for n, mm in zip(image.shape, spacing_mm, strict=False)]
        assert 84 <= coverage_mm[0] <= 108 and 130 <= coverage_mm[1] <= 180
        scales.append(image.max())
    assert max(scales) > 30 * min(scales)  # MR intensities have no unit


def test_slice_counts_vary_unless_they_are_fixed():
    counts = [len(knees()[i]["image"]) for i in range(64)]
    assert min(counts) == 12 and max(counts) >= 23 and len(set(counts)) > 8
    fixed = knees(count=8, fixed_slices=True)
    assert {fixed[i]["image"].shape for i in range(8)} == {(*SIZE, 1)}


@pytest.mark.parametrize("tear_fraction", [0.0, 0.18, 0.5, 1.0])
def test_tears_are_as_frequent_as_asked(tear_fraction):
    labels = knees(count=2000, tear_fraction=tear_fraction).labels
    assert labels.dtype == np.int64
    within = stats.binom(2000, tear_fraction).interval(0.9999)
    assert within[0] <= labels.sum() <= within[1]


def test_both_knees_of_a_patient_share_the_anatomy_and_nothing_else():
    source = knees(count=40, knees_per_patient=2)
    assert source.patients == [f"patient-0-{i // 2:06d}" for i in range(40)]
    pairs = [(source.draw(i), source.draw(i + 1)) for i in range(0, 40, 2)]
    assert all(a[0] == b[0] and a[2] != b[2] for a, b in pairs)
    assert len({a[0] for a, _ in pairs}) == 20
    assert any(source.labels[0::2] != source.labels[1::2])
    others = knees(seed=1)
    assert not set(source.patients) & set(others.patients)
    assert not {source.draw(i)[0] for i in range(40)} & {
        others.draw(i)[0] for i in range(40)
    }


def test_names_and_stamps_tell_examples_apart():
    source = knees()
    assert source.name(12) == "phantom-000012"
    stamps = {source.stamp(i) for i in range(64)} | {knees(seed=1).stamp(0)}
    stamps |= {knees(size_voxels=(12, 16, 16)).stamp(0)}
    assert len(stamps) == 66
    assert source.stamp(3) == knees(count=4).stamp(3)


def test_a_source_crosses_to_worker_processes():
    source = knees(count=4)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_pictures_change_only_with_the_revision():
    # caches of phantoms look at REVISION: raise it when these figures have to move
    image = knees(count=8)[7]["image"]
    figures = [len(image), image.mean(), image.std(), image[6, 16, 16, 0]]
    np.testing.assert_allclose(figures, FIGURES[REVISION], rtol=1e-4)


def test_no_sign_is_proof_yet_all_together_nearly_are():
    train, test = knees(count=800), knees(count=800, seed=1)
    signs, more = (np.stack([*s.signs.values()], axis=1) for s in (train, test))
    assert signs.shape == (800, len(train.signs))
    single = [roc_auc_score(train.labels, column) for column in signs.T]
    assert max(single) < 0.95
    forest = GradientBoostingClassifier(random_state=0).fit(signs, train.labels)
    assert roc_auc_score(test.labels, forest.predict_proba(more)[:, 1]) > 0.95
    healthy, torn = train.labels == 0, train.labels == 1
    effusion, bruise = train.signs["effusion_mm"], train.signs["bruise_tibia"]
    assert 0.15 < np.mean(effusion[healthy] > 3) < 0.35
    assert 0.75 < np.mean(effusion[torn] > 3) < 0.95
    assert 0.02 < np.mean(bruise[healthy] > 0) < 0.15
    assert np.mean(train.signs["spots"][healthy] > 0) > 0.3
    intact = (train.signs["gap"] == 0) & (train.signs["wave_mm"] == 0)
    assert 0.08 < np.mean(intact[torn]) < 0.25


@pytest.mark.slow
def test_pixels_tell_a_little_and_not_enough():
    (x, y), (more, truth) = pixels(knees(300)), pixels(knees(300, seed=1))
    probe = make_pipeline(
        PCA(64, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000)
    ).fit(x, y)
    assert 0.55 < roc_auc_score(truth, probe.decision_function(more)) < 0.8


def pixels(source):
    images = []
    for i in range(len(source)):
        image = source[i]["image"]
        frames = np.linspace(0, len(image) - 1, 12).round().astype(int)
        low, high = np.percentile(image, (0.5, 99.5))
        images.append(np.clip((image[frames] - low) / (high - low), 0, 1).ravel())
    return np.stack(images), source.labels


def test_an_example_is_made_in_milliseconds():
    source = knees(count=40, fixed_slices=True)
    source[0]
    start = time.process_time()
    for i in range(40):
        source[i]
    # 3 ms without the annotations' checks, on one core
    assert (time.process_time() - start) / 40 < 0.04


@pytest.mark.parametrize(
    "settings, field",
    [
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"knees_per_patient": 0}, "knees_per_patient"),
        ({"size_voxels": (32, 32)}, "size_voxels"),
        ({"size_voxels": (0, 32, 32)}, "size_voxels"),
        ({"tear_fraction": 1.5}, "tear_fraction"),
    ],
)
def test_a_number_out_of_range_is_named(settings, field):
    with pytest.raises(ConfigError, match=f"data.{field}"):
        knees(**settings)


def test_there_is_nothing_past_the_end():
    with pytest.raises(IndexError, match="no example 4 among 4"):
        knees(count=4)[4]


# slices, mean, deviation and one voxel of an example, per REVISION
FIGURES = {1: (12, 55.4727, 24.3978, 96.5295)}
