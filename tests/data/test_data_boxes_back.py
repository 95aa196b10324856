"""Boxes brought back to their files, by where a bright block lies in both."""

import numpy as np
import pytest

from medssl_jax.data.boxes_back import check_whole, in_file
from medssl_jax.data.host import HostTransform
from medssl_jax.errors import DataError

FILE = (60, 100)
LOW, HIGH = np.array([20, 30]), np.array([40, 50])  # of the block, in the file


def block(ndim=2):
    shape = FILE if ndim == 2 else (10, *FILE)
    image = np.full((*shape, 1), 0.1, np.float32)
    image[0, 0], image[-1, -1] = 0.0, 0.2  # or the window would be another
    inside = tuple(slice(a, b) for a, b in zip(LOW, HIGH, strict=True))
    image[(..., *inside, slice(None)) if ndim == 2 else (slice(2, 6), *inside)] = 1.0
    return {"image": image, "spacing_mm": (1.0,) * ndim}


def seen(clip):
    """Return the box of what is bright, as fractions of what a network sees."""
    bright = clip[..., 0] > 0.55
    ends = [
        np.flatnonzero(bright.any(axis=tuple({*range(bright.ndim)} - {axis})))[[0, -1]]
        for axis in range(bright.ndim)
    ]
    low, high = np.transpose(ends)
    return np.concatenate([low, high + 1]) / np.tile(bright.shape, 2)


@pytest.mark.parametrize(
    "settings",
    [
        {"shape": (30, 50), "resize": (30, 50)},
        {"shape": (64, 64), "longest_side": 64},  # padded above and below
        {"shape": (120, 120), "spacing_mm": (0.5, 1.0)},
    ],
)
def test_a_box_is_where_it_lies_in_the_file(settings):
    host = HostTransform(
        window="none", frames="all", **{"spacing_mm": None, **settings}
    )
    record = block()
    prepared = host.prepare(record)
    clip = host.draw(prepared, None)["image"].astype(np.float32)
    found = in_file(seen(clip)[None], record, prepared, host.prepare, host.draw, "a")
    pixel = max(n / m for n, m in zip(FILE, prepared["image"].shape, strict=False))
    np.testing.assert_allclose(found[0], [*LOW, *HIGH], atol=0.5 + 0.5 * pixel)


def test_an_image_that_is_not_seen_whole_is_refused():
    host = HostTransform((40, 40), None, "none", "all", resize=(48,))
    record = block()
    prepared = host.prepare(record)
    with pytest.raises(DataError, match=r"a: is \(48, 80\) .* set data.longest_side"):
        check_whole(prepared, host.draw, "a")
    with pytest.raises(DataError, match="outside of its middle"):
        in_file(np.zeros((0, 4)), record, prepared, host.prepare, host.draw, "a")


def test_a_crop_to_the_body_is_undone():
    record = block()
    record["image"] = np.pad(record["image"], [(7, 3), (11, 5), (0, 0)])
    host = HostTransform((60, 100), None, "none", "all", crop_to_body=True)
    prepared = host.prepare(record)
    clip = host.draw(prepared, None)["image"].astype(np.float32)
    found = in_file(seen(clip)[None], record, prepared, host.prepare, host.draw, "a")
    np.testing.assert_allclose(found[0], [27, 41, 47, 61], atol=0.01)


def test_a_box_of_a_volume_is_cut_to_it():
    record = block(ndim=3)
    host = HostTransform((16, 60, 100), None, "none", "all")
    prepared = host.prepare(record)
    clip = host.draw(prepared, None)["image"].astype(np.float32)
    boxes = np.stack([seen(clip), np.array([0.0, 0, 0, 1, 1, 1])])
    found = in_file(boxes, record, prepared, host.prepare, host.draw, "a")
    np.testing.assert_allclose(found[0], [2, *LOW, 6, *HIGH], atol=0.01)
    np.testing.assert_allclose(found[1], [0, 0, 0, 10, *FILE])
