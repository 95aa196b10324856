"""The bones that the phantom knows: where they lie, and what a network has to learn."""

import numpy as np
import pytest

from medssl_jax.data.sources import phantom_slices as module
from medssl_jax.data.sources.phantom import phantom
from medssl_jax.data.sources.phantom_slices import phantom_slices
from medssl_jax.phantoms.knee.acquire import acquire

SIZE = (12, 32, 32)
BONE = {"cortex", "marrow", "red_marrow", "bruise"}


def knees(**settings):
    settings = {"count": 24, "seed": 0, "size_voxels": SIZE, "masks": True} | settings
    return phantom(**settings)


def slices(**settings):
    settings = {"count": 24, "seed": 0, "size_pixels": (64, 64)} | settings
    return phantom_slices(masks=True, **settings)


def test_masks_change_no_bit_of_the_images_and_no_stamp_of_those_without():
    without, masked = knees(masks=False), knees()
    assert without.class_names is None and "mask" not in without[0]
    for i in (0, 23):
        np.testing.assert_array_equal(without[i]["image"], masked[i]["image"])
    assert without.stamp(0) != masked.stamp(0)
    # of caches made before there were masks
    assert without.stamp(0).startswith("phantom 1 (32, 32) (Anatomy(")


def test_a_fibula_that_a_slice_cuts_is_background_there(monkeypatch):
    """It hardly ever does, and the names say nothing of it."""
    cut = np.arange(64 * 64, dtype=np.uint8).reshape(1, 64, 64) % 5
    monkeypatch.setattr(module, "acquire_bones", lambda *scan: cut)
    source = slices(count=1)
    assert len(source.class_names) == 4
    np.testing.assert_array_equal(source[0]["mask"], np.where(cut[0] == 4, 0, cut[0]))


@pytest.mark.parametrize("source", [knees(), slices()], ids=["volumes", "slices"])
def test_a_mask_ends_between_the_images_marrow_and_the_bones_edge(source):
    for i in range(0, len(source), 3):
        mask = source[i]["mask"]
        assert mask.dtype == np.uint8 and mask.shape == source[i]["image"].shape[:-1]
        marrow = share(source, i, {"marrow"}).reshape(mask.shape) > 0.5
        bone = share(source, i, BONE).reshape(mask.shape) >= 0.5
        assert (mask[marrow] > 0).all() and (mask[~bone] == 0).all()
        assert np.sum(bone & ~marrow) < 0.5 * np.sum(bone)  # or it would say little


def share(source, i, lit):
    """Return an image in which these tissues shine alone, nothing being disturbed."""
    anatomy, signs, scan = source.draw(i)
    scan = scan._replace(
        signal={tissue: float(tissue in lit) for tissue in scan.signal},
        bias=(0.0,) * 6,
        texture=((0.0,) * 4,),
        blur=0.0,
        ghost=0.0,
        noise=0.0,
        scale=1.0,
    )
    return acquire(anatomy, signs, scan, source.matrix)


def test_bones_lie_as_in_a_knee():
    source = knees(size_voxels=(16, 64, 64))
    assert source.class_names == (
        "background",
        "femur",
        "tibia",
        "patella",
        "fibula",
    )
    for i in range(len(source)):
        mask = source[i]["mask"]
        centre = [np.argwhere(mask == bone).mean(axis=0) for bone in range(5)]
        _, femur, tibia, patella, fibula = centre
        assert femur[1] < tibia[1] and patella[1] < tibia[1] < fibula[1]  # rows go down
        assert patella[2] < femur[2] and patella[2] < fibula[2]  # columns go back
        lateral = 1 if source.draw(i)[2].left else -1
        assert lateral * (fibula[0] - tibia[0]) > 0  # slices go to the left
        assert np.abs(patella[0] - femur[0]) < np.abs(fibula[0] - femur[0])


@pytest.mark.parametrize("size", [SIZE, (16, 64, 64)])
def test_every_bone_is_there_to_be_seen(size):
    source = knees(size_voxels=size, count=32)
    counts = [np.bincount(source[i]["mask"].ravel(), minlength=5) for i in range(32)]
    least = np.min(counts, axis=0)
    assert (least[1:] >= 20).all()


def test_neither_brightness_nor_place_alone_finds_the_bones():
    source = knees(count=40, fixed_slices=True)
    masks = np.stack([source[i]["mask"] for i in range(40)])
    for bone in range(1, 5):  # where most knees have it
        usual = (masks == bone).mean(axis=0) > 0.5
        assert np.mean([dice(usual, mask == bone) for mask in masks]) < 0.7
    best = []
    for i in range(0, 40, 4):  # the best band of brightness, chosen with the answer
        image, bone = source[i]["image"][..., 0], masks[i] > 0
        levels = np.quantile(image, np.linspace(0, 1, 11))
        bands = [(a, b) for a in levels for b in levels if a < b]
        best.append(max(dice((image >= a) & (image <= b), bone) for a, b in bands))
    assert np.mean(best) < 0.65


def dice(a, b):
    return 2 * np.sum(a & b) / (np.sum(a) + np.sum(b))


def test_slices_have_three_bones():
    source = slices(count=40)
    assert source.class_names == ("background", "femur", "tibia", "patella")
    counts = [np.bincount(source[i]["mask"].ravel()) for i in range(40)]
    assert {len(c) for c in counts} == {4} and np.min(counts) > 0


def test_a_phantoms_mask_is_written_as_an_array(tmp_path):
    source = knees()
    path = source.write_mask(source.name(3), source[3]["mask"], tmp_path)
    assert path == tmp_path / "phantom-000003.npy"
    np.testing.assert_array_equal(np.load(path), source[3]["mask"])
