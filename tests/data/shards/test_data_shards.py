"""Shards: the raw files' batches to the bit, and no damage that goes unnoticed."""

import json
import pickle
import sys

import nibabel as nib
import numpy as np
import prepared
import pytest
import tensorflow_datasets
import tfds_dataset
from absl import flags

from medssl_jax import resolve
from medssl_jax.data.host import Prepare
from medssl_jax.data.shards import layout
from medssl_jax.data.sources.npy import npy
from medssl_jax.data.sources.shards import shards
from medssl_jax.data.sources.tfds import tfds
from medssl_jax.errors import ConfigError, DataError

SHARD = "medssl_jax-train.array_record-0000{}-of-00003"


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    return prepared.images(tmp_path_factory.mktemp("raw") / "images", 10)


@pytest.fixture(scope="module")
def whole(raw, tmp_path_factory):
    """Ten images in shards of four, four and two."""
    return prepared.run(prepared.npy(raw), tmp_path_factory.mktemp("shards"))


@pytest.fixture
def copy(whole, tmp_path):
    """The same shards, to be damaged."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in whole.iterdir():
        if path.is_file():
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def open_train(folder):
    return shards(root=str(folder), split="train")


def volumes(root):
    """Four NIfTI volumes of 16-bit integers, none like the other in size or spacing."""
    root.mkdir()
    random = np.random.default_rng(1)
    for i in range(4):
        data = random.integers(-900, 900, (9 + i, 10, 8)).astype(np.int16)
        affine = np.diag([1.0 + 0.2 * i, 0.7, 2.0, 1.0])
        nib.save(nib.Nifti1Image(data, affine), root / f"{i}.nii.gz")
    return str(root)


def same_batches(found, folder, tmp_path, **options):
    opened, draw = prepared.sources(found, prepared.raw(found), tmp_path)
    reference = prepared.batches(opened, draw, 4)
    source = {"name": "shards", "root": str(folder), "split": "train"}
    opened, draw = prepared.sources(found, source, tmp_path)
    for batch, expected in zip(
        prepared.batches(opened, draw, 4, **options), reference, strict=True
    ):
        assert batch.keys() == expected.keys()
        for name, array in expected.items():
            assert batch[name].dtype == array.dtype
            assert batch[name].tobytes() == array.tobytes(), name
    return reference


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_from_shards_are_those_from_the_raw_images_to_the_bit(
    raw, whole, tmp_path, workers
):
    flags.FLAGS.mark_as_parsed()  # Grain's workers want absl's flags
    found = prepared.npy(raw)
    batches = same_batches(found, whole, tmp_path, workers=workers)
    assert batches[0]["image"].dtype == np.uint8 and "label" in batches[0]


@pytest.mark.parametrize("spacing_mm", [None, (1.5, None, 0.9)])
def test_batches_from_shards_are_those_from_resampled_volumes(tmp_path, spacing_mm):
    found = prepared.config(
        "nifti",
        data__root=volumes(tmp_path / "volumes"),
        data__shape=(6, 6, 6),
        data__spacing_mm=spacing_mm,
        examples_per_shard=3,
    )
    folder = prepared.run(found, tmp_path / "shards")
    batches = same_batches(found, folder, tmp_path)
    assert batches[0]["image"].dtype == np.float16
    source = open_train(folder)
    assert source.labels is None and source.patients is None
    # columns, rows, slices of the file become slices, rows, columns
    expected = spacing_mm and [spacing_mm[0], 0.7, spacing_mm[2]]
    expected = expected or [2.0, 0.7, 1.2]
    np.testing.assert_allclose(source[1]["spacing_mm"], expected, rtol=1e-6)


def test_the_spacing_of_resized_images_keeps_their_field_of_view(tmp_path):
    found = prepared.config(
        "nifti",
        data__root=volumes(tmp_path / "volumes"),
        data__shape=(6, 6, 5),
        data__resize=(20, 5),
        examples_per_shard=3,
    )
    source = open_train(prepared.run(found, tmp_path / "shards"))
    # of (8, 10, 10) voxels: ten rows become twenty, ten columns five
    assert source[1]["image"].shape == (8, 20, 5, 1)
    np.testing.assert_allclose(source[1]["spacing_mm"], [2.0, 0.35, 2.4], rtol=1e-6)


def test_a_setting_that_one_side_does_not_know_is_a_difference():
    there, here = {"ndim": 2, "window": "none"}, {"ndim": 2, "resize": [9]}
    assert layout.differences(there, here) == [
        "data.resize is [9] here, None there",
        "data.window is None here, 'none' there",
    ]


def test_vectors_of_labels_pass_through(tmp_path):
    random = np.random.default_rng(0)
    findings = random.integers(-1, 2, (8, 4))
    images = random.integers(0, 255, (8, 8, 8, 3), np.uint8)
    features = {
        "image": tensorflow_datasets.features.Tensor(shape=(8, 8, 3), dtype=np.uint8),
        "label": tensorflow_datasets.features.Tensor(shape=(4,), dtype=np.int64),
    }
    examples = [
        {"image": image, "label": label}
        for image, label in zip(images, findings, strict=True)
    ]
    found = prepared.config(
        "tfds",
        data__data_dir=str(tfds_dataset.write(tmp_path, examples, features)),
        data__shape=(8, 8),
        data__window="none",
    )
    folder = prepared.run(found, tmp_path / "shards")
    source = open_train(folder)
    np.testing.assert_array_equal(source.labels, findings[:6])
    assert source.labels.dtype == np.int64
    batches = same_batches(found, folder, tmp_path)
    assert batches[0]["label"].shape == (4, 4)


def test_tfds_reads_the_folder_without_knowing_this_package(raw, whole):
    builder = tensorflow_datasets.builder_from_directory(str(whole))
    records = builder.as_data_source("train")
    source = npy(root=str(raw), labels=str(raw / "table.csv"))
    assert len(records) == builder.info.splits["train"].num_examples == 10
    for i, record in enumerate(records):
        np.testing.assert_array_equal(record["image"], source[i]["image"])
        assert record["name"].decode() == source.name(i)
        assert record["patient"].decode() == source.patients[i]
        assert record["label"] == source.labels[i]
        assert np.isnan(record["spacing_mm"]).all()  # .npy files know none
    assert builder.info.splits["train"].shard_lengths == [4, 4, 2]


def test_what_is_known_of_examples_is_there_without_reading_images(raw, whole):
    found, source = open_train(whole), npy(root=str(raw), labels=f"{raw}/table.csv")
    assert [found.name(i) for i in range(10)] == source.names
    np.testing.assert_array_equal(found.labels, source.labels)
    assert found.labels.dtype == np.int64
    assert list(found.patients) == source.patients
    assert [found.patients[i] for i in range(10)] == source.patients
    assert "spacing_mm" not in found[0]


def test_a_source_crosses_to_workers_without_its_images(tmp_path):
    raw = prepared.images(tmp_path / "raw", 3, shape=(300, 300))
    source = open_train(prepared.run(prepared.npy(raw), tmp_path / "shards"))
    images = [source[i]["image"] for i in range(3)]
    sent = pickle.dumps(source)
    assert len(sent) < 4000 < images[0].nbytes
    for image, again in zip(images, pickle.loads(sent), strict=False):
        np.testing.assert_array_equal(again["image"], image)


def test_other_splits_are_read_by_name(tmp_path):
    root = tmp_path / "medmnist.npz"
    random = np.random.default_rng(0)
    arrays = {}
    for split, count in {"train": 5, "val": 3, "test": 4}.items():
        arrays[f"{split}_images"] = random.integers(0, 255, (count, 9, 9), np.uint8)
        arrays[f"{split}_labels"] = random.integers(0, 2, (count, 1))
    np.savez(root, **arrays)
    settings = {"data__root": str(root), "data__shape": (8, 8), "data__window": "none"}
    folder = prepared.run(prepared.config("medmnist", **settings), tmp_path / "shards")
    stamps = set()
    for split, there in {"train": "train", "validation": "val", "test": "test"}.items():
        source = shards(root=str(folder), split=split)
        assert len(source) == len(arrays[f"{there}_images"])
        image = arrays[f"{there}_images"][1]
        np.testing.assert_array_equal(source[1]["image"][..., 0], image)
        np.testing.assert_array_equal(source.labels, arrays[f"{there}_labels"][:, 0])
        stamps |= {source.stamp(i) for i in range(len(source))}
    assert len(stamps) == 5 + 3 + 4  # or a cache would take one for another
    with pytest.raises(ConfigError, match="'val'.*train, test, validation"):
        shards(root=str(folder), split="val")


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        (
            {"window": "percentiles"},
            ["data.window is 'percentiles' here, 'none' there"],
        ),
        ({"spacing_mm": (1.0, 1.0)}, ["data.spacing_mm"]),
        ({"ndim": 3}, ["number of axes of data.shape is 3 here, 2 there"]),
        (
            {"window": "hu", "window_hu": (0.0, 9.0)},
            ["data.window ", "data.window_hu"],
        ),
    ],
)
def test_training_with_other_settings_is_refused(whole, change, fields):
    settings = {"ndim": 2, "spacing_mm": None, "window": "none"} | change
    with pytest.raises(ConfigError, match="prepared with other settings") as raised:
        open_train(whole).check_prepared(Prepare(**settings))
    for field in fields:
        assert field in str(raised.value)
    assert str(raised.value).count(" here, ") == len(fields)


def test_opening_shards_for_training_checks_the_settings(raw, whole, tmp_path):
    source = {"name": "shards", "root": str(whole), "split": "train"}
    found = prepared.npy(raw, data__percentiles=(1.0, 99.0))
    with pytest.raises(ConfigError, match="data.percentiles is"):
        prepared.sources(found, source, tmp_path)


def test_shards_of_another_format_are_refused(copy):
    path = copy / "prepared.json"
    about = json.loads(path.read_text()) | {"format": "0.9"}
    path.write_text(json.dumps(about))
    with pytest.raises(DataError, match=r"prepared.json: is of format '0.9'.*prepare"):
        open_train(copy)


def test_shards_of_arrays_with_another_meaning_are_refused(copy, monkeypatch):
    monkeypatch.setattr(layout, "FORMAT", "1.2")
    with pytest.raises(DataError, match="prepared.json"):
        open_train(copy)


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_shard_that_is_cut_off_is_named(copy, left):
    path = copy / SHARD.format(1)
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match="00001-of-00003: is cut off"):
        open_train(copy)


def test_a_missing_shard_is_named(copy):
    (copy / SHARD.format(2)).unlink()
    with pytest.raises(DataError, match="00002-of-00003: is missing"):
        open_train(copy)


@pytest.mark.parametrize("place", [70, 200, 500])
def test_a_flipped_bit_is_found_on_reading(copy, place):
    path = copy / SHARD.format(1)
    content = bytearray(path.read_bytes())
    content[place] ^= 4
    path.write_bytes(content)
    source = open_train(copy)
    reference = source[0]["image"]  # of the shard before
    with pytest.raises(DataError, match="00001-of-00003: is no readable shard"):
        for i in range(4, 8):
            source[i]
    assert reference.size


def test_shards_that_changed_places_are_found(copy):
    first, second = copy / SHARD.format(0), copy / SHARD.format(1)
    packed = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(packed)
    with pytest.raises(
        DataError, match=r"00000-of-00003: (is cut off|holds the name '004.npy')"
    ):
        open_train(copy)[0]


@pytest.mark.parametrize(
    "name",
    [
        "train.examples.json",
        "train.names.npy",
        "train.patients.npy",
        "train.labels.npy",
    ],
)
def test_what_stands_beside_the_shards_is_checked_too(copy, name):
    path = copy / name
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=name):
        open_train(copy)


@pytest.mark.parametrize("known", ["name", "patient", "label"])
def test_a_flipped_bit_beside_the_shards_is_found_on_reading(copy, known):
    """No array says that it is damaged, and their whole files are never read."""
    path = copy / f"train.{known}s.npy"
    content = bytearray(path.read_bytes())
    content[-1 if known == "patient" else -4] ^= 0x80  # of a text: no UTF-8 any more
    path.write_bytes(content)
    source = open_train(copy)
    assert list(source.patients)  # splits ask for them first
    with pytest.raises(DataError, match=f"00002-of-00003: holds the {known} "):
        source[9]
    assert source[8]["image"].size


@pytest.mark.parametrize(("root", "reason"), [("", "data.root"), ("x", "no shards")])
def test_a_folder_without_shards_is_refused(tmp_path, root, reason):
    with pytest.raises(DataError, match=reason):
        open_train(root and tmp_path / root)


def test_configs_offer_every_source():
    for name in set(resolve.known("medssl_jax.data.sources")) - {"shards", "phantom"}:
        assert prepared.get_config(name).data.name == name


@pytest.mark.parametrize("opened", ["shards", "tfds"])
def test_a_class_that_is_none_of_tfdss_is_not_imported(
    copy, opened, tmp_path, monkeypatch
):
    """TFDS imports what features.json names, and so would run anybody's code."""
    (tmp_path / "harmful.py").write_text("raise AssertionError('it was imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = copy / "features.json"
    known = "tensorflow_datasets.core.features.text_feature.Text"
    assert known in path.read_text()
    path.write_text(path.read_text().replace(known, "harmful.Text"))
    with pytest.raises(DataError, match=r"features\.json: names the class 'harmful"):
        if opened == "shards":
            open_train(copy)[0]
        else:
            tfds(builder="", split="train", data_dir=str(copy))
    assert "harmful" not in sys.modules
