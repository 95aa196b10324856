"""APTOS 2019's photographs of the fundus and their grades, as the release lies on disk."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.source import Examples
from medssl_jax.data.sources.images import images
from medssl_jax.data.table import check_joined
from medssl_jax.errors import DataError

_IMAGES = "train_images"
_COLUMNS = ("id_code", "diagnosis")
_GRADES = ("0", "1", "2", "3", "4")  # no retinopathy to a proliferative one


def aptos(*, root: str) -> Examples:
    """Read the graded images, in colour (rows, columns, 3), with grades 0 to 4.

    `root` has `train.csv`, with the columns id_code and diagnosis, and the images
    `train_images/{id_code}.png`. Whose they are is not in the release: each image counts
    as a patient of its own. Those of its test have no grades: see `images`.

    Raises:
      DataError: if table or folder is missing, a line of the table is damaged or a
        diagnosis no grade, or an image has no row or a row no image; on reading, as
        `images`.

    Source: Karthik and Dane, APTOS 2019 Blindness Detection, Kaggle.
    """
    if not root:
        text = f"is empty; name APTOS's folder, with train.csv and {_IMAGES} in it"
        raise DataError("data.root", text)
    table = Path(root, "train.csv")
    grades = _grades(table)
    source = images(root=str(Path(root, _IMAGES)), channels="rgb")
    check_joined(str(table), source.names, grades)
    return replace(source, labels=np.array([grades[name] for name in source.names]))


def _grades(table: Path) -> dict[str, int]:
    """Return each image's grade by the name of its file."""
    tree.readable_file(table, "data.root is the release's folder")
    grades: dict[str, int] = {}
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            if tuple(reader.fieldnames or ()) != _COLUMNS:
                has = ",".join(reader.fieldnames or ()) or "empty"
                raise DataError(table, f"line 1 is {has}, not {','.join(_COLUMNS)}")
            for cells in reader:
                name, grade = _row(table, reader.line_num, cells)
                if name in grades:
                    raise DataError(table, f"has two rows of {name}; keep one")
                grades[name] = grade
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(table, f"is no readable CSV in UTF-8 ({error})") from error
    return grades


def _row(table, line, cells):
    if None in cells or None in cells.values():
        raise DataError(table, f"line {line}: has not as many fields as line 1")
    code, grade = (cells[column].strip() for column in _COLUMNS)
    if grade not in _GRADES:
        text = f"line {line}: diagnosis {grade!r} of {code} is no grade"
        raise DataError(table, f"{text}; these are {', '.join(_GRADES)}")
    return f"{code}.png", int(grade)
