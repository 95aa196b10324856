"""Boxes from CSV and COCO files, beside images; what is wrong with them is said."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.box_files import read_boxes
from medssl_jax.data.source import Subset
from medssl_jax.data.sources.images import images
from medssl_jax.errors import DataError

CSV = """path,x0,y0,x1,y1,label,patient
a.png,2,1,6,5,0,p
a.png,0,0,8,10,1,p
b.png,,,,,,q
"""
COCO = {
    "images": [{"id": 7, "file_name": "a.png"}, {"id": 9, "file_name": "b.png"}],
    "categories": [{"id": 3, "name": "mass"}, {"id": 1, "name": "nodule"}],
    "annotations": [
        {"id": 1, "image_id": 7, "category_id": 1, "bbox": [2, 1, 4, 4], "iscrowd": 0},
        {"id": 2, "image_id": 7, "category_id": 3, "bbox": [0, 0, 8, 10]},
    ],
}
# rows come first, and what there is are fractions of 10 rows and 8 columns
EXPECTED = [[0.1, 0.25, 0.5, 0.75, 0], [0, 0, 1, 1, 1]]


@pytest.fixture
def root(tmp_path):
    for name in ("a.png", "b.png"):
        pixels = np.random.RandomState(0).randint(0, 255, (10, 8), np.uint8)
        Image.fromarray(pixels).save(tmp_path / name)
    return tmp_path


def csv_of(folder, text=CSV):
    path = Path(folder) / "boxes.csv"
    path.write_text(text, encoding="utf-8")
    return str(path)


def coco_of(folder, **changes):
    path = Path(folder) / "boxes.json"
    path.write_text(json.dumps(COCO | changes), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("write", [csv_of, coco_of])
def test_boxes_are_fractions_rows_first_and_images_without_any_are_kept(root, write):
    source = images(root=str(root), boxes=write(root))
    assert source.has_boxes and list(source.names) == ["a.png", "b.png"]
    np.testing.assert_allclose(source[0]["boxes"], EXPECTED, atol=1e-6)
    assert source[1]["boxes"].shape == (0, 5)
    if write is csv_of:
        assert list(source.patients) == ["p", "q"] and source.kind_names is None
    else:
        assert source.kind_names == ("nodule", "mass")


def test_names_of_kinds_give_the_numbers(root):
    text = CSV.replace(",0,p", ",mass,p").replace(",1,p", ",nodule,p")
    source = images(root=str(root), boxes=csv_of(root, text), kinds=("nodule", "mass"))
    assert source[0]["boxes"][:, 4].tolist() == [1, 0]
    assert source.kind_names == ("nodule", "mass")
    other = images(root=str(root), boxes=coco_of(root), kinds=("mass", "nodule"))
    assert other[0]["boxes"][:, 4].tolist() == [1, 0]
    assert source.stamp(0) != other.stamp(0)


def test_a_pixel_over_the_edge_is_cut(root):
    text = CSV.replace("2,1,6,5", "-0.5,1,8.9,5")
    found = images(root=str(root), boxes=csv_of(root, text))[0]["boxes"]
    np.testing.assert_allclose(found[0], [0.1, 0, 0.5, 1, 0], atol=1e-6)


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("2,1,6,5", "2,1,2,5", "line 2: the box 2, 1, 2, 5 of 'a.png' has no area"),
        ("2,1,6,5", "2,1,60,5", "line 2: .*is not within the image of 8 x 10 pixels"),
        ("2,1,6,5", "nan,1,6,5", "line 2: x0 is 'nan', not finite"),
        ("2,1,6,5", ",1,6,5", "line 2: x0 is '', no number; leave all empty"),
        ("5,0,p", "5,mass,p", "line 2: label 'mass' is no number .*data.kinds"),
        ("10,1,p", "10,1,r", "line 3: 'a.png' is of patient 'r', and before of 'p'"),
        (",q", ",", "line 4: patient is empty"),
        ("b.png,,,,,,q\n", "", r"1 file\(s\) without a patient: 'b.png'; list those"),
        ("b.png", "c.png", r"1 image\(s\) without a file: 'c.png'"),
        ("x0,", "x,", "'x0' is not there"),
    ],
)
def test_a_csv_that_is_wrong_is_refused(root, old, new, said):
    path = csv_of(root, CSV.replace(old, new, 1))
    with pytest.raises(DataError, match=said):
        images(root=str(root), boxes=path)[0]


def test_fractions_are_not_taken_for_pixels(root):
    text = "path,x0,y0,x1,y1,label\na.png,.2,.1,.6,.5,0\n"
    with pytest.raises(DataError, match="no coordinate above 0.6: boxes are in pixels"):
        images(root=str(root), boxes=csv_of(root, text))


def test_without_any_box_there_is_nothing_to_learn(root):
    with pytest.raises(DataError, match="has no box"):
        read_boxes(csv_of(root, "path,x0,y0,x1,y1,label\na.png,,,,,\n"), ())


def changed(part, i, **fields):
    entries = [dict(entry) for entry in COCO[part]]
    entries[i] |= fields
    return {part: entries}


@pytest.mark.parametrize(
    "changes, said",
    [
        (changed("annotations", 0, iscrowd=1), "annotation 1 is a crowd"),
        (changed("annotations", 1, image_id=8), "annotation 2: its image_id 8 is not"),
        (changed("annotations", 1, category_id=8), "its category_id 8 is not there"),
        (changed("annotations", 1, id=1), "two of its annotations have the id 1"),
        (changed("images", 1, id=7), "two of its images have the id 7"),
        (
            changed("images", 1, file_name="a.png"),
            "two of its images have one file_name",
        ),
        (
            changed("annotations", 0, bbox=[1, 2, 3]),
            "bbox .* is not x, y, width, height",
        ),
        (changed("annotations", 0, bbox=[2, 1, -4, 4]), "annotation 1: .*has no area"),
        (changed("annotations", 0, bbox=4), "bbox 4 is not x, y, width, height"),
        (changed("annotations", 0, bbox=[2, 1, 10**400, 4]), "is not x, y, width"),
        (changed("annotations", 0, image_id=[7]), r"the image_id \[7\], no id"),
        (changed("images", 0, id={}), "one of its images has the id {}, no id"),
        (
            changed("images", 0, width=80, height=100),
            "'a.png' is of 80 x 100 pixels, and it is of 8 x 10",
        ),
        ({"images": None}, "is not COCO's: it has no list 'images'"),
    ],
)
def test_a_coco_file_that_is_wrong_is_refused(root, changes, said):
    with pytest.raises(DataError, match=said):
        images(root=str(root), boxes=coco_of(root, **changes))[0]


def test_of_images_that_coco_does_not_list_nobody_knows(root):
    path = coco_of(root, images=COCO["images"][:1])
    with pytest.raises(
        DataError, match=r"1 file\(s\) that are not in it: 'b.png'; .*drop"
    ):
        images(root=str(root), boxes=path)
    source = images(root=str(root), boxes=path, unlisted="drop")
    assert list(source.names) == ["a.png"]


@pytest.mark.parametrize("write", [csv_of, coco_of])
def test_kinds_are_told_before_any_image_is_read(root, write):
    source = pickle.loads(pickle.dumps(images(root=str(root), boxes=write(root))))
    assert [sorted(kinds) for kinds in source.box_kinds] == [[0, 1], []]
    assert Subset(source, np.array([1, 0])).box_kinds[0] == []


def test_a_kind_that_is_in_no_list_is_refused(root):
    with pytest.raises(DataError, match=r"'mass' is none of data.kinds \(nodule\)"):
        images(root=str(root), boxes=coco_of(root), kinds=("nodule",))
    text = CSV.replace(",0,p", ",mass,p").replace(",1,p", ",cyst,p")
    with pytest.raises(DataError, match="line 3: label 'cyst' is none of data.kinds"):
        images(root=str(root), boxes=csv_of(root, text), kinds=("mass",))


def test_no_json_and_no_utf8_are_said(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="is no readable JSON"):
        read_boxes(str(path), ())
    path = tmp_path / "boxes.csv"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match="is no readable CSV"):
        read_boxes(str(path), ())
