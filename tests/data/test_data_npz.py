"""Arrays of one .npz: made ones, damaged ones, and the real archives."""

import pickle

import numpy as np
import pytest

from medssl_jax.data.sources.npz import npz
from medssl_jax.errors import DataError

RANDOM = np.random.RandomState(0)
IMAGES = RANDOM.randint(0, 255, (4, 6, 5), np.uint8)


def write(path, **arrays):
    np.savez_compressed(path, **({"images": IMAGES} | arrays))
    return str(path)


def test_each_row_is_an_example_with_its_class_patient_and_name(tmp_path):
    root = write(
        tmp_path / "a.npz",
        labels=np.uint8([0, 2, 1, 0]),
        patient=np.array([7, 7, 12, 3]),
        files=np.array(["d.png", "a.png", "c.png", "b.png"]),
    )
    source = npz(root=root, patients="patient", names="files")
    assert source.labels.tolist() == [0, 2, 1, 0] and source.label_names is None
    assert source.patients == ["7", "7", "12", "3"]
    assert [source.name(i) for i in range(4)] == ["d.png", "a.png", "c.png", "b.png"]
    for i in range(4):
        np.testing.assert_array_equal(source[i]["image"][..., 0], IMAGES[i])
    assert len(pickle.dumps(source)) < 5000  # no images go to the workers
    assert source.stamp(0) != source.stamp(1)


def test_findings_have_their_names_and_colours_their_channels(tmp_path):
    labels = np.float32([[0, 1], [1, -1], [1, 0], [-1, -1]])
    colours = RANDOM.randint(0, 255, (4, 6, 5, 3), np.uint8)
    path, called = tmp_path / "a.npz", np.array(["edema", "pus"])
    root = write(path, images=colours, y=labels, called=called)
    source = npz(root=root, labels="y", findings="called", channels_last=True)
    assert source.labels.tolist() == labels.tolist()
    assert source.labels.dtype == np.int64
    assert source.label_names == ["edema", "pus"]
    np.testing.assert_array_equal(source[2]["image"], colours[2])
    assert npz(root=root, labels="y").label_names == ("finding 0", "finding 1")
    bare = npz(root=root, labels="", channels_last=True)
    assert bare.labels is None and bare.patients is None
    np.testing.assert_array_equal(bare[3]["image"], colours[3])


def test_only_some_keep_their_labels_patients_and_names(tmp_path):
    root = write(
        tmp_path / "a.npz",
        labels=np.uint8([0, 2, 1, 3]),
        patient=np.array([7, 8, 12, 3]),
        files=np.array(["d", "a", "c", "b"]),
        kind=np.array([1, 5, 1, 5]),
    )
    source = npz(root=root, patients="patient", names="files", only="kind=5")
    assert source.labels.tolist() == [2, 3] and source.patients == ["8", "3"]
    assert [source.name(i) for i in range(2)] == ["a", "b"]
    for place, i in enumerate((1, 3)):
        np.testing.assert_array_equal(source[place]["image"][..., 0], IMAGES[i])


@pytest.mark.parametrize(
    ("arrays", "settings", "reason"),
    [
        ({}, {}, "'labels'; it holds: images"),
        ({"labels": np.zeros(3, int)}, {}, r"labels .*\(3,\).* 4 images"),
        ({"labels": np.array(list("abcd"))}, {}, "labels holds <U1"),
        ({"labels": np.array([0.5, 1, 1, 0])}, {}, "labels holds float64"),
        ({"labels": np.array([0, 1, -2, 0])}, {}, r"labels\[2\] is -2"),
        ({"labels": np.eye(4, 2) * 2}, {}, r"labels\[0, 0\] is 2, neither 1"),
        ({"labels": np.full(4, -1)}, {}, "labels is -1 throughout"),
        ({}, {"labels": "", "patients": "ids"}, "'ids'"),
        ({"ids": np.zeros(3, int)}, {"labels": "", "patients": "ids"}, "ids .*3"),
        ({"ids": np.zeros(4)}, {"labels": "", "patients": "ids"}, "ids is float64"),
        ({"n": np.zeros(4, int)}, {"labels": "", "names": "n"}, "n has a name twice"),
        ({"images": np.zeros((4, 6))}, {"labels": ""}, r"images is float64 \(4, 6\)"),
        (
            {"labels": np.array([0, 1, 1, 0]), "n": np.array(["x"])},
            {"findings": "n"},
            "labels holds no .*data.findings",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path, arrays, settings, reason):
    root = write(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=f"a.npz: .*{reason}"):
        npz(root=root, **settings)


def test_an_image_of_one_value_is_named_when_it_is_read(tmp_path):
    root = write(tmp_path / "a.npz", images=np.zeros((2, 3, 3), np.uint8))
    with pytest.raises(DataError, match="a.npz, 000001: is constant"):
        npz(root=root, labels="")[1]


def test_damage_pickles_and_a_missing_file_are_named(tmp_path):
    root = write(tmp_path / "a.npz", labels=np.array([{}, 1, 2, 3], object))
    with pytest.raises(DataError, match="a.npz: .*allow_pickle"):
        npz(root=root)
    packed = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(packed[: len(packed) // 2])
    for broken in (root, str(tmp_path / "b.npz"), ""):
        with pytest.raises(DataError, match=broken or "data.root"):
            npz(root=broken)


def test_the_chest_xrays_are_read_with_their_patients(real_data):
    source = npz(
        root=str(real_data / "nih_cxr/nih_cxr_224.npz"),
        patients="patient",
        names="names",
    )
    assert len(source) == 1000 and np.bincount(source.labels).tolist() == [500, 500]
    assert len(set(source.patients)) == 682
    assert source[999]["image"].shape == (224, 224, 1)
    # NIH's file names begin with the patient's number
    for i in (0, 500, 999):
        assert int(source.name(i).partition("_")[0]) == int(source.patients[i])


def test_mednist_is_read_with_its_six_kinds(real_data):
    root = str(real_data / "mednist/mednist_64_12k.npz")
    source = npz(root=root, names="names")
    assert len(source) == 12000 and len(np.unique(source.labels)) == 6
    kinds = [source.name(i).partition("/")[0] for i in range(0, 12000, 997)]
    classes = ["AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"]
    assert [classes[source.labels[i]] for i in range(0, 12000, 997)] == kinds
    assert source[7]["image"].shape == (64, 64, 1)
