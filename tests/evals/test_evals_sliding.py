"""Whole images by windows, against a transcription that keeps everything."""

import itertools
import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import ndimage

from medssl_jax.data.host import Prepare
from medssl_jax.data.places import places
from medssl_jax.evals import sliding, stitched
from medssl_jax.evals.sliding import classes, mirrored, regions, slabs
from medssl_jax.evals.windows import gaussian

VOLUME, PLANE = ((11, 9, 14), (4, 5, 6)), ((13, 10), (5, 4))


def network(tile, k):
    """Return a predict for which every voxel of a window is another one.

    It counts the shapes that it gets.
    """
    rng = np.random.default_rng(len(tile))
    slope, place = rng.normal(size=(2, *tile, k)).astype(np.float32)

    def predict(images):
        predict.shapes.add(images.shape)
        scores = np.exp(images.sum(axis=-1, keepdims=True) * slope + place)
        return scores / scores.sum(axis=-1, keepdims=True)

    predict.shapes = set()
    return predict


def nnunet_starts(n, tile, step):
    steps = int(np.ceil((n - tile) / (tile * step))) + 1
    actual = (n - tile) / (steps - 1) if steps > 1 else 99999999999
    return [int(np.round(actual * i)) for i in range(steps)]


def dense(image, predict, tile, step):
    """Return all probabilities (*s, k), in float64, one window at a time."""
    lacking = [max(t - n, 0) for n, t in zip(image.shape[:-1], tile)]
    inner = tuple(
        slice(more // 2, more // 2 + n) for n, more in zip(image.shape[:-1], lacking)
    )
    padding = [(more // 2, more - more // 2) for more in lacking]
    image = np.pad(image, [*padding, (0, 0)])
    sums, total = 0, np.zeros(image.shape[:-1])
    for origin in itertools.product(
        *(nnunet_starts(n, t, step) for n, t in zip(image.shape[:-1], tile))
    ):
        cut = tuple(slice(i, i + t) for i, t in zip(origin, tile))
        found = predict(image[cut][None])[0]
        if isinstance(sums, int):
            sums = np.zeros((*total.shape, found.shape[-1]))
        sums[cut] += gaussian(tile)[..., None] * found
        total[cut] += gaussian(tile)
    return (sums / total[..., None])[inner]


def everything(probability):
    """Decide nothing."""
    return probability


def whole(image, predict, tile, *, decide=everything, step=0.5, at=None, batch_size=3):
    at = [np.arange(n, dtype=float) for n in image.shape[:-1]] if at is None else at
    found = slabs(
        image,
        predict,
        tile=tile,
        batch_size=batch_size,
        step=step,
        places=at,
        decide=decide,
    )
    return np.concatenate(list(found))


def image_of(shape, channels=2):
    return np.random.default_rng(1).random((*shape, channels), np.float32)


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("shape, tile", [VOLUME, PLANE])
def test_windows_are_averaged_as_when_everything_is_kept(shape, tile, step):
    image, predict = image_of(shape), network(tile, 3)
    expected = dense(image, predict, tile, step)
    found = whole(image, predict, tile, step=step)
    np.testing.assert_allclose(found, expected, atol=2e-6)


@pytest.mark.parametrize("shape, tile", [VOLUME, PLANE])
def test_rows_in_a_file_are_those_in_memory(shape, tile, monkeypatch):
    image, predict = image_of(shape), network(tile, 3)
    expected = whole(image, predict, tile)
    monkeypatch.setattr(stitched, "_MOST_IN_MEMORY", 0)
    np.testing.assert_array_equal(whole(image, predict, tile), expected)


@pytest.mark.parametrize("shape, tile", [VOLUME, PLANE])
def test_lines_decided_one_by_one_are_those_decided_together(shape, tile, monkeypatch):
    image, predict = image_of(shape), network(tile, 3)
    at = [np.linspace(-1, n + 1, 2 * n) for n in shape]
    expected = whole(image, predict, tile, at=at)
    monkeypatch.setattr(sliding, "_BLOCK", 1)
    np.testing.assert_array_equal(whole(image, predict, tile, at=at), expected)


@pytest.mark.parametrize(
    "spacing_mm, new_spacing_mm",
    [((5.0, 0.9, 1.1), (2.0, 1.5, 1.0)), ((1.0, 1.0, 1.0), (2.5, None, 0.7))],
)
def test_the_native_grid_is_scipys_linear_interpolation(spacing_mm, new_spacing_mm):
    """Of probabilities, with the centres of both grids at one place."""
    record = {"image": image_of((8, 11, 9)), "spacing_mm": spacing_mm}
    prepare = Prepare(3, new_spacing_mm, window="none")
    image = prepare(record)["image"].astype(np.float32)
    predict, tile = network((4, 5, 6), 3), (4, 5, 6)
    kept = dense(image, predict, tile, 0.5)
    ratios = [a / b if b else 1 for a, b in zip(spacing_mm, new_spacing_mm)]
    centred = [
        (np.arange(n) - (n - 1) / 2) * ratio + (m - 1) / 2
        for n, m, ratio in zip((8, 11, 9), kept.shape, ratios)
    ]
    grid = np.meshgrid(*centred, indexing="ij")
    expected = np.stack(
        [
            ndimage.map_coordinates(kept[..., k], grid, order=1, mode="nearest")
            for k in range(3)
        ],
        axis=-1,
    )
    found = whole(image, predict, tile, at=places(prepare, record))
    np.testing.assert_allclose(found, expected, atol=2e-6)
    decided = whole(image, predict, tile, at=places(prepare, record), decide=classes)
    assert decided.dtype == np.uint8
    np.testing.assert_array_equal(decided, expected.argmax(axis=-1))


@pytest.mark.parametrize("old, new", [((6, 10), (9, 4)), ((3, 7), (12, 12))])
def test_resized_images_come_back_with_their_centres_in_place(old, new):
    """Pillow and scipy.ndimage.zoom put pixels alike: the image's edges stay edges."""
    record = {"image": image_of(old, 1)}
    prepare = Prepare(2, None, window="none", resize=new)
    kept = np.random.default_rng(2).random((*new, 1), np.float32)
    zooms = [n / m for n, m in zip(old, new)]
    expected = ndimage.zoom(
        kept[..., 0], zooms, order=1, mode="nearest", grid_mode=True
    )
    found = whole(kept, lambda images: images, new, at=places(prepare, record))
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)


def test_an_image_prepared_unchanged_has_its_probabilities_untouched():
    image = image_of((4, 5, 6), 1)
    for spacing_mm in (None, (1.0005, None, 2.0)):  # within what headers round
        record = {"image": image, "spacing_mm": (1.0, 1.0, 2.0)}
        at = places(Prepare(3, spacing_mm, window="none"), record)
        found = whole(image, lambda images: images, (4, 5, 6), at=at)
        np.testing.assert_allclose(found, image, rtol=3e-7)  # w p / w


@pytest.mark.parametrize(
    "shape, tile", [((2, 9, 3), (5, 4, 6)), ((3, 4), (8, 7)), ((1, 1), (4, 4))]
)
def test_images_smaller_than_a_window_are_padded_and_cropped(shape, tile):
    image, predict = image_of(shape), network(tile, 2)
    expected = dense(image, predict, tile, 0.5)
    found = whole(image, predict, tile)
    assert found.shape == (*shape, 2)
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_constant_probabilities_stay_what_they_are():
    """At 1 and 0 exactly, wherever windows meet and whatever the grid."""
    image = image_of((9, 7, 11))
    at = [np.linspace(-0.7, n + 0.3, 2 * n + 1) for n in (9, 7, 11)]

    def predict(images):
        return np.broadcast_to(np.float32([0, 1, 0]), (*images.shape[:-1], 3))

    found = whole(image, predict, (4, 5, 6), at=at)
    np.testing.assert_allclose(
        found, np.broadcast_to([0, 1, 0], found.shape), atol=1e-6
    )
    assert (whole(image, predict, (4, 5, 6), at=at, decide=classes) == 1).all()


def test_a_voxel_as_likely_inside_as_not_is_outside():
    found = regions(np.float32([[0.5, 0.51], [0.49, 0.5]]))
    assert found.tolist() == [[False, True], [False, False]]


@pytest.mark.parametrize("k", [1, 3])
def test_regions_are_what_is_rather_inside_and_may_overlap(k):
    image = image_of((9, 7, 8))
    single = network((4, 5, 6), 2 * k)

    def predict(images):
        return np.clip(2 * single(images)[..., :k], 0, 1)

    expected = dense(image, predict, (4, 5, 6), 0.5) > 0.5
    found = whole(image, predict, (4, 5, 6), decide=regions)
    assert found.dtype == bool and found.shape == (9, 7, 8, k)
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(found, expected)


def test_the_network_is_compiled_once_whatever_the_images_size():
    traced = []

    @jax.jit
    def predict(images):
        traced.append(images.shape)
        return images

    for shape in ((4, 4), (3, 9), (13, 7)):
        whole(image_of(shape), predict, (4, 4), batch_size=3)
    assert traced == [(3, 4, 4, 2)]


def test_mirroring_is_the_mean_over_all_flips():
    """Of both axes of a picture: as it is, turned along one, the other, both."""
    predict, images = network((4, 6), 3), np.stack([image_of((4, 6))] * 2)
    expected = (
        predict(images)
        + predict(images[:, ::-1])[:, ::-1]
        + predict(images[:, :, ::-1])[:, :, ::-1]
        + predict(images[:, ::-1, ::-1])[:, ::-1, ::-1]
    ) / 4
    np.testing.assert_allclose(mirrored(predict, (0, 1))(images), expected, atol=1e-6)
    np.testing.assert_array_equal(mirrored(predict, ())(images), predict(images))


def test_slabs_come_as_soon_as_no_window_reaches_them():
    image, calls = image_of((20, 4)), []

    def predict(images):
        calls.append(len(calls))
        return images

    found = slabs(
        image,
        predict,
        tile=(4, 4),
        batch_size=1,
        step=1.0,
        places=[np.arange(20.0), np.arange(4.0)],
        decide=classes,
    )
    assert [(len(slab), len(calls)) for slab in found] == [(4, n) for n in range(1, 6)]


def peak_bytes(function):
    tracemalloc.start()
    function()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def peak_resident_bytes(function):
    """Return by how much this process grew at most, as Linux counts its pages."""

    def status(field):
        lines = Path("/proc/self/status").read_text().splitlines()
        (line,) = (line for line in lines if line.startswith(field))
        return 1024 * int(line.split()[1])

    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = status("VmRSS")
    function()
    return status("VmHWM") - before


@pytest.mark.parametrize("measured", [peak_bytes, peak_resident_bytes])
def test_memory_is_flat_in_the_number_of_classes(measured, monkeypatch):
    """60 classes of the image are 63 MB, those of the rows at work 36 MB."""
    monkeypatch.setattr(stitched, "_MOST_IN_MEMORY", 2**20)
    image, tile = image_of((16, 128, 128), 1), (8, 16, 32)
    at = [np.linspace(0, n - 1, n + 3) for n in (16, 128, 128)]

    def run(k):
        def predict(images):
            return np.broadcast_to(images, (*images.shape[:-1], k))

        return lambda: whole(
            image, predict, tile, step=1.0, at=at, decide=classes, batch_size=1
        )

    few, many = measured(run(3)), measured(run(60))
    # two rows, one window, blocks
    assert many - few < 20e6
