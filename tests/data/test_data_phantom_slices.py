"""Phantom slices: what the images of a patient share, and what they do not."""

import itertools
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

from medssl_jax.data.sources.phantom import phantom
from medssl_jax.data.sources.phantom_slices import phantom_slices
from medssl_jax.errors import ConfigError


def slices(count=64, seed=0, **settings):
    return phantom_slices(
        count=count, seed=seed, **{"size_pixels": (48, 40)} | settings
    )


def of_patients(source):
    """Return the indices of each patient's images."""
    groups = itertools.groupby(range(len(source)), key=lambda i: source.patients[i])
    return [list(group) for _, group in groups]


def test_an_example_depends_on_seed_and_index_alone():
    source = slices()
    fifth = source[5]
    for i in (63, 0, 5):
        source[i]
    again = slices(count=6)[5]  # a fresh, shorter source, nothing drawn before
    np.testing.assert_array_equal(fifth["image"], again["image"])
    assert slices(count=6).patients == source.patients[:6]
    np.testing.assert_array_equal(slices(count=6).labels, source.labels[:6])


def test_records_are_raw_images_with_their_spacing():
    source = slices()
    for i in range(8):
        image, spacing_mm = source[i]["image"], source[i]["spacing_mm"]
        assert image.shape == (48, 40, 1) and image.dtype == np.float32
        assert np.isfinite(image).all() and image.min() >= 0
        field_mm = np.array(spacing_mm) * (48, 40)
        assert 130 <= field_mm[0] <= 180 and np.isclose(*field_mm)


def test_a_patient_is_one_knee_with_one_label():
    source = slices(count=200, images_per_patient=(2, 5))
    for images in of_patients(source):
        drawn = [source.draw(i) for i in images]
        assert len({(anatomy, signs) for anatomy, signs, _ in drawn}) == 1
        assert len({scan.left for _, _, scan in drawn}) == 1
        assert len({source.labels[i] for i in images}) == 1
    knees = {source.draw(images[0])[0] for images in of_patients(source)}
    assert len(knees) == len(of_patients(source))


def test_two_images_of_a_patient_differ_in_all_that_a_new_scan_changes():
    source = slices(count=40, images_per_patient=(2, 2))
    for first, second in of_patients(source):
        a, b = source.draw(first)[2], source.draw(second)[2]
        for field in (
            "shift_mm",
            "rotation",
            "flexion",
            "signal",
            "bias",
            "spacing_mm",
        ):
            assert getattr(a, field) != getattr(b, field), field
        assert a.noise_seed != b.noise_seed
        images = [source[i]["image"].ravel() for i in (first, second)]
        assert np.corrcoef(images)[0, 1] < 0.99


def test_every_slice_passes_near_the_ligament():
    # its fibres run from 6 mm lateral to 2 mm medial of the knee's middle
    source = slices(count=300)
    for i in range(len(source)):
        anatomy, _, scan = source.draw(i)
        side = 1 if scan.left else -1
        lateral_mm = -side * scan.shift_mm[0] / anatomy.size / anatomy.width
        assert -8 < lateral_mm < 13
    assert scan.slices == 1 and 2 < scan.spacing_mm[0] < 6


def test_the_numbers_of_images_are_as_asked_and_all_of_them_come():
    source = slices(count=1000, images_per_patient=(1, 4))
    *sizes, last = [len(images) for images in of_patients(source)]
    assert stats.chisquare(np.bincount(sizes)[1:]).pvalue > 1e-3
    assert set(sizes) == {1, 2, 3, 4} and 1 <= last <= 4
    assert len(set(source.patients)) == len(sizes) + 1


def test_half_of_the_patients_have_a_tear_unless_asked_otherwise():
    for settings, fraction in (({}, 0.5), ({"tear_fraction": 0.2}, 0.2)):
        source = slices(count=4000, **settings)
        labels = np.array([source.labels[images[0]] for images in of_patients(source)])
        low, high = stats.binom(len(labels), fraction).interval(0.9999)
        assert low <= labels.sum() <= high
        assert abs(source.labels.mean() - fraction) < 0.05
    assert source.labels.dtype == np.int64


def test_sources_of_other_seeds_share_nothing():
    source, other = slices(seed=0), slices(seed=1)
    assert not set(source.patients) & set(other.patients)
    knees = [{s.draw(i)[0] for i in range(64)} for s in (source, other)]
    volumes = phantom(count=64, seed=0, size_voxels=(12, 32, 32))
    knees.append({volumes.draw(i)[0] for i in range(64)})
    assert all(not a & b for a, b in itertools.combinations(knees, 2))


def test_scanners_see_the_same_knees():
    mr, ct, us = (slices(count=12, scanner=name) for name in ("mr", "ct", "us"))
    for source in (ct, us):
        assert source.patients == mr.patients and source.stamp(0) != mr.stamp(0)
        np.testing.assert_array_equal(source.labels, mr.labels)
        for i in range(12):
            (*knee, scan), (*same, seen) = mr.draw(i), source.draw(i)
            assert knee == same and scan.signal != seen.signal
            assert (scan.left, scan.shift_mm) == (seen.left, seen.shift_mm)
    assert us.draw(0)[2].speckle and not ct.draw(0)[2].speckle
    with pytest.raises(ConfigError, match=r"data\.scanner 'pet'"):
        slices(scanner="pet")


def test_names_and_stamps_tell_examples_apart():
    source = slices()
    assert source.name(12) == "phantom-slice-000012"
    stamps = {source.stamp(i) for i in range(64)} | {slices(seed=1).stamp(0)}
    stamps |= {slices(size_pixels=(32, 40)).stamp(0)}
    assert len(stamps) == 66
    assert source.stamp(3) == slices(count=4).stamp(3)


def test_a_source_crosses_to_worker_processes():
    source = slices(count=4)
    copy = pickle.loads(pickle.dumps(source))
    np.testing.assert_array_equal(copy[3]["image"], source[3]["image"])


def test_pictures_change_only_with_the_revision():
    # caches look at REVISION and at phantom's: raise one when these have to move
    image = slices(count=8)[7]["image"]
    figures = [image.mean(), image.std(), image[24, 20, 0]]
    np.testing.assert_allclose(figures, FIGURES, rtol=1e-4)


@pytest.mark.slow
def test_pixels_tell_a_little_and_not_enough():
    (x, y), (more, truth) = pixels(slices(600)), pixels(slices(600, seed=1))
    probe = make_pipeline(
        PCA(64, random_state=0), StandardScaler(), LogisticRegression(max_iter=2000)
    ).fit(x, y)
    assert 0.55 < roc_auc_score(truth, probe.decision_function(more)) < 0.85


def pixels(source):
    images = np.stack([source[i]["image"].ravel() for i in range(len(source))])
    low, high = np.percentile(images, (0.5, 99.5), axis=1, keepdims=True)
    return np.clip((images - low) / (high - low), 0, 1), source.labels


def test_an_example_is_made_in_milliseconds():
    source = slices(count=40, size_pixels=(64, 64))
    source[0]
    start = time.process_time()
    for i in range(40):
        source[i]
    # 1 ms without the annotations' checks, on one core
    assert (time.process_time() - start) / 40 < 0.02


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"count": 0}, "count"),
        ({"seed": -1}, "seed"),
        ({"size_pixels": (12, 32, 32)}, "size_pixels"),
        ({"size_pixels": (0, 32)}, "size_pixels"),
        ({"images_per_patient": (0, 2)}, "images_per_patient"),
        ({"images_per_patient": (3, 2)}, "images_per_patient"),
        ({"images_per_patient": (3,)}, "images_per_patient"),
        ({"tear_fraction": 1.5}, "tear_fraction"),
    ],
)
def test_a_number_out_of_range_is_named(settings, field):
    with pytest.raises(ConfigError, match=f"data.{field}"):
        slices(**settings)


def test_there_is_nothing_past_the_end():
    with pytest.raises(IndexError, match="no example 4 among 4"):
        slices(count=4)[4]


# mean, deviation and one pixel of an example
FIGURES = (1033.2, 278.863, 1228.45)
