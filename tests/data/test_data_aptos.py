"""APTOS 2019's layout on disk: images with their grades, and what is refused."""

import pickle

import numpy as np
import pytest
from PIL import Image

from medssl_jax.data.sources.aptos import aptos
from medssl_jax.errors import DataError

ROWS = (("000c1434d8d7", "2"), ("0a4e1a29ffff", "4"), ("001639a390f0", "0"))


def pixels(code):
    seed = int(code[:6], 16)
    return np.random.RandomState(seed).randint(0, 255, (12, 16, 3), np.uint8)


def release(folder, rows=ROWS, header="id_code,diagnosis"):
    """Write images and table as the release has them."""
    images = folder / "train_images"
    images.mkdir(parents=True, exist_ok=True)
    for code, _ in rows:
        Image.fromarray(pixels(code)).save(images / f"{code}.png")
    write(folder, rows, header)
    return str(folder)


def write(folder, rows, header="id_code,diagnosis"):
    lines = [header, *(",".join(row) for row in rows)]
    (folder / "train.csv").write_text("\n".join(lines) + "\n")


def test_every_image_has_the_grade_of_its_row_and_its_colours(tmp_path):
    source = pickle.loads(pickle.dumps(aptos(root=release(tmp_path))))
    found = {source.name(i): int(source.labels[i]) for i in range(len(source))}
    assert found == {f"{code}.png": int(grade) for code, grade in ROWS}
    for i in range(len(source)):
        expected = pixels(source.name(i).removesuffix(".png"))
        np.testing.assert_array_equal(source[i]["image"], expected)
        assert source.stamp(i)
    assert source.patients is None and source.label_names is None


@pytest.mark.parametrize(
    ("grade", "says"),
    [
        ("5", "line 3: diagnosis '5' of 0a4e1a29ffff is no grade; these are 0, 1, 2"),
        ("severe", "line 3: diagnosis 'severe' of"),
        ("-1", "line 3: diagnosis '-1' of"),
        ("1.0", "line 3: diagnosis '1.0' of"),
        ("", "line 3: diagnosis '' of"),
        ("1,2", "line 3: has not as many fields as line 1"),
    ],
)
def test_what_is_no_grade_is_refused_by_its_line(tmp_path, grade, says):
    root = release(tmp_path)
    write(tmp_path, [ROWS[0], (ROWS[1][0], grade), ROWS[2]])
    with pytest.raises(DataError, match=rf"train\.csv: {says}"):
        aptos(root=root)


def test_images_and_rows_that_are_no_pairs_are_named(tmp_path):
    root = release(tmp_path)
    write(tmp_path, ROWS[:2])
    with pytest.raises(DataError, match=r"1 file\(s\) without a row: '001639a390f0"):
        aptos(root=root)
    write(tmp_path, [*ROWS, ("ffff", "1")])
    with pytest.raises(DataError, match=r"1 row\(s\) without a file: 'ffff\.png'"):
        aptos(root=root)
    write(tmp_path, [*ROWS, ROWS[0]])
    with pytest.raises(DataError, match="two rows of 000c1434d8d7.png; keep one"):
        aptos(root=root)


def test_another_table_or_folder_is_named(tmp_path):
    with pytest.raises(DataError, match="data.root: is empty; name APTOS's folder"):
        aptos(root="")
    with pytest.raises(DataError, match=r"train\.csv: is missing; data.root is the"):
        aptos(root=str(tmp_path))
    root = release(tmp_path, header="path,label")
    with pytest.raises(DataError, match="line 1 is path,label, not id_code,diagnosis"):
        aptos(root=root)
    (tmp_path / "train.csv").write_bytes(b"id_code,diagnosis\n\xff\xfe,1\n")
    with pytest.raises(DataError, match=r"train\.csv: is no readable CSV"):
        aptos(root=root)
