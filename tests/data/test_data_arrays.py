"""Sources of arrays: .npy trees, MRNet's layout, MedMNIST's archives."""

import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from medssl_jax.data import decoding
from medssl_jax.data.arrays import load_archived, load_array
from medssl_jax.data.host import check
from medssl_jax.data.sources.medmnist import medmnist
from medssl_jax.data.sources.mrnet import mrnet
from medssl_jax.data.sources.npy import npy
from medssl_jax.errors import ConfigError, DataError

RANDOM = np.random.RandomState(0)


class Trap:
    """An object whose unpickling is noticed."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return array


def knees(root, exams=4):
    """Write MRNet's layout: stacks of unlike depth, three planes, three tables."""
    for split, first in (("train", 0), ("valid", 1130)):
        numbers = [f"{first + i:04d}" for i in range(exams)]
        for plane in ("axial", "coronal", "sagittal"):
            for i, number in enumerate(numbers):
                stack = RANDOM.randint(0, 255, (5 + i, 256, 256), np.uint8)
                save(root / split / plane / f"{number}.npy", stack)
        for task in ("abnormal", "acl", "meniscus"):
            rows = [f"{number},{i % 2}" for i, number in enumerate(numbers)]
            (root / f"{split}-{task}.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def mrnet_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("MRNet")
    knees(root)
    return root


def test_mrnet_is_read_as_it_lies_on_disk(mrnet_root):
    source = mrnet(root=str(mrnet_root), split="valid", plane="sagittal", task="acl")
    assert [source.name(i) for i in range(4)] == [
        f"valid/sagittal/{number}.npy" for number in (1130, 1131, 1132, 1133)
    ]
    assert source.patients == ["1130", "1131", "1132", "1133"]
    assert source.labels.tolist() == [0, 1, 0, 1]
    stack = np.load(mrnet_root / "valid/sagittal/1132.npy")
    np.testing.assert_array_equal(source[2]["image"], stack[..., np.newaxis])
    assert source[2]["image"].dtype == np.uint8
    assert "spacing_mm" not in source[2]


def test_mrnet_needs_no_task_to_pretrain(mrnet_root):
    source = mrnet(root=str(mrnet_root), split="train", plane="axial")
    assert source.labels is None and len(source.patients) == 4


@pytest.mark.parametrize("field", ["split", "plane", "task"])
def test_mrnets_fields_are_named_with_what_is_known(mrnet_root, field):
    settings = {"split": "train", "plane": "axial", "task": "acl"} | {field: "none"}
    with pytest.raises(ConfigError, match=f"data.{field} 'none'.*known: "):
        mrnet(root=str(mrnet_root), **settings)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("0000,0\n0001,1\n0002,1\n", "1 file.*without a row: '0003'"),
        ("0000,0\n0001,1\n0002,1\n0003,0\n0009,0\n", "1 row.*'0009'"),
        ("0000,0\n0001,yes\n", "line 2.*'yes'"),
        ("0000,0\n0000,0\n", "line 2"),
        (None, "no readable CSV"),
    ],
)
def test_mrnets_tables_are_checked_against_its_files(tmp_path, rows, reason):
    for i in range(4):
        save(tmp_path / f"train/axial/000{i}.npy", np.zeros((2, 4, 4), np.uint8))
    if rows is not None:
        (tmp_path / "train-acl.csv").write_text(rows)
    with pytest.raises(DataError, match=f"train-acl.csv: .*{reason}"):
        mrnet(root=str(tmp_path), split="train", plane="axial", task="acl")


def test_mrnets_labels_are_of_their_exams_whatever_the_tables_order(tmp_path):
    for i in range(4):
        save(tmp_path / f"train/axial/000{i}.npy", np.zeros((2, 4, 4), np.uint8))
    for task, rows in (
        ("acl", "2,1\n0,0\n3,1\n1,0"),
        ("meniscus", "0,1\n1,0\n2,0\n3,0"),
    ):
        text = "".join(f"000{row}\n" for row in rows.split())
        (tmp_path / f"train-{task}.csv").write_text(text)
    found = [
        mrnet(
            root=str(tmp_path), split="train", plane="axial", task=task
        ).labels.tolist()
        for task in ("acl", "meniscus")
    ]
    assert found == [[0, 0, 1, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    "stack", [np.ones((4, 4), np.uint8), np.ones((3, 4, 4), np.float32)]
)
def test_mrnet_refuses_what_is_no_stack_of_bytes(tmp_path, stack):
    save(tmp_path / "train/axial/0000.npy", stack)
    source = mrnet(root=str(tmp_path), split="train", plane="axial")
    with pytest.raises(DataError, match="0000.npy: .*uint8"):
        source[0]


def test_mrnet_names_the_folder_that_is_missing(tmp_path):
    with pytest.raises(DataError, match="train/axial"):
        mrnet(root=str(tmp_path), split="train", plane="axial")
    with pytest.raises(DataError, match="data.root"):
        mrnet(root="", split="train", plane="axial")


def test_npy_reads_images_volumes_and_channels(tmp_path):
    image = save(tmp_path / "2d/a.npy", RANDOM.rand(5, 6))
    volume = save(tmp_path / "3d/a.npy", RANDOM.rand(4, 5, 6))
    colours = save(tmp_path / "rgb/a.npy", RANDOM.rand(5, 6, 3))
    for folder, expected in (("2d", image), ("3d", volume)):
        record = npy(root=str(tmp_path / folder))[0]
        np.testing.assert_array_equal(record["image"], expected[..., np.newaxis])
    record = npy(root=str(tmp_path / "rgb"), channels_last=True)[0]
    np.testing.assert_array_equal(record["image"], colours)


def test_npy_joins_the_table(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / f"scans/{name}.npy", RANDOM.rand(5, 6))
    (tmp_path / "t.csv").write_text("path,label,patient\nb.npy,1,x\na.npy,0,y\n")
    source = npy(root=str(tmp_path / "scans"), labels=str(tmp_path / "t.csv"))
    assert source.labels.tolist() == [0, 1] and source.patients == ["y", "x"]


def test_objects_are_never_unpickled(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([Trap(), 1], object))
    (tmp_path / "pickle.npy").write_bytes(pickle.dumps(Trap()))
    source = npy(root=str(tmp_path))
    for i in range(2):
        with pytest.raises(DataError, match=f"{source.name(i)}: .*never unpickled"):
            source[i]
    np.savez(tmp_path / "a.npz", train_images=np.array([Trap()]), train_labels=[[0]])
    with pytest.raises(DataError, match="a.npz"):
        medmnist(root=str(tmp_path / "a.npz"), split="train")


def test_one_thread_at_a_time_parses_a_header(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, np.zeros((2, 3)))
    inside, most, load = [], [], np.load

    def watched(*args, **kwargs):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return load(*args, **kwargs)

    monkeypatch.setattr(np, "load", watched)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_array, [path] * 20))
    assert len(most) == 20 and max(most) == 1


def test_a_damaged_npy_is_named(tmp_path):
    save(tmp_path / "a.npy", RANDOM.rand(5, 6))
    packed = (tmp_path / "a.npy").read_bytes()
    source = npy(root=str(tmp_path))
    unclosed = packed.replace(b"(5, 6)", b"(5, 6 ")
    for damaged in (packed[:-30], packed[:20], b"", b"no array at all", unclosed):
        (tmp_path / "a.npy").write_bytes(damaged)
        with pytest.raises(DataError, match="a.npy: "):
            source[0]


@pytest.mark.parametrize(
    "array",
    [np.full((4, 4), np.nan), np.ones((4, 4)), np.ones((2, 3, 4, 5)), np.arange(5)]
    + [np.array(["x"]), np.ones((4, 4), complex)],
)
def test_an_npy_that_is_no_image_is_named(tmp_path, array):
    save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match="a.npy: "):
        npy(root=str(tmp_path))[0]


def archive(path, images, labels):
    np.savez_compressed(path, train_images=images, train_labels=labels)
    return str(path)


def test_medmnist_reads_volumes_images_and_colours(tmp_path):
    for shape, expected in [
        ((5, 8, 8, 8), (8, 8, 8, 1)),
        ((5, 8, 8), (8, 8, 1)),
        ((5, 8, 8, 3), (8, 8, 3)),
    ]:
        images = RANDOM.randint(0, 255, shape, np.uint8)
        labels = np.arange(5, dtype=np.uint8)[:, np.newaxis]
        root = archive(tmp_path / "a.npz", images, labels)
        source = medmnist(root=root, split="train")
        assert source.labels.tolist() == [0, 1, 2, 3, 4]
        assert source[3]["image"].shape == expected
        np.testing.assert_array_equal(source[3]["image"].ravel(), images[3].ravel())
        assert source.name(3) == "train/000003"


def test_medmnists_splits_have_their_own_images_and_labels(tmp_path):
    images = RANDOM.randint(0, 255, (3, 2, 8, 8), np.uint8)
    arrays = {}
    for k, split in enumerate(("train", "val", "test")):
        arrays |= {
            f"{split}_images": images[k],
            f"{split}_labels": np.array([[k], [0]]),
        }
    np.savez_compressed(tmp_path / "a.npz", **arrays)
    for k, split in enumerate(("train", "val", "test")):
        source = medmnist(root=str(tmp_path / "a.npz"), split=split)
        assert source.labels.tolist() == [k, 0]
        np.testing.assert_array_equal(source[1]["image"][..., 0], images[k, 1])


def test_medmnist_reads_the_findings_of_chestmnist(tmp_path):
    images = RANDOM.randint(0, 255, (5, 8, 8), np.uint8)
    labels = np.eye(5, 14, 9, dtype=np.uint8)
    source = medmnist(root=archive(tmp_path / "a.npz", images, labels), split="train")
    np.testing.assert_array_equal(source.labels, labels)
    assert source.labels.dtype == np.int64
    # as the archive's publication numbers them
    assert source.label_names[9] == "edema" and source.label_names[13] == "hernia"
    few = archive(tmp_path / "b.npz", images, labels[:, 8:11])
    names = ("finding 0", "finding 1", "finding 2")
    assert medmnist(root=few, split="train").label_names == names


def test_a_medmnist_source_carries_no_images_to_its_workers(tmp_path):
    images = RANDOM.randint(0, 255, (50, 64, 64), np.uint8)
    root = archive(tmp_path / "a.npz", images, np.zeros((50, 1), np.uint8))
    packed = pickle.dumps(medmnist(root=root, split="train"))
    assert len(packed) < 5000
    np.testing.assert_array_equal(pickle.loads(packed)[7]["image"][..., 0], images[7])


def test_medmnist_names_what_is_wrong_with_an_archive(tmp_path):
    images = RANDOM.randint(0, 255, (5, 8, 8), np.uint8)
    root = archive(tmp_path / "a.npz", images, np.zeros((4, 1), np.uint8))
    with pytest.raises(DataError, match=r"a.npz: train_labels .*\(4, 1\).* 5 images"):
        medmnist(root=root, split="train")
    root = archive(tmp_path / "a.npz", images, np.full((5, 14), 2, np.uint8))
    with pytest.raises(DataError, match=r"a.npz: train_labels\[0, 0\] is 2, neither 1"):
        medmnist(root=root, split="train")
    for no_images in (images.astype(str), images[:, 0]):
        root = archive(tmp_path / "a.npz", no_images, np.zeros((5, 1), np.uint8))
        with pytest.raises(DataError, match=r"a.npz: train_images is .* not numbers"):
            medmnist(root=root, split="train")
    root = archive(tmp_path / "a.npz", images, np.zeros((5, 1), np.uint8))
    with pytest.raises(DataError, match="a.npz: .*'val_labels'.*train_images"):
        medmnist(root=root, split="val")
    with pytest.raises(ConfigError, match="data.split 'all'"):
        medmnist(root=root, split="all")
    packed = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(DataError, match="a.npz"):
        medmnist(root=root, split="train")
    for missing in ("", str(tmp_path / "b.npz")):
        with pytest.raises(DataError, match=missing or "data.root"):
            medmnist(root=missing, split="train")


def test_adrenalmnist3d_has_its_published_counts(real_data):
    root = str(real_data / "adrenalmnist3d/adrenalmnist3d.npz")
    sources = [medmnist(root=root, split=split) for split in ("train", "val", "test")]
    assert [len(source) for source in sources] == [1188, 98, 298]
    for source in sources:
        record = source[len(source) - 1]
        assert record["image"].shape == (28, 28, 28, 1)
        assert set(np.unique(record["image"])) == {0, 255}
        assert set(source.labels.tolist()) == {0, 1}


def test_an_archive_that_would_take_all_memory_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(decoding, "_LARGE", 2**21)
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((64, 256, 256)))
    with pytest.raises(DataError, match="a.npz: would unpack to"):
        load_archived(tmp_path / "a.npz", "images")


def test_complex_numbers_are_no_image():
    with pytest.raises(DataError, match="a: holds complex64 voxels"):
        check({"image": np.ones((4, 5, 1), np.complex64)}, "a")


def test_a_pipe_is_no_file_and_no_table(tmp_path):
    os.mkfifo(tmp_path / "a.npy")
    np.save(tmp_path / "b.npy", np.arange(20.0).reshape(4, 5))
    assert npy(root=str(tmp_path)).names == ["b.npy"]
    with pytest.raises(DataError, match="/dev/zero: is no file"):
        npy(root=str(tmp_path), labels="/dev/zero")
