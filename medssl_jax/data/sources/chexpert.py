"""CheXpert chest radiographs, as the release lies on disk (Irvin et al. 2019)."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medssl_jax.data import tree
from medssl_jax.data.decoding import decoding
from medssl_jax.data.host import check
from medssl_jax.data.source import ABSENT, PRESENT, UNLABELLED, Examples, Record
from medssl_jax.errors import ConfigError, DataError

SPLITS = ("train", "valid")
VIEWS = ("frontal", "all")
# the five of the competition, which the literature reports
COMPETITION = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Pleural Effusion",
)
UNCERTAIN = {"ignore": UNLABELLED, "zeros": ABSENT, "ones": PRESENT}
BLANK = {"zeros": ABSENT, "ignore": UNLABELLED}

# RELEASE/train/patient00001/study1/view1_frontal.jpg
_PATH = re.compile(r"[^/]+/(.*(patient\d+)/study\d+/[^/]+)")
_NUMBERS = {"1": PRESENT, "1.0": PRESENT, "0": ABSENT, "0.0": ABSENT}


def chexpert(
    *,
    root: str,
    split: str,
    uncertain: str,
    blank: str,
    view: str = "frontal",
    findings: Sequence[str] = COMPETITION,
) -> Examples:
    """Read one split as gray uint8 images with several findings each.

    `{split}.csv` lies in `root`; its paths begin with the release's own name, which is
    left out, so that the folder can be renamed. The patient is in the path.

    Args:
      root: the release's folder, such as CheXpert-v1.0-small.
      split: "train" or "valid".
      uncertain: what a label of -1 becomes: "ignore" (unknown), "zeros" (absent) or
        "ones" (present), which are U-Ignore, U-Zeros and U-Ones of the paper.
      blank: what an empty cell, a finding that the report does not mention, becomes:
        "zeros" or "ignore".
      view: "frontal", or "all", lateral ones too.
      findings: the columns to read, in this order.

    Raises:
      ConfigError: naming a setting that is not known.
      DataError: if the table or the first image is missing, a column is unknown, a row
        is damaged (by line), or no label is left; on reading, by file.

    Source: arXiv:1901.07031, sec. 3.1.
    """
    _check_known("split", split, SPLITS)
    _check_known("uncertain", uncertain, UNCERTAIN)
    _check_known("blank", blank, BLANK)
    _check_known("view", view, VIEWS)
    if not findings:
        raise ConfigError("data.findings is empty; name the columns to read")
    if not root:
        text = "is empty; name CheXpert's folder, with train.csv in it"
        raise DataError("data.root", text)
    marks = _NUMBERS | {"": BLANK[blank]}
    marks |= dict.fromkeys(("-1", "-1.0"), UNCERTAIN[uncertain])
    table = Path(root, f"{split}.csv")
    rows = list(_rows(table, view, tuple(findings), marks))
    if not rows:
        raise DataError(table, f"has no row of data.view {view!r}")
    names, patients, labels = zip(*rows, strict=True)
    labels = np.array(labels, np.int64)
    if np.all(labels == UNLABELLED):
        text = f"no row has a label in {', '.join(findings)}"
        raise DataError(table, f"{text}; see data.uncertain and data.blank")
    read = _Read(root)
    read.stamp(names[0])  # a wrong root is told now, and not by a worker
    return Examples(names, read, labels, patients, read.stamp, tuple(findings))


@dataclass(frozen=True)
class _Read:
    root: str

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        return check({"image": _gray(path)[..., np.newaxis]}, str(path))

    def stamp(self, name: str) -> str:
        return f"chexpert {tree.stamp(Path(self.root) / name)}"


def _gray(path: Path) -> np.ndarray:
    with decoding(path, "image"), Image.open(path) as image:
        return np.asarray(image.convert("L"))


def _rows(table, view, findings, marks):
    """Yield name, patient and labels of each row of the view."""
    tree.readable_file(table, "data.root is the release's folder")
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            _check_header(table, reader.fieldnames or [], findings)
            for cells in reader:
                line = f"line {reader.line_num}"
                if None in cells or None in cells.values():
                    raise DataError(table, f"{line}: has not as many fields as line 1")
                if view == "all" or cells["Frontal/Lateral"] == "Frontal":
                    yield _row(table, line, cells, findings, marks)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        text = f"is no readable CSV ({error}); data.root is the release's folder"
        raise DataError(table, text) from error


def _row(table, line, cells, findings, marks):
    found = _PATH.fullmatch(cells["Path"])
    if not found or ".." in cells["Path"] or "//" in cells["Path"]:
        text = f"{line}: Path {cells['Path']!r} is no RELEASE/.../patientN/studyN/FILE"
        raise DataError(table, text)
    for finding in findings:
        if cells[finding] not in marks:
            text = f"{line}: {finding} is {cells[finding]!r}, not 1, 0, -1 or empty"
            raise DataError(table, text)
    return *found.groups(), [marks[cells[finding]] for finding in findings]


def _check_header(table, header, findings):
    for column in ("Path", "Frontal/Lateral", *findings):
        if column not in header:
            has = ", ".join(header) or "none"
            raise DataError(table, f"has no column {column!r}; it has: {has}")


def _check_known(field, value, known):
    if value not in known:
        raise ConfigError(
            f"data.{field} {value!r} is not known; known: {', '.join(known)}"
        )
