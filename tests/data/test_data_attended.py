"""Slices with a map of their middle: the right one, and never another volume's."""

import dataclasses

import numpy as np
import pytest

from medssl_jax.data.attended import Attended, map_path, write_map
from medssl_jax.data.slices import Slices, Slicing
from medssl_jax.data.source import Examples, Subset
from medssl_jax.errors import DataError

DEPTHS = {"a": 5, "b": 3}


def read(name, dtype=np.float16):
    image = np.arange(DEPTHS[name] * 6).reshape(-1, 2, 3, 1) / 64
    return {"image": (image * (255 if dtype == np.uint8 else 1)).astype(dtype)}


def volumes(stamp="{} today", read=read):
    return Examples(list(DEPTHS), read, None, None, stamp.format)


def found(name, scale=32):
    return np.arange(DEPTHS[name] * 6).reshape(-1, 2, 3) / scale


def attended(folder, source=None, of_each=3):
    source = volumes() if source is None else source
    return Attended(Slices(source, Slicing(of_each, 0, 1)), str(folder))


@pytest.fixture
def folder(tmp_path):
    for i, name in enumerate(DEPTHS):
        write_map(tmp_path, volumes(), i, found(name))
    return tmp_path


def test_the_last_channel_is_the_map_of_the_middle_slice(folder):
    source = attended(folder)
    for i, (name, middle) in enumerate(
        [("a", 0), ("a", 2), ("a", 4), ("b", 0), ("b", 1), ("b", 2)]
    ):
        image = source[i]["image"]
        assert image.shape == (2, 3, 4) and image.dtype == np.float16
        np.testing.assert_array_equal(
            image[..., 1], read(name)["image"][middle, ..., 0]
        )
        np.testing.assert_allclose(image[..., 3], found(name)[middle], atol=1e-3)


def test_a_map_of_bytes_reaches_as_far_as_their_image(folder):
    as_bytes = volumes(read=lambda name: read(name, np.uint8))
    image = attended(folder, as_bytes)[2]["image"]
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image[..., 3], np.round(255 * found("a")[4]))


def test_some_of_the_volumes_in_another_order_have_their_own_maps(folder):
    image = attended(folder, Subset(volumes(), np.array([1, 0])))[1]["image"]
    np.testing.assert_allclose(image[..., 3], found("b")[1], atol=1e-3)


def test_volumes_of_one_name_in_two_folders_have_two_maps(folder):
    other = volumes("elsewhere {}")
    assert map_path(folder, other, 0) != map_path(folder, volumes(), 0)
    with pytest.raises(
        DataError, match=r"a: has no map in data\.attention, .* changed"
    ):
        _ = attended(folder, other)[0]


def test_a_changed_map_changes_the_stamp(folder):
    before = attended(folder).stamp(0), attended(folder).stamp(3)
    write_map(folder, volumes(), 0, found("a", 64))
    after = attended(folder).stamp(0), attended(folder).stamp(3)
    assert before[0] != after[0] and before[1] == after[1]
    assert (
        attended(folder, dataclasses.replace(volumes(), stamp_of=None)).stamp(0) == ""
    )


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            np.zeros((4, 2, 3)),
            r"npy: is a map of \(4, 2, 3\), and a is prep.*\(5, 2, 3\)",
        ),
        (np.zeros((5, 3, 2)), r"npy: is a map of \(5, 3, 2\), and a is prepared to"),
        (np.full((5, 2, 3), np.nan), "npy: has numbers that are no probabilities"),
        (np.full((5, 2, 3), 1.5), "npy: has numbers that are no probabilities"),
    ],
)
def test_a_map_that_is_not_of_its_volume_is_refused_by_name(folder, other, message):
    write_map(folder, volumes(), 0, other)
    with pytest.raises(DataError, match=message):
        _ = attended(folder)[1]
