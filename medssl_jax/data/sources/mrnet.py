"""MRNet knee MR, as its archive lies on disk (Stanford, Bien et al. 2018)."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.arrays import load_array
from medssl_jax.data.class_labels import class_number
from medssl_jax.data.host import check
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import check_joined
from medssl_jax.errors import ConfigError, DataError

SPLITS = ("train", "valid")
PLANES = ("axial", "coronal", "sagittal")
TASKS = ("abnormal", "acl", "meniscus")


def mrnet(*, root: str, split: str, plane: str, task: str = "") -> Examples:
    """Read one plane of one split, labelled for one task.

    `{split}/{plane}/NNNN.npy` is uint8 (slices, rows, columns), of unknown spacing;
    `{split}-{task}.csv` has lines `NNNN,label` and no header. Every exam is taken for
    a patient: the archive does not say more.

    Args:
      split: "train" (1,130 exams) or "valid" (120).
      plane: "axial", "coronal" or "sagittal".
      task: "abnormal", "acl", "meniscus"; empty: no labels.

    Raises:
      ConfigError: naming a field that is none of these.
      DataError: if a folder or table is missing, or they disagree; on reading, if a
        file is damaged or no stack of uint8 slices.
    """
    fields = ("split", split, SPLITS), ("plane", plane, PLANES), ("task", task, TASKS)
    for field, value, known in fields:
        if value not in known and not (field == "task" and value == ""):
            raise ConfigError(
                f"data.{field} {value!r} is not known; known: {', '.join(known)}"
            )
    if not root:
        raise DataError("data.root", "is empty; name the folder that MRNet lies in")
    folder = str(Path(root, split, plane))
    files = tree.files(folder, (".npy",), holds="MRNet exam (NNNN.npy)")
    exams = [Path(file).stem for file in files]
    labels = None
    if task:
        path = str(Path(root, f"{split}-{task}.csv"))
        rows = _read_labels(path)
        check_joined(path, exams, rows)
        labels = np.array([rows[exam] for exam in exams], np.int64)
    read = _Read(root)
    names = [f"{split}/{plane}/{file}" for file in files]
    return Examples(names, read, labels, exams, read.stamp)


@dataclass(frozen=True)
class _Read:
    root: str

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        stack = load_array(path)
        if stack.ndim != 3 or stack.dtype != np.uint8:
            reason = (
                f"is {stack.dtype} {stack.shape}, not uint8 (slices, rows, columns)"
            )
            raise DataError(path, reason)
        return check({"image": stack[..., np.newaxis]}, str(path))

    def stamp(self, name: str) -> str:
        return f"mrnet {tree.stamp(Path(self.root) / name)}"


def _read_labels(path: str) -> dict[str, int]:
    rows: dict[str, int] = {}
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for line, cells in enumerate(csv.reader(file, strict=True), start=1):
                if len(cells) != 2 or cells[0] in rows:
                    reason = f"line {line}: {cells} is no new exam with its label"
                    raise DataError(path, reason)
                rows[cells[0]] = class_number(cells[1], path, line)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(path, f"is no readable CSV ({error})") from error
    return rows
