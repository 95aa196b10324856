"""TFDS datasets written by TFDS, read without TensorFlow."""

import io
import json
import pickle
import sys

import numpy as np
import prepared
import pytest
import tfds_dataset
from PIL import Image
from tensorflow_datasets import features

from medssl_jax.data.sources.tfds import tfds
from medssl_jax.errors import ConfigError, DataError

COUNT = 8  # six of them in "train"
LABELS = np.array([1, 0, 2, 2, 0, 1, 1, 0])
FEATURES = {
    "image": features.Image(shape=(None, None, 1)),
    "volume": features.Tensor(shape=(None, None, 5), dtype=np.int16, encoding="zlib"),
    "deep": features.Image(shape=(None, None, 1), dtype=np.uint16),
    "label": features.ClassLabel(names=["none", "old", "new"]),
    "findings": features.Tensor(shape=(3,), dtype=np.int64),
    "boxes": features.Sequence(np.int64),
    "person": features.Text(),
    "age": np.int64,
}


def png(pixels):
    """A PNG file: TFDS itself encodes arrays with TensorFlow only."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="png")
    return file.getvalue()


@pytest.fixture(scope="module")
def examples():
    random = np.random.default_rng(0)
    return [
        {
            "image": random.integers(0, 255, (6 + i, 7), np.uint8),
            "volume": random.integers(-900, 900, (3, 4 + i, 5)).astype(np.int16),
            "deep": random.integers(0, 60000, (4, 5), np.uint16),
            "label": int(LABELS[i]),
            "findings": random.integers(0, 2, 3),
            "boxes": list(range(i)),
            "person": f"p{i // 2}",
            "age": 40 + i,
        }
        for i in range(COUNT)
    ]


@pytest.fixture(scope="module")
def folder(examples, tmp_path_factory):
    packed = [
        e | {name: io.BytesIO(png(e[name])) for name in ("image", "deep")}
        for e in examples
    ]
    return tfds_dataset.write(tmp_path_factory.mktemp("tfds"), packed, FEATURES)


def open_scans(folder, **settings):
    return tfds(builder="", data_dir=str(folder), **{"split": "train"} | settings)


def test_images_labels_and_patients_are_those_written(folder, examples):
    source = pickle.loads(pickle.dumps(open_scans(folder, patient="person")))
    assert len(source) == 6 and source.name(5) == "train/000005"
    for i, example in enumerate(examples[:6]):
        np.testing.assert_array_equal(source[i]["image"][..., 0], example["image"])
    np.testing.assert_array_equal(source.labels, LABELS[:6])
    assert source.labels.dtype == np.int64
    assert source.patients == ["p0", "p0", "p1", "p1", "p2", "p2"]
    assert "tensorflow" not in sys.modules


def test_a_builder_is_found_by_its_name_below_data_dir(folder, examples):
    data_dir = str(folder.parents[1])
    for name in ("scans", "scans:1.0.0"):
        source = tfds(builder=name, data_dir=data_dir, split="test")
        assert len(source) == 2
        np.testing.assert_array_equal(source[1]["image"][..., 0], examples[7]["image"])
    part = tfds(builder="scans", data_dir=data_dir, split="train[2:4]")
    np.testing.assert_array_equal(part.labels, LABELS[2:4])
    np.testing.assert_array_equal(part[1]["image"][..., 0], examples[3]["image"])


def test_volumes_get_a_channel_and_other_features_can_be_labels(folder, examples):
    source = open_scans(folder, image="volume", label="findings", patient="age")
    image = source[3]["image"]
    np.testing.assert_array_equal(image[..., 0], examples[3]["volume"])
    assert image.shape == (3, 7, 5, 1) and image.dtype == np.int16
    findings = [example["findings"] for example in examples[:6]]
    np.testing.assert_array_equal(source.labels, findings)
    assert source.patients == [str(40 + i) for i in range(6)]
    unlabelled = open_scans(folder, label="")
    assert unlabelled.labels is None and unlabelled.patients is None


def test_shards_of_this_package_are_a_tfds_dataset(tmp_path):
    raw = prepared.images(tmp_path / "raw", 5)
    shards = prepared.run(prepared.npy(raw), tmp_path / "shards")
    source = open_scans(shards, patient="patient")
    np.testing.assert_array_equal(source[4]["image"][..., 0], np.load(raw / "004.npy"))
    np.testing.assert_array_equal(source.labels, [0, 1, 2, 0, 1])
    assert source.patients[4] == "p0-2"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"image": "scan"}, "data.image 'scan' is no feature.*age.*image.*volume"),
        ({"label": "class"}, "data.label 'class'.*findings.*leave it empty"),
        ({"patient": "id"}, "data.patient 'id'.*person"),
        ({"image": ""}, "data.image is empty"),
        ({"split": "val"}, "data.split 'val'.*train, test"),
    ],
)
def test_an_unknown_feature_or_split_lists_the_known(folder, settings, reason):
    with pytest.raises(ConfigError, match=reason):
        open_scans(folder, **settings)


@pytest.mark.parametrize("label", ["person", "boxes"])
def test_a_label_that_is_no_class_is_refused(folder, label):
    with pytest.raises(DataError, match=f"'{label}'.*no class number"):
        open_scans(folder, label=label)


def test_an_image_that_only_tensorflow_decodes_is_named(folder):
    source = open_scans(folder, image="deep")
    with pytest.raises(DataError, match="train/000002.*deep.*OpenCV"):
        source[2]


def test_a_feature_without_images_is_named(folder):
    source = open_scans(folder, image="person")
    with pytest.raises(DataError, match="train/000000.*'person' holds no image"):
        source[0]


def test_a_builder_that_is_not_prepared_says_how_to(tmp_path):
    with pytest.raises(DataError, match="'mnist' is not prepared.*array_record") as it:
        tfds(builder="mnist", data_dir=str(tmp_path), split="train")
    assert str(tmp_path) in str(it.value)
    with pytest.raises(DataError, match="download_and_prepare"):
        open_scans(tmp_path)
    with pytest.raises(ConfigError, match="data.builder"):
        tfds(builder="", split="train")


def test_a_format_without_random_access_is_refused(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "dataset_info.json"
    info = json.loads(path.read_text()) | {"fileFormat": "tfrecord"}
    path.write_text(json.dumps(info))
    with pytest.raises(DataError, match="tfrecord.*array_record"):
        open_scans(tmp_path)


def test_a_damaged_record_is_named(folder, tmp_path):
    for path in folder.iterdir():
        content = bytearray(path.read_bytes())
        if "train.array_record" in path.name:
            content[400] ^= 1
        (tmp_path / path.name).write_bytes(content)
    with pytest.raises(DataError, match="train/000000.*is no readable"):
        open_scans(tmp_path)
    with pytest.raises(DataError, match="train/000000.*is no readable"):
        open_scans(tmp_path, label="")[0]
