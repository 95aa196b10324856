"""Crops to the body and one voxel for all axes: what follows, and what comes back."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.body import body
from medssl_jax.data.cache import Cached
from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.host import HostTransform, Prepare
from medssl_jax.data.shards import layout
from medssl_jax.data.source import Examples
from medssl_jax.data.sources.msd import msd
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.evals.whole import segmented

INSIDE = np.s_[3:9, 10:30, 8:33]


def scan(air, tissue, noise=0.0, shape=(12, 40, 44)):
    """A block of tissue in air, with a channel."""
    random = np.random.default_rng(0)
    image = np.full(shape, air, np.float32)
    image[INSIDE] = tissue
    image += noise * random.normal(size=shape).astype(np.float32)
    return np.maximum(image, air)[..., None]


@pytest.mark.parametrize(
    "air, tissue, noise", [(0, 700, 0), (-1024, 40, 12), (3, 300, 1), (0.0, 1.0, 0.01)]
)
def test_air_is_cut_off_whatever_its_number_is(air, tissue, noise):
    assert body(scan(air, tissue, noise)) == INSIDE


def test_what_a_scanner_fills_corners_with_is_air_in_a_fixed_window():
    image = scan(-1000, 40, 15)
    image[:, :4, :4] = -3024
    assert body(image, (-160.0, 240.0)) == INSIDE


def test_specks_and_a_table_are_cut_off_and_a_second_leg_is_not():
    image = scan(0, 100)
    image[0, 0, 0], image[3:9, 36, 10:30] = 200, 100
    assert body(image) == INSIDE
    image[3:9, 10:20, 36:42] = 100
    assert body(image) == np.s_[3:9, 10:30, 8:42]


def test_any_channel_tells_of_the_body():
    image = np.concatenate([scan(0, 5), scan(0, 9)], axis=-1)
    image[:, :20, :, 0] = 0
    image[:, 20:, :, 1] = 0
    assert body(image) == INSIDE


def test_no_heart_is_cut_off(real_data):
    """Otsu's threshold and the largest piece lose the left ventricle of some."""
    source = msd(root=str(real_data / "sunnybrook_lv"))
    for i in range(0, len(source), 6):
        record = source[i]
        inside = body(record["image"])
        assert record["mask"][inside].sum() == record["mask"].sum(), source.name(i)


def test_a_third_of_brain_slices_is_air_and_no_tumour_is_in_it(real_data):
    folder, shares = real_data / "cheng_brain_mr", []
    with open(folder / "slices.csv", newline="") as file:
        rows = list(csv.DictReader(file))[::100]
    for row in rows:
        image, mask = (
            np.asarray(Image.open(folder / row[field]).convert("L"))
            for field in ("path", "mask")
        )
        inside = body(image[..., None])
        assert mask[inside].sum() == mask.sum()
        shares.append(mask[inside].size / mask.size)
    assert np.mean(shares) < 0.8


def test_every_field_is_cropped_alike():
    image = scan(0, 100)
    image[INSIDE] += np.arange(6 * 20 * 25).reshape(6, 20, 25, 1)
    mask = np.random.default_rng(1).integers(0, 3, image.shape[:-1]).astype(np.uint8)
    boxes = np.float32(
        [[0.5, 0.5, 0.5, 0.75, 0.75, 0.75, 2], [0, 0, 0, 0.1, 0.1, 0.1, 1]]
    )
    record = {"image": image, "mask": mask, "boxes": boxes, "planes": np.arange(12)}
    found = Prepare(3, None, "percentiles", (0.0, 100.0), crop_to_body=True)(record)
    inner = image[INSIDE]
    expected = (inner - inner.min()) / np.ptp(inner)
    np.testing.assert_allclose(found["image"], expected, atol=1e-3)
    np.testing.assert_array_equal(found["mask"], mask[INSIDE])
    np.testing.assert_array_equal(found["planes"], np.arange(3, 9))
    # of 12 x 40 x 44 voxels; the other box is in the air
    low, high = (np.array([12, 40, 44]) * share for share in (0.5, 0.75))
    corners = np.concatenate([low - [3, 10, 8], high - [3, 10, 8]])
    corners = corners / [6, 20, 25, 6, 20, 25]
    np.testing.assert_allclose(found["boxes"], [[*corners, 2]], atol=1e-6)


@pytest.mark.parametrize(
    "spacing_mm, expected",
    [((4.0, 1.0, 1.0), (48, 40, 44)), ((2.0, 1.0, 1.0), (26, 44, 48)), (None, None)],
)
def test_the_longest_side_is_fitted_and_voxels_have_one_side(spacing_mm, expected):
    """12 x 40 x 44 voxels: in mm 48 x 40 x 44, or 24 x 40 x 44; else as they are."""
    image = scan(0, 100)
    record = {"image": image, "mask": (image[..., 0] > 50).astype(np.uint8)}
    record |= {} if spacing_mm is None else {"spacing_mm": spacing_mm}
    found = Prepare(3, None, "percentiles", (0.0, 100.0), longest_side=48)(record)
    if expected is None:
        expected = (13, 44, 48)
    assert found["image"].shape == (*expected, 1)
    assert found["mask"].shape == expected
    inside = found["image"][..., 0] > 0.5
    assert np.mean(inside == found["mask"]) > 0.97
    sides = np.array([6, 20, 25]) * np.divide(expected, (12, 40, 44))
    extent = [np.ptp(axis) + 1 for axis in np.nonzero(found["mask"])]
    np.testing.assert_allclose(extent, sides, atol=1)


def test_what_is_fitted_is_filled_up_to_the_shape():
    image = np.arange(1, 6 * 9 + 1, dtype=np.float32).reshape(6, 9, 1)
    host = HostTransform((18, 18), None, "percentiles", "all", longest_side=18)
    clip = host({"image": image}, None)["image"][..., 0]
    assert clip.shape == (18, 18)
    assert not clip[[0, 1, 2, 15, 16, 17]].any() and (clip[4:14] > 0).all()


def thresholds(images):
    """Say class 1 where the image is bright, as sure as can be."""
    bright = np.asarray(images, np.float32)[..., 0] > 0.5
    return np.stack([~bright, bright], axis=-1).astype(np.float32)


@pytest.mark.parametrize("settings", [{}, {"longest_side": 50}])
def test_what_was_found_lies_where_the_file_has_it(settings):
    image = scan(0, 100, shape=(10, 34, 36))
    image[4:8, 14:20, 20:30] = 400
    record = {"image": image, "spacing_mm": (4.0, 1.0, 1.0)}
    prepare = Prepare(
        3, None, "percentiles", (0.0, 100.0), crop_to_body=True, **settings
    )
    how = {"tile": (24, 24, 24), "batch_size": 4, "step": 0.5, "mirror": ()}
    how["overlapping"] = False
    prepared = prepare(record)["image"]
    found = segmented(thresholds, record, prepared, prepare, **how)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, image[..., 0] > 250)

    def everything(images):
        return thresholds(np.ones_like(images))

    found = segmented(everything, record, prepared, prepare, **how)
    np.testing.assert_array_equal(found, image[..., 0] > 50)  # the air is background


def test_a_scan_without_a_body_is_named_and_left_out(tmp_path):
    images = {"scan.nii": scan(-1000, 40, 9), "air.nii": scan(-1000, -990)}
    source = Examples(list(images), lambda name: {"image": images[name]})
    prepare = Prepare(3, None, "hu", window_hu=(-500, 500), crop_to_body=True)
    source = Cached(source, prepare, "")
    with pytest.raises(DataError, match="^air.nii: is all background in data.window"):
        source[1]
    assert len(skip_unusable(source, tmp_path / "skipped.csv")) == 1


@pytest.mark.parametrize(
    "settings", [{"window": "hu", "window_hu": (200, 300)}, {"window": "none"}]
)
def test_what_is_constant_once_it_is_prepared_is_refused(settings):
    image = np.zeros((4, 5, 5, 1), np.uint8)
    image[1:3, 2:4, 2:4] = 100
    prepare = Prepare(3, None, crop_to_body=settings["window"] == "none", **settings)
    with pytest.raises(DataError, match="^scan: is constant in data.window"):
        prepare({"image": image}, "scan")


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            {"longest_side": 16, "resize": (16,)},
            "data.resize and data.longest_side are",
        ),
        ({"longest_side": 7}, "data.longest_side 7 is less than data.shape"),
    ],
)
def test_sizes_that_do_not_go_together_are_named(settings, said):
    with pytest.raises(ConfigError, match=said):
        HostTransform((8, 8), None, "none", "all", **settings)


def test_shards_and_caches_of_before_are_told_apart_only_where_it_is_on():
    plain = Prepare(3, None, "none")
    before = json.loads(json.dumps(layout.settings(plain)))
    assert not before.keys() & {"crop_to_body", "longest_side"}
    cropped = Prepare(3, None, "none", crop_to_body=True, longest_side=9)
    assert len(layout.differences(before, layout.settings(cropped))) == 2
    assert repr(plain) != repr(cropped)
