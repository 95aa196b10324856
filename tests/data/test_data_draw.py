"""Targets travel with the image: one place for every field, through every stage."""

import itertools

import numpy as np
import pytest

from medssl_jax.data.cache import Cached
from medssl_jax.data.draw import Draw
from medssl_jax.data.host import HostTransform, Prepare, check
from medssl_jax.data.source import NO_BOX, Examples
from medssl_jax.errors import ConfigError, DataError


def voxels(shape):
    """An image whose every voxel tells where it lies, and a mask that tells it too."""
    index = np.arange(np.prod(shape)).reshape(shape)
    return index[..., None].astype(np.float32), (index % 251).astype(np.uint8)


def prepared(shape):
    image, mask = voxels(shape)
    return {"image": image, "mask": mask}


@pytest.mark.parametrize("frames", ["all", "random", "contiguous"])
def test_a_mask_is_cut_where_its_image_is(frames):
    record = prepared((9, 11, 12))
    draw = Draw((4, 5, 6), frames)
    for seed in range(20):
        clip = draw(record, np.random.default_rng(seed))
        assert clip["mask"].shape == (4, 5, 6)
        np.testing.assert_array_equal(clip["image"][..., 0] % 251, clip["mask"])


def test_padding_is_background_on_both_sides_alike():
    image, mask = voxels((2, 3, 3))
    clip = Draw((4, 3, 3), "all")({"image": image, "mask": mask + 1}, None)
    assert not clip["mask"][[0, 3]].any()
    np.testing.assert_array_equal(clip["mask"][1:3], mask + 1)


def test_overlapping_regions_keep_their_axis():
    regions = np.random.default_rng(0).integers(0, 2, (6, 7, 3)).astype(np.uint8)
    record = {"image": voxels((6, 7))[0], "mask": regions}
    clip = Draw((4, 4), "all")(record, np.random.default_rng(1))
    place = int(clip["image"][0, 0, 0])
    row, column = divmod(place, 7)
    cut = regions[row : row + 4, column : column + 4]
    np.testing.assert_array_equal(clip["mask"], cut)


def test_aimed_crops_hold_a_voxel_of_each_class_as_often():
    """Class 1 is a single voxel in a corner, class 2 a quarter of the image."""
    mask = np.zeros((30, 40), np.uint8)
    mask[0, 39] = 1
    mask[15:, :20] = 2
    image = voxels(mask.shape)[0]
    record = Prepare(2, None, "percentiles")({"image": image, "mask": mask})
    rng = np.random.default_rng(0)
    clips = [
        Draw((5, 5), "all", foreground=1.0)(record, rng)["mask"] for _ in range(400)
    ]
    held = [[(clip == k).any() for k in (1, 2)] for clip in clips]
    assert np.all(np.any(held, axis=1))
    np.testing.assert_allclose(np.mean(held, axis=0), 0.5, atol=0.08)
    unaimed = [Draw((5, 5), "all")(record, rng)["mask"] for _ in range(400)]
    assert np.mean([(clip == 1).any() for clip in unaimed]) < 0.02
    third = [
        Draw((5, 5), "all", foreground=1 / 3)(record, rng)["mask"] for _ in range(900)
    ]
    np.testing.assert_allclose(
        np.mean([(c == 1).any() for c in third]), 1 / 6, atol=0.04
    )


def test_aiming_at_nothing_draws_as_usual():
    record = {"image": voxels((9, 9))[0], "mask": np.zeros((9, 9), np.uint8)}
    record = Prepare(2, None, "percentiles")(record)
    clip = Draw((4, 4), "all", foreground=1.0)(record, np.random.default_rng(0))
    assert clip["image"].shape == (4, 4, 1)


def test_an_aimed_crop_can_hold_its_voxel_anywhere():
    mask = np.zeros((1, 21), np.uint8)
    mask[0, 10] = 1
    record = Prepare(2, None, "percentiles")(
        {"image": voxels((1, 21))[0], "mask": mask}
    )
    rng, draw = np.random.default_rng(0), Draw((1, 5), "all", foreground=1.0)
    places = [int(draw(record, rng)["mask"].argmax()) for _ in range(200)]
    assert set(places) == {0, 1, 2, 3, 4}


def test_boxes_become_fractions_of_the_clip():
    image = voxels((10, 20))[0]
    # rows 2 to 6, columns 5 to 15, and one far from the middle
    boxes = np.float32([[0.2, 0.25, 0.6, 0.75, 3], [0.0, 0.4, 0.1, 0.6, 1]])
    clip = Draw((4, 10), "all", most_boxes=3)({"image": image, "boxes": boxes}, None)
    # the middle: rows 3 to 7, columns 5 to 15; what lies outside is cut off
    expected = [[0, 0, 0.75, 1, 3], [0, 0, 0, 0, NO_BOX], [0, 0, 0, 0, NO_BOX]]
    np.testing.assert_allclose(clip["boxes"], expected, atol=1e-6)
    padded = Draw((20, 20), "all", most_boxes=2)({"image": image, "boxes": boxes}, None)
    np.testing.assert_allclose(
        padded["boxes"][0], [0.35, 0.25, 0.55, 0.75, 3], atol=1e-6
    )


def test_more_boxes_than_rows_are_refused():
    record = {"image": voxels((4, 4))[0], "boxes": np.float32([[0, 0, 1, 1, 0]] * 3)}
    with pytest.raises(ConfigError, match="3 boxes, data.most_boxes is 2"):
        Draw((4, 4), "all", most_boxes=2)(record, None)


def test_labels_of_slices_follow_their_frames():
    record = {"image": voxels((9, 2, 2))[0], "planes": np.arange(9)}
    clip = Draw((4, 2, 2), "random")(record, np.random.default_rng(0))
    np.testing.assert_array_equal(clip["image"][:, 0, 0, 0] // 4, clip["planes"])
    padded = Draw((11, 2, 2), "all")(record, None)
    assert padded["planes"].tolist() == [-1, *range(9), -1]


def test_a_mask_is_resampled_by_its_nearest_voxels():
    """A mask of classes 0 and 7 has no other ones after it."""
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 7
    image = mask[..., None].astype(np.float32)
    record = {"image": image, "mask": mask, "spacing_mm": (2.0, 1.0, 1.0)}
    found = Prepare(3, (1.0, 0.5, 2.0), "hu", window_hu=(0, 7))(record)
    assert found["mask"].shape == found["image"].shape[:-1] == (16, 16, 4)
    assert set(np.unique(found["mask"])) == {0, 7}
    inside = found["image"][..., 0] > 0.5  # as the image says, but at its edges
    assert np.mean(inside == (found["mask"] == 7)) > 0.98
    for size, columns in (((4,), np.s_[1::2]), ((4, 8), np.s_[:])):
        resized = Prepare(3, None, "hu", window_hu=(0, 7), resize=size)(record)
        assert resized["mask"].shape == resized["image"].shape[:-1]
        np.testing.assert_array_equal(resized["mask"], mask[:, 1::2, columns])


def test_voxels_to_aim_at_are_of_each_region_and_from_all_over_a_large_one():
    regions = np.zeros((40, 60, 2), np.uint8)
    regions[:, :, 0] = 1
    regions[3, 5, 1] = 1
    record = {"image": voxels((40, 60))[0], "mask": regions}
    rows = Prepare(2, None, "percentiles")(record)["foreground"]
    assert rows[rows[:, 0] == 2].tolist() == [[2, 3, 5]]
    first = rows[rows[:, 0] == 1, 1:]
    assert len(first) == 1000 == len(np.unique(first, axis=0))
    np.testing.assert_allclose(first.mean(axis=0), (19.5, 29.5), atol=2)


def test_the_cache_keeps_a_file_for_each_field(tmp_path):
    image, mask = voxels((4, 5))
    read = []

    def reader(name):
        read.append(name)
        return {"image": image, "mask": mask, "boxes": np.float32([[0, 0, 1, 1, 2]])}

    source = Examples(["a"], reader, stamp_of=lambda name: name)
    cached = Cached(source, Prepare(2, None, "percentiles"), str(tmp_path / "cache"))
    first, again = cached[0], cached[0]
    assert read == ["a"]
    assert first.keys() == again.keys() == {"image", "mask", "foreground", "boxes"}
    for field, array in first.items():
        np.testing.assert_array_equal(array, again[field])
    np.testing.assert_array_equal(again["mask"], mask)


def test_host_transform_draws_every_field():
    image = voxels((5, 50))[0]
    mask = np.zeros((5, 50), np.uint8)
    mask[4, 49] = 1
    boxes = np.float32([[0, 0, 1, 1, 2]])
    record = {"image": image, "mask": mask, "boxes": boxes}
    settings = {"foreground": 1.0, "most_boxes": 2}
    host = HostTransform((3, 3), None, "percentiles", "all", **settings)
    rng = np.random.default_rng(0)
    clips = [host(record, rng) for _ in range(20)]
    assert all(clip["mask"].shape == (3, 3) and clip["mask"].any() for clip in clips)
    assert clips[0]["boxes"].shape == (2, 5)


@pytest.mark.parametrize(
    "target, said",
    [
        ({"mask": np.zeros((4, 4), np.uint8)}, "mask of shape .4, 4.*has .4, 5."),
        ({"mask": np.full((4, 5), 0.5)}, "fractions, such as 0.5"),
        ({"mask": np.full((4, 5), -1)}, "values from -1 to -1"),
        ({"mask": np.full((4, 5), 300)}, "values from 300"),
        ({"mask": np.full((4, 5), np.nan)}, "NaN or infinite voxels"),
        ({"boxes": np.float32([[0.5, 0, 0.4, 1, 0]])}, "empty or leaves the image"),
        ({"boxes": np.float32([[0.5, 0, 1.2, 1, 0]])}, "empty or leaves the image"),
        ({"boxes": np.zeros((1, 4))}, "boxes of shape"),
    ],
)
def test_targets_that_do_not_suit_the_image_are_named(target, said):
    with pytest.raises(DataError, match=f"^scan.*: .*{said}"):
        check({"image": voxels((4, 5))[0], **target}, "scan")


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"frames": "random", "foreground": 0.3}, "data.frames 'random'"),
    ],
)
def test_settings_of_targets_are_checked(settings, said):
    with pytest.raises(ConfigError, match=said):
        Draw(**{"shape": (4, 4, 4), "frames": "all"} | settings)


def test_frames_drawn_at_random_are_in_their_order_and_none_twice():
    volume = np.broadcast_to(np.arange(9.0)[:, None, None, None] / 9, (9, 4, 4, 1))
    draw, seen = Draw((4, 4, 4), "random"), set()
    for seed in range(20):
        clip = draw({"image": volume}, np.random.default_rng(seed))
        frames = tuple(np.round(clip["image"][:, 0, 0, 0] * 9).astype(int).tolist())
        assert all(a < b for a, b in itertools.pairwise(frames))
        seen.add(frames)
    assert len(seen) > 10
