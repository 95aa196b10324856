"""The decathlon's layout: its classes, channels and regions, and broken folders."""

import csv
import json
import pickle

import nibabel as nib
import numpy as np
import pytest

from medssl_jax.data.sources.msd import msd
from medssl_jax.errors import ConfigError, DataError

SHAPE = (4, 5, 6)
AFFINE = np.diag([-1.0, -1, 2, 1])
BRATS = (("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", (3,)))
LABELS = {"0": "background", "1": "oedema", "2": "necrosis", "3": "enhancing tumour"}


def mask(seed, classes=4):
    return np.random.RandomState(seed).randint(0, classes, SHAPE).astype(np.uint8)


def layout(root, channels=1, **fields):
    """Write two training cases and a test case; return what dataset.json says."""
    shape = SHAPE if channels == 1 else (*SHAPE, channels)
    for seed, name in enumerate(["Tr/a", "Tr/b", "Ts/c"]):
        image = np.random.RandomState(9 + seed).randint(0, 99, shape).astype(np.int16)
        write(root / f"images{name}.nii.gz", image)
    for seed, name in enumerate("ab"):
        write(root / f"labelsTr/{name}.nii.gz", mask(seed))
    about = {
        "labels": LABELS,
        "modality": {str(i): f"MR{i}" for i in range(channels)},
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"}
            for n in "ba"
        ],
        "test": ["./imagesTs/c.nii.gz"],
    } | fields
    about = {field: value for field, value in about.items() if value is not None}
    (root / "dataset.json").write_text(json.dumps(about))


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(data, AFFINE), path)


def test_training_cases_have_masks_and_test_cases_none(tmp_path):
    layout(tmp_path)
    train = msd(root=str(tmp_path), orientation="acquired")
    assert train.names == ["imagesTr/b.nii.gz", "imagesTr/a.nii.gz"]
    np.testing.assert_array_equal(train[1]["mask"], mask(0).T)
    assert train.class_names == tuple(LABELS.values())
    test = msd(root=str(tmp_path), split="test")
    assert test.names == ["imagesTs/c.nii.gz"] and "mask" not in test[0]
    assert test.class_names == train.class_names


def test_a_mask_is_written_below_the_images_name(tmp_path):
    layout(tmp_path)
    source = msd(root=str(tmp_path))
    path = source.write_mask(source.name(1), source[1]["mask"], tmp_path / "out")
    assert path == tmp_path / "out/imagesTr/a.nii.gz"
    np.testing.assert_array_equal(np.asanyarray(nib.load(path).dataobj), mask(0))


def test_volumes_have_as_many_channels_as_there_are_modalities(tmp_path):
    layout(tmp_path, channels=4)
    image = msd(root=str(tmp_path), orientation="acquired")[1]["image"]
    stored = nib.load(tmp_path / "imagesTr/a.nii.gz").get_fdata()
    np.testing.assert_array_equal(image, stored.transpose(2, 1, 0, 3))
    layout(tmp_path, channels=4, modality={"0": "T1", "1": "T2"})
    with pytest.raises(DataError, match=r"a\.nii\.gz: has 4 channel.* and 2 are"):
        msd(root=str(tmp_path))[1]


def test_regions_overlap_where_they_share_classes(tmp_path):
    layout(tmp_path)
    source = msd(root=str(tmp_path), regions=BRATS, orientation="acquired")
    source = pickle.loads(pickle.dumps(source))
    assert source.class_names == ("whole", "core", "enhancing")
    voxels = mask(0).T
    expected = np.stack([voxels > 0, voxels > 1, voxels == 3], axis=-1)
    np.testing.assert_array_equal(source[1]["mask"], expected)
    assert source[1]["mask"].dtype == np.uint8
    as_saved = json.loads(json.dumps(BRATS))  # a run's config has lists
    same = msd(root=str(tmp_path), regions=as_saved, orientation="acquired")
    assert same.stamp(0) == source.stamp(0)
    classes = msd(root=str(tmp_path), orientation="acquired")
    assert classes.stamp(0) != source.stamp(0)


@pytest.mark.parametrize(
    "regions",
    [
        (("whole", (1, 4)),),
        (("whole", (0, 1)),),
        (("whole", ()),),
        (("", (1,)),),
        (("whole",),),
        (("whole", (1,)), ("whole", (2,))),
    ],
)
def test_a_region_that_is_none_is_named(tmp_path, regions):
    layout(tmp_path)
    with pytest.raises(ConfigError, match="data.regions"):
        msd(root=str(tmp_path), regions=regions)


def test_classes_with_gaps_are_good_for_regions_only(tmp_path):
    labels = {"0": "background", "1": "necrosis", "4": "enhancing"}
    layout(tmp_path, labels=labels)
    for seed, name in enumerate("ab"):
        write(tmp_path / f"labelsTr/{name}.nii.gz", mask(seed, 2) * np.uint8(4))
    with pytest.raises(DataError, match=r"classes \[0, 1, 4\].*data\.regions"):
        msd(root=str(tmp_path))
    source = msd(root=str(tmp_path), regions=(("core", (1, 4)),))
    assert source[0]["mask"].mean() == mask(1, 2).mean()


def test_patients_come_from_a_table_with_columns_of_its_own(tmp_path):
    layout(tmp_path)
    rows = [("path", "patient", "group", "fold")]
    rows += [(f"imagesTr/{n}.nii.gz", "p7", "HF", n) for n in "ab"]
    with open(tmp_path / "volumes.csv", "w", newline="") as file:
        csv.writer(file).writerows(rows)
    settings = {"root": str(tmp_path), "labels": str(tmp_path / "volumes.csv")}
    source = msd(**settings)
    assert source.patients == ["p7", "p7"] and source.labels is None
    assert msd(**settings, only="fold=a").names == ["imagesTr/a.nii.gz"]


def test_a_value_that_dataset_json_does_not_name_is_an_error_of_the_mask(tmp_path):
    layout(tmp_path, labels={"0": "background", "1": "a", "2": "b"})
    with pytest.raises(DataError, match=r"labelsTr/a\.nii\.gz: holds \[3\].*0, 1, 2"):
        msd(root=str(tmp_path))[1]


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"labels": None}, "no mapping 'labels'"),
        ({"labels": ["background", "a"]}, "no mapping 'labels'"),
        ({"labels": {"background": 0, "a": 1}}, '"0": "background"'),  # nnU-Net's
        ({"labels": {"1": "a"}}, '"0": "background"'),
        ({"modality": None}, "no mapping 'modality'"),
        ({"modality": {}}, "no channel"),
        ({"training": None}, "no list 'training'"),
        ({"training": []}, "no case for data.split 'train'"),
        ({"training": ["./imagesTr/a.nii.gz"]}, 'imagesTr/a.nii.gz.*"label"'),
        ({"training": [{"image": "a", "label": 1}]}, "1 under 'training'"),
        ({"training": [{"image": "a", "label": "b"}] * 2}, "1 case.*twice: 'a'"),
        ({"test": {}}, "no list 'test'"),
    ],
)
def test_a_dataset_json_that_lacks_something_is_named(tmp_path, fields, reason):
    layout(tmp_path, **fields)
    with pytest.raises(DataError, match=f"dataset.json: .*{reason}"):
        msd(root=str(tmp_path))


@pytest.mark.parametrize("text", ["{", "[]", "\xff"])
def test_a_damaged_dataset_json_is_named(tmp_path, text):
    layout(tmp_path)
    (tmp_path / "dataset.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=r"dataset\.json"):
        msd(root=str(tmp_path))


def test_files_that_are_not_there_are_named(tmp_path):
    with pytest.raises(DataError, match="dataset.json: is missing"):
        msd(root=str(tmp_path))
    with pytest.raises(DataError, match="data.root"):
        msd(root="")
    layout(tmp_path)
    (tmp_path / "labelsTr/a.nii.gz").unlink()
    (tmp_path / "imagesTs/c.nii.gz").unlink()
    reason = r"dataset\.json: 1 file.*not there: "
    with pytest.raises(DataError, match=f"{reason}'labelsTr/a.nii.gz'"):
        msd(root=str(tmp_path))
    with pytest.raises(DataError, match=f"{reason}'imagesTs/c.nii.gz'"):
        msd(root=str(tmp_path), split="test")
    with pytest.raises(ConfigError, match="data.split 'valid'"):
        msd(root=str(tmp_path), split="valid")


def test_a_folder_needs_no_test_cases(tmp_path):
    layout(tmp_path, test=None)
    assert len(msd(root=str(tmp_path))) == 2
    with pytest.raises(DataError, match="no case for data.split 'test'"):
        msd(root=str(tmp_path), split="test")


def test_the_hippocampus_has_the_voxels_that_nibabel_counts(real_data):
    root = real_data / "msd_hippocampus"
    source = msd(root=str(root))
    assert len(source) == 200
    assert source.class_names == ("background", "Anterior", "Posterior")
    for i in (0, 199):
        stored = nib.load(root / source.name(i).replace("images", "labels")).get_fdata()
        counts = [np.sum(stored == value) for value in range(3)]
        assert np.bincount(source[i]["mask"].ravel()).tolist() == counts


def test_the_left_ventricles_patients_are_in_one_split_each(real_data):
    root = str(real_data / "sunnybrook_lv")
    settings = {"root": root, "labels": f"{root}/volumes.csv"}
    train, test = (msd(**settings, only=f"split={s}") for s in ("train", "test"))
    assert (len(train), len(test)) == (60, 30)
    assert len(set(train.patients)) == 30 and len(set(test.patients)) == 15
    assert not set(train.patients) & set(test.patients)
    record = test[0]
    assert record["mask"].any() and record["spacing_mm"][0] == 9
