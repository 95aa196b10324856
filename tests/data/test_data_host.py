"""Resampling, windows, frames and crops, against what can be worked out by hand."""

import pickle

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from medssl_jax import resolve
from medssl_jax.data.draw import Draw
from medssl_jax.data.host import HostTransform, Prepare, check
from medssl_jax.data.resample import resample
from medssl_jax.data.resize import resize
from medssl_jax.errors import ConfigError, DataError


def ramp(*shape):
    return np.arange(np.prod(shape)).reshape(*shape, 1)


def test_resampled_voxels_lie_where_the_docstring_says():
    old, new, n = 0.7, 0.5, 9
    values = np.random.RandomState(0).randn(n).astype(np.float32)
    image = np.tile(values[:, None, None, None], (1, 2, 2, 1))
    result = resample(image, (old, 1.0, 1.0), (new, None, None))[:, 0, 0, 0]
    count = round(n * old / new)
    centres_mm = (np.arange(count) - (count - 1) / 2) * new
    grid_mm = (np.arange(n) - (n - 1) / 2) * old
    inside = np.abs(centres_mm) <= grid_mm[-1]
    reference = RegularGridInterpolator((grid_mm,), values)(centres_mm[inside, None])
    assert len(result) == count
    np.testing.assert_allclose(result[inside], reference, atol=1e-5)
    np.testing.assert_allclose(result[~inside], values[[0, -1]], atol=1e-5)


def test_coarser_voxels_are_smoothed_first():
    # the new voxels lie on old ones, which alternate: unsmoothed, so would they
    image = np.tile(np.array([0.0, 1.0], np.float32), 32)[:63, None, None, None]
    image = np.broadcast_to(image, (63, 2, 2, 1))
    result = resample(image, (1.0, 1.0, 1.0), (3.0, None, None))
    np.testing.assert_allclose(result[2:-2], 0.5, atol=0.01)


def test_spacing_that_differs_by_rounding_only_changes_nothing():
    image = ramp(3, 4, 5).astype(np.int16)
    assert resample(image, (2 / 3, 0.5, 0.5), (0.6667, None, 0.5)) is image


@pytest.mark.parametrize(
    "shape, spacing_mm",
    [((4, 4, 4), (12.0, 11.0, 10.0)), ((1100, 1000, 1000), (1, 1, 1))],
)
def test_a_spacing_that_would_take_all_memory_is_refused(shape, spacing_mm):
    """By how much it grows, of a small one; of a large one by what it would be."""
    image = np.broadcast_to(np.uint8(1), (*shape, 1))
    record = {"image": image, "spacing_mm": spacing_mm}
    with pytest.raises(DataError, match="is the spacing in its header right"):
        Prepare(3, (1.0, 1.0, 0.99), "none")(record)


def test_numbers_in_the_unit_interval_stay_without_a_window():
    image = np.array([[0.25, 1.0], [0.5, 0.0]])[..., None]
    result = Prepare(2, None, "none")({"image": image})["image"]
    assert result.dtype == np.float16
    np.testing.assert_array_equal(result, image)


def test_uint8_stays_uint8_without_a_window():
    image = np.array([[0, 255], [255, 0]], np.uint8)[..., None]
    prepare = Prepare(2, (0.5, 0.5), "none")
    result = prepare({"image": image, "spacing_mm": (1.0, 1.0)})["image"]
    assert result.dtype == np.uint8 and result.shape == (4, 4, 1)
    # a quarter voxel from the corners: 0 + 2 * 1/4 * 3/4 * 255
    assert result[1, 1, 0] == round(255 * 2 * 0.25 * 0.75)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((32,), (32, 48)), ((32, 32), (32, 32)), ((200,), (200, 300)), ((1,), (1, 2))],
)
def test_resizing_brings_the_shorter_side_or_both_to_the_size(size, expected):
    image = np.random.RandomState(0).rand(100, 150, 2)
    result = resize(image, size)
    assert result.shape == (*expected, 2) and result.dtype == np.float32
    tall = resize(image.swapaxes(0, 1), size)
    assert tall.shape == (*(expected[::-1] if len(size) == 1 else expected), 2)


def test_resized_pixels_lie_where_those_of_an_area_do():
    # a plane stays the same plane, about the same centre; edges repeat
    rows, columns = np.mgrid[:80, :60].astype(np.float32) + 0.5
    plane = (3 * rows + 2 * columns)[..., None]
    result = resize(plane, (20, 30))[..., 0]
    rows, columns = np.mgrid[:20, :30].astype(np.float32) + 0.5
    expected = 3 * rows * 80 / 20 + 2 * columns * 60 / 30
    np.testing.assert_allclose(result[2:-2, 2:-2], expected[2:-2, 2:-2], atol=1e-3)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_smaller_images_are_not_aliased(dtype):
    # a chequerboard: every pixel that is merely picked would be black or white
    board = (np.indices((90, 90)).sum(axis=0) % 2 * 200).astype(dtype)[..., None]
    result = resize(board, (30,))
    assert result.dtype == (np.uint8 if dtype == np.uint8 else np.float32)
    np.testing.assert_allclose(result[2:-2, 2:-2], 100, atol=16)


def test_a_volume_is_resized_slice_by_slice():
    volume = np.random.RandomState(0).rand(3, 20, 16, 1).astype(np.float32)
    result = resize(volume, (8, 8))
    for slice_, expected in zip(result, volume, strict=True):
        np.testing.assert_array_equal(slice_, resize(expected, (8, 8)))
    assert resize(volume, (16,)) is volume


def test_channels_are_resized_each_for_itself():
    image = np.random.RandomState(0).rand(20, 16, 3)
    result = resize(image, (8,))
    for k in range(3):
        np.testing.assert_array_equal(
            result[..., k], resize(image[..., k : k + 1], (8,))[..., 0]
        )


def test_images_are_resized_before_they_are_windowed_and_cropped():
    image = np.zeros((40, 60, 1), np.int16)
    image[:, 30:] = 1000
    host = HostTransform((20, 20), None, "percentiles", "all", resize=(20,))
    clip = host({"image": image}, None)["image"][..., 0]
    expected = np.repeat([0, 1], 10)  # of 20 x 30 the middle
    np.testing.assert_array_equal(
        clip[:, [0, 5, 14, 19]], np.tile([0, 0, 1, 1], (20, 1))
    )
    assert np.abs(clip - expected).max() < 0.6
    assert repr(host.prepare) != repr(
        HostTransform((20, 20), None, "percentiles", "all").prepare
    )


def test_hu_window_is_linear_and_clipped():
    image = np.array([[-2000, -1000, 0, 400, 3000]], np.int16)[..., None]
    result = Prepare(2, None, "hu", window_hu=(-1000, 1000))({"image": image})["image"]
    assert result.dtype == np.float16
    expected = np.array([0, 0, 0.5, 0.7, 1], np.float16)
    np.testing.assert_array_equal(result[0, :, 0], expected)


def test_percentile_window_matches_numpy():
    image = np.random.RandomState(0).lognormal(size=(5, 6, 7, 1))
    result = Prepare(3, None, "percentiles", (2.0, 98.0))({"image": image})["image"]
    low, high = np.quantile(image, [0.02, 0.98])
    reference = np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(result, reference, atol=1e-3)


def test_random_frames_are_drawn_once_each_in_order_and_all_of_them_some_time():
    volume = {"image": np.broadcast_to(np.arange(9)[:, None, None, None], (9, 2, 2, 1))}
    draw = Draw((4, 2, 2), "random")
    rng = np.random.default_rng(0)
    clips = [draw(volume, rng)["image"][:, 0, 0, 0] for _ in range(200)]
    assert all(np.all(np.diff(clip) > 0) for clip in clips)
    counts = np.bincount(np.concatenate(clips), minlength=9)
    np.testing.assert_allclose(counts / 200, 4 / 9, atol=0.12)
    assert any(np.any(np.diff(clip) > 1) for clip in clips)


def test_contiguous_frames_are_neighbours_from_every_start():
    volume = {"image": np.broadcast_to(np.arange(6)[:, None, None, None], (6, 2, 2, 1))}
    draw = Draw((4, 2, 2), "contiguous")
    rng = np.random.default_rng(0)
    clips = [draw(volume, rng)["image"][:, 0, 0, 0] for _ in range(50)]
    assert all(np.all(np.diff(clip) == 1) for clip in clips)
    assert {int(clip[0]) for clip in clips} == {0, 1, 2}
    central = draw(volume, None)["image"][:, 0, 0, 0]
    np.testing.assert_array_equal(central, [1, 2, 3, 4])


def test_even_frames_are_those_of_evaluation_in_training_too():
    clip = Draw((3, 1, 1), "even")({"image": ramp(9, 1, 1)}, np.random.default_rng(0))
    np.testing.assert_array_equal(clip["image"].ravel(), [1, 4, 7])


@pytest.mark.parametrize("frames", ["random", "contiguous", "even"])
def test_too_few_frames_are_repeated_evenly_and_counted(frames):
    volume = {"image": ramp(3, 1, 1)}
    clip = Draw((7, 1, 1), frames)(volume, np.random.default_rng(0))
    np.testing.assert_array_equal(clip["image"].ravel(), [0, 0, 1, 1, 1, 2, 2])
    assert clip["repeated_frames"] == 4


def test_evaluation_frames_are_the_middles_of_equal_parts():
    clip = Draw((3, 1, 1), "random")({"image": ramp(9, 1, 1)}, None)
    np.testing.assert_array_equal(clip["image"].ravel(), [1, 4, 7])
    assert clip["repeated_frames"] == 0


def test_evaluation_crops_the_centre_and_pads_both_sides_with_the_lowest():
    image = np.ones((2, 7, 3, 1), np.float16)
    image[:, 3] = 0.5
    drawn = Draw((4, 3, 6), "all")({"image": image}, None)
    expected = np.pad(image[:, 2:5], ((1, 1), (0, 0), (1, 2), (0, 0)))
    np.testing.assert_array_equal(drawn["image"], expected)
    assert drawn["image"].dtype == np.float16
    assert drawn["padding"] == pytest.approx(1 - (2 * 3 * 3) / (4 * 3 * 6))


def test_random_crops_reach_both_ends_and_keep_voxels_together():
    image = {"image": ramp(6, 6).astype(np.float16)}
    rng = np.random.default_rng(0)
    corners = set()
    for _ in range(200):
        crop = Draw((4, 4), "all")(image, rng)["image"][..., 0]
        corner = crop[0, 0]
        reference = corner + 6 * np.arange(4)[:, None] + np.arange(4)
        np.testing.assert_array_equal(crop, reference)
        corners.add(float(corner))
    assert corners == {6.0 * row + column for row in range(3) for column in range(3)}


def test_the_parts_make_up_the_whole_and_cross_processes():
    record = {"image": ramp(6, 5, 5).astype(np.float32), "spacing_mm": (2.0, 1.0, 1.0)}
    host = HostTransform((4, 8, 8), (1.0, 1.0, 1.0), "percentiles", "random")
    host = pickle.loads(pickle.dumps(host))
    whole = host(record, np.random.default_rng(3))
    prepared = host.prepare(record)
    parts = host.draw(prepared, np.random.default_rng(3))
    np.testing.assert_array_equal(whole["image"], parts["image"])
    assert whole["image"].shape == (4, 8, 8, 1)
    assert prepared["image"].shape == (12, 5, 5, 1)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"window": "soft"}, "data.window"),
        ({"frames": "some"}, "data.frames"),
        ({"window": "hu"}, "data.window_hu"),
        ({"percentiles": (99, 1)}, "data.percentiles"),
        ({"percentiles": (50, 50)}, "data.percentiles"),
        ({"spacing_mm": (1.0, 1.0)}, "data.spacing_mm"),
        ({"shape": (8, 8), "spacing_mm": None}, "data.frames"),
        ({"shape": (8, 0, 8)}, "data.shape"),
        ({"spacing_mm": None, "resize": (8, 8, 8)}, "data.resize"),
        ({"spacing_mm": None, "resize": (0,)}, "data.resize"),
        ({"spacing_mm": None, "resize": ()}, "data.resize"),
        ({"spacing_mm": None, "resize": (7,)}, "data.resize"),
        ({"resize": (16,)}, "data.spacing_mm and data.resize"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(change, field):
    settings = {"shape": (4, 8, 8), "spacing_mm": (1, 1, 1)}
    settings |= {"window": "none", "frames": "random"}
    with pytest.raises(ConfigError, match=field):
        resolve.call("data", HostTransform, settings | change)


def test_settings_that_do_not_fit_the_data_are_named():
    record = {"image": ramp(3, 4, 5).astype(np.int16)}
    with pytest.raises(ConfigError, match="data.spacing_mm"):
        Prepare(3, (1.0, 1.0, 1.0), "percentiles")(record, "scan")
    with pytest.raises(DataError, match="scan.*2 axes|scan.*data.shape"):
        Prepare(2, None, "percentiles")(record, "scan")
    with pytest.raises(DataError, match="scan.*data.window"):
        Prepare(3, None, "none")(record, "scan")
    sparse = np.zeros((9, 9, 9, 1), np.uint8)
    sparse[4, 4, 4] = 1
    with pytest.raises(DataError, match="scan.*data.percentiles"):
        Prepare(3, None, "percentiles")({"image": sparse}, "scan")


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((4, 4, 4, 1), 7, np.int16), "constant"),
        (np.array([[0, np.nan], [1, 2]], np.float32)[..., None], "1 NaN"),
        (np.array([[0, -np.inf], [1, np.inf]], np.float32)[..., None], "2 NaN"),
        (np.zeros((4, 4, 4, 4, 1), np.int16), "shape"),
        (np.zeros((4, 4, 9), np.int16), "shape"),
        (np.zeros((4, 0, 1), np.int16), "shape"),
    ],
)
def test_unusable_images_are_named_with_the_reason(image, reason):
    with pytest.raises(DataError, match=f"scan-7.*{reason}"):
        check({"image": image}, "scan-7")


def test_a_senseless_spacing_is_refused():
    with pytest.raises(DataError, match="spacing"):
        check({"image": ramp(3, 4), "spacing_mm": (1.0, 0.0)}, "scan")


@pytest.mark.parametrize("wrong", [1e9, 1000.0])
def test_a_spacing_in_a_wrong_unit_takes_no_memory(wrong):
    record = {"image": ramp(3, 4, 5).astype(np.float32), "spacing_mm": (wrong,) * 3}
    prepare = Prepare(3, (1.0, 1.0, 1.0), "percentiles")
    with pytest.raises(DataError, match="knee.nii: has voxels of 1.* header right"):
        prepare(record, "knee.nii")


def test_thick_slices_may_become_thin():
    record = {"image": ramp(3, 4, 5).astype(np.float32), "spacing_mm": (9.0, 4.0, 4.0)}
    found = Prepare(3, (1.0, 1.0, 1.0), "percentiles")(record)
    assert found["image"].shape[:-1] == (27, 16, 20)
