"""2D images with PNG masks: what their values are, pairs, and masks written back."""

import csv
import pickle

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.checked import skip_unusable
from medssl_jax.data.sources.images import images
from medssl_jax.errors import DataError

RNG = np.random.RandomState(0)
GREY = RNG.randint(0, 256, (5, 7)).astype(np.uint8)
CLASSES = RNG.randint(0, 4, (5, 7)).astype(np.uint8)


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def source(folder, masks="masks", below="images", **settings):
    return images(root=str(folder / below), masks=str(folder / masks), **settings)


def read(folder, mask, mode=None, **options):
    """Return the mask of a record whose mask's file holds `mask`."""
    save(folder / "images/a.png", GREY)
    save(folder / "masks/a.png", mask, mode, **options)
    return source(folder)[0]["mask"]


def test_grey_values_are_classes(tmp_path):
    mask = read(tmp_path, CLASSES)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, CLASSES)
    deep = read(tmp_path, CLASSES.astype(np.uint16))
    np.testing.assert_array_equal(deep, CLASSES)


def test_white_is_class_1_where_a_mask_is_black_and_white(tmp_path):
    white = np.where(CLASSES == 2, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(read(tmp_path, white), CLASSES == 2)
    np.testing.assert_array_equal(read(tmp_path, white, "1"), CLASSES == 2)
    np.testing.assert_array_equal(read(tmp_path, white | 255), np.ones((5, 7)))
    one_more = white.copy()
    one_more[CLASSES == 1] = 1  # 255 is what it says, then
    np.testing.assert_array_equal(read(tmp_path, one_more), one_more)


def test_background_alone_is_a_mask(tmp_path):
    assert not read(tmp_path, np.zeros((5, 7), np.uint8)).any()


def test_a_mask_is_turned_as_its_exif_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = read(tmp_path, np.rot90(CLASSES), exif=exif)
    np.testing.assert_array_equal(upright, CLASSES)


def palette(path):
    image = Image.frombytes("P", (7, 5), CLASSES.tobytes())
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.save(path)


FAULTS = {
    "palette": (palette, "palette.*index of it or a colour"),
    "colour": (lambda path: save(path, np.stack([CLASSES] * 3, -1)), "colour.*RGB"),
    "transparent": (lambda path: save(path, CLASSES, "LA"), "transparent.*LA"),
    "size": (lambda path: save(path, CLASSES[:, :6]), r"mask of \(5, 6\).*\(5, 7\)"),
    "turned": (lambda path: save(path, CLASSES.T.copy()), r"mask of \(7, 5\)"),
    "many": (lambda path: save(path, GREY.astype(np.uint16) * 9), "values from"),
    "animated": (
        lambda path: Image.fromarray(CLASSES).save(
            path, save_all=True, append_images=[Image.fromarray(GREY)]
        ),
        "animated",
    ),
    "jpeg": (lambda path: save(path, CLASSES, format="JPEG"), "no readable PNG"),
    "empty": (lambda path: path.write_bytes(b""), "no readable PNG"),
    "truncated": (
        lambda path: path.write_bytes(save(path, GREY).read_bytes()[:60]),
        "no readable PNG",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_mask_that_cannot_be_used_is_named_and_can_be_skipped(tmp_path, fault):
    write, reason = FAULTS[fault]
    for name in "ab":
        save(tmp_path / f"images/{name}.png", GREY)
        save(tmp_path / f"masks/{name}.png", CLASSES)
    write(tmp_path / "masks/b.png")
    found = source(tmp_path)
    with pytest.raises(DataError, match=rf"masks/b\.png: .*{reason}"):
        found[1]
    assert len(skip_unusable(found, tmp_path / "skipped.csv")) == 1


def test_masks_are_paired_by_name_whatever_the_images_are(tmp_path):
    for place, name in enumerate(["p/x.jpg", "p/y.z.JPEG", "x.png"]):
        save(tmp_path / "images" / name, GREY)
        stem = name.rpartition(".")[0]
        save(tmp_path / f"masks/{stem}.png", np.full((5, 7), place + 1, np.uint8))
    found = pickle.loads(pickle.dumps(source(tmp_path)))
    assert found.names == ["p/x.jpg", "p/y.z.JPEG", "x.png"]
    assert [found[i]["mask"].max() for i in range(3)] == [1, 2, 3]
    save(tmp_path / "images/x.jpg", GREY)
    with pytest.raises(DataError, match="several images have: 'x'"):
        source(tmp_path)
    (tmp_path / "masks/x.png").unlink()
    with pytest.raises(DataError, match=r"2 image.*'x\.jpg', 'x\.png'"):
        source(tmp_path)


def test_masks_beside_images_are_told_apart_by_the_table(tmp_path):
    save(tmp_path / "images/1.jpg", GREY)
    save(tmp_path / "masks/1.png", CLASSES)
    with open(tmp_path / "slices.csv", "w", newline="") as file:
        rows = ("path", "label", "name", "mask", "patient")
        csv.writer(file).writerows(
            [rows, ("images/1.jpg", 2, "glioma", "masks/1.png", "p")]
        )
    found = source(tmp_path, "slices.csv", below="")
    assert (found.names, found.patients) == (["images/1.jpg"], ["p"])
    assert found.labels.tolist() == [2]
    np.testing.assert_array_equal(found[0]["mask"], CLASSES)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("b/x.jpeg", "b/x.png"),
        ("x.y.PNG", "x.y.png"),
        ("1.2.840.3", "1.2.840.3.png"),
    ],
)
def test_a_mask_is_written_under_the_images_name(tmp_path, name, written):
    save(tmp_path / "images/x.png", GREY)
    write_mask = images(root=str(tmp_path / "images")).write_mask
    path = write_mask(name, CLASSES.astype(np.int64), tmp_path / "out")
    assert path == tmp_path / "out" / written
    with Image.open(path) as picture:
        assert picture.mode == "L"
        np.testing.assert_array_equal(np.asarray(picture), CLASSES)


def test_the_stamp_changes_with_the_mask(tmp_path):
    read(tmp_path, CLASSES)
    found = source(tmp_path)
    before = found.stamp(0)
    assert before != images(root=str(tmp_path / "images")).stamp(0)
    save(tmp_path / "masks/a.png", np.zeros((5, 7), np.uint8))
    assert found.stamp(0) != before


def test_tumours_of_the_held_out_patients_are_read(real_data):
    root = real_data / "cheng_brain_mr"
    found = source(root, "slices.csv", below="", only="split=test")
    assert len(found) == 430 and len(set(found.patients)) == 34
    for i in (0, 429):
        number = found.name(i).removeprefix("images/").removesuffix(".jpg")
        with Image.open(root / f"masks/{number}.png") as picture:
            reference = np.asarray(picture.convert("L")) > 0
        np.testing.assert_array_equal(found[i]["mask"], reference)
        assert reference.any()
    assert source(root, "slices.csv", below="", only="split=train").patients is None
