"""Slices of volumes: which, from where, whose; and a run's sources made of them."""

import numpy as np
import pytest

from medssl_jax.data.host import Prepare
from medssl_jax.data.order import roles
from medssl_jax.data.slices import Slices, Slicing, Turned
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, DataError

DEPTHS = {"a": 6, "b": 3, "c": 6}


def volume(name):
    """Return a volume whose voxels say where they lie: slice, row, column."""
    places = np.indices((DEPTHS[name], 4, 5)).astype(np.float32)
    image = places[0] + places[1] / 10 + places[2] / 100
    mask = np.ones(image.shape, np.uint8)
    return {"image": image[..., None], "spacing_mm": (3.0, 1.0, 2.0), "mask": mask}


def source(read=volume):
    names = list(DEPTHS)
    labels, patients = np.array([0, 1, -1]), ["P1", "P2", "P1"]
    stamp = "{} today".format
    return Examples(names, read, labels, patients, stamp, has_masks=True)


def test_slices_are_the_middles_of_equal_parts_whatever_the_depth():
    found = Slices(source(), Slicing(of_each=3, axis=0, neighbours=0))
    assert len(found) == 9 and found.distinct == 9
    first = [float(found[i]["image"][0, 0, 0]) for i in range(9)]
    assert first == [1, 3, 5, 0, 1, 2, 1, 3, 5]
    assert found[4]["image"].shape == (4, 5, 1)
    more = Slices(source(), Slicing(of_each=6, axis=0, neighbours=0))
    assert [float(more[i]["image"][0, 0, 0]) for i in range(6, 12)] == [
        0,
        0,
        1,
        1,
        2,
        2,
    ]


def test_labels_and_patients_are_those_of_the_volume_and_masks_stay_behind():
    found = Slices(source(), Slicing(of_each=2, axis=0, neighbours=0))
    assert found.labels.tolist() == [0, 0, 1, 1, -1, -1]
    assert list(found.patients) == ["P1", "P1", "P2", "P2", "P1", "P1"]
    assert [found.name(i) for i in (0, 3)] == ["a, slice 1 of 2", "b, slice 2 of 2"]
    assert not found.has_masks and set(found[0]) == {"image"}
    assert found.origin(3)[1] == 1


def test_neighbours_are_channels_and_the_last_slice_stands_for_those_beyond():
    found = Slices(source(), Slicing(of_each=3, axis=0, neighbours=2))
    image = found[5]["image"]  # of b, the last of three
    assert image.shape == (4, 5, 5)
    assert image[0, 0].tolist() == [0, 1, 2, 2, 2]


@pytest.mark.parametrize("axis", [1, 2])
def test_slices_of_another_axis_have_its_spacing_and_place(axis):
    turned = Turned(source(), axis)
    record = turned[0]
    whole = volume("a")["image"]
    np.testing.assert_array_equal(record["image"][2], np.take(whole, 2, axis))
    expected = {1: (1.0, 3.0, 2.0), 2: (2.0, 3.0, 1.0)}
    assert record["spacing_mm"] == expected[axis]
    assert turned.stamp(0) == f"a today\naxis {axis} in front"


def test_an_image_has_no_slices():
    flat = source(lambda name: {"image": volume(name)["image"][0]})
    for axis in (0, 1):
        with pytest.raises(DataError, match="a: has 2 axes, and data.slices takes"):
            Turned(flat, axis)[0]


def test_volumes_are_prepared_whole_and_not_resampled_across_slices():
    prepare = Prepare(2, (2.0, 2.0), "percentiles", (0.0, 100.0))
    whole = Slicing(of_each=1, axis=0, neighbours=0).prepare(prepare)
    assert whole.ndim == 3 and whole.spacing_mm == (None, 2.0, 2.0)
    prepared = whole(volume("a"))["image"]
    assert prepared.shape == (6, 2, 5, 1)
    # one window of all slices: the first is darker than the last
    assert prepared[0].max() < prepared[-1].min()


def opened(folder, splits, patients=True, **slices):
    written = folder / "volumes"
    if not written.exists():
        written.mkdir()
        for name in DEPTHS:
            np.save(written / f"{name}.npy", volume(name)["image"][..., 0])
        rows = ["path,label,patient", "a.npy,0,P1", "b.npy,1,P2", "c.npy,0,P1"]
        rows = rows if patients else [row.rpartition(",")[0] for row in rows]
        (folder / "labels.csv").write_text("\n".join(rows))
    settings = {
        "name": "npy",
        "root": str(written),
        "labels": str(folder / "labels.csv"),
    }
    prepare = Prepare(2, None, "percentiles", (0.0, 100.0))
    return roles.sources(
        settings,
        splits,
        prepare,
        0,
        folder,
        cache="cache",
        on_error="raise",
        balance="",
        slices=slices,
    )


def test_a_run_splits_slices_by_patient_and_caches_volumes(tmp_path):
    found = opened(
        tmp_path, {"test": {"fraction": 0.5}}, of_each=4, axis=2, neighbours=1
    )
    patients = [set(found[role].patients) for role in ("train", "test")]
    assert not patients[0] & patients[1]
    assert len(found["train"]) + len(found["test"]) == 12
    assert found["train"][0]["image"].shape[-1] == 3
    of_volumes = {found["train"].origin(i)[1] for i in range(len(found["train"]))}
    for i in range(len(found["train"])):
        _ = found["train"][i]
    assert len(list((tmp_path / "cache").iterdir())) == len(of_volumes)


def test_slices_of_a_volume_whose_patient_is_unknown_stay_together(tmp_path):
    found = opened(
        tmp_path,
        {"test": {"fraction": 0.5}},
        patients=False,
        of_each=8,
        axis=0,
        neighbours=0,
    )
    volumes = [
        {one.origin(i)[1] for i in range(len(one))}
        for one in (found["train"], found["test"])
    ]
    assert all(volumes) and not volumes[0] & volumes[1]
    assert len(found["train"]) + len(found["test"]) == 24


def test_what_slices_cannot_be_is_told(tmp_path):
    with pytest.raises(ConfigError, match="data.slices.*of_each"):
        opened(tmp_path, {}, of_each=-1, axis=0, neighbours=0)
    with pytest.raises(ConfigError, match="data.slices"):
        opened(tmp_path, {}, each=3)


def lesions(name):
    """Return a volume with n voxels of lesion in its n-th slice."""
    record = volume(name)
    mask = np.zeros(record["image"].shape[:-1], np.uint8)
    for i, plane in enumerate(mask):
        plane.flat[:i] = 1 + i % 2  # of two structures
    return record | {"mask": mask}


@pytest.mark.parametrize("fewest", [1, 3])
def test_a_slice_is_labelled_by_the_mask_of_its_middle(fewest):
    found = Slices(source(lesions), Slicing(6, 0, 2, lesion_voxels=fewest))
    expected = [int(i >= fewest) for i in range(6)]
    of_three = [int(i // 2 >= fewest) for i in range(6)]
    assert found.labels.tolist() == [*expected, *of_three, *expected]
    assert list(found.patients) == ["P1"] * 6 + ["P2"] * 6 + ["P1"] * 6
    assert not found.has_masks and set(found[0]) == {"image"}
    # regions that overlap
    regions = source(
        lambda name: (
            volume(name)
            | {"mask": np.stack([lesions(name)["mask"] == k for k in (1, 2)], axis=-1)}
        )
    )
    found = Slices(regions, Slicing(6, 0, 2, lesion_voxels=fewest))
    assert found.labels[:6].tolist() == expected


def test_masks_turn_with_their_volume_where_they_are_wanted():
    turned = Turned(source(lesions), 2, masks=True)
    mask = turned[0]["mask"]
    assert mask.shape == turned[0]["image"].shape[:-1] == (5, 6, 4)
    np.testing.assert_array_equal(mask[3], lesions("a")["mask"][..., 3])
    assert turned.stamp(0) != Turned(source(lesions), 2).stamp(0)


def test_slices_without_masks_cannot_be_labelled_by_them():
    bare = source(lambda name: {"image": volume(name)["image"]})
    object.__setattr__(bare, "has_masks", False)
    with pytest.raises(ConfigError, match="lesion_voxels labels slices by masks, and"):
        _ = Slices(bare, Slicing(6, 0, 2, lesion_voxels=1)).labels
