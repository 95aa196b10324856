"""MedMNIST's official archives, 2D and 3D (Yang et al. 2023)."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.arrays import load_archived, load_images
from medssl_jax.data.host import check
from medssl_jax.data.label_arrays import classes_or_findings
from medssl_jax.data.source import Examples, Record
from medssl_jax.errors import ConfigError, DataError

SPLITS = ("train", "val", "test")
# ChestMNIST's, the one archive with findings
_CHEST = (
    "atelectasis",
    "cardiomegaly",
    "effusion",
    "infiltration",
    "mass",
    "nodule",
    "pneumonia",
    "pneumothorax",
    "consolidation",
    "edema",
    "emphysema",
    "fibrosis",
    "pleural",
    "hernia",
)


def medmnist(*, root: str, split: str) -> Examples:
    """Read one official split of a MedMNIST archive.

    Each process that reads examples decompresses the split once and keeps it.

    Args:
      root: the .npz file, with `{split}_images` (n, *s) or (n, *s, 3), uint8, and
        `{split}_labels`: (n, 1) classes, or (n, k) findings, 1 or 0 (ChestMNIST's
        14). Which examples share a patient is not in it.
      split: "train", "val" or "test".

    Raises:
      ConfigError: if the split is none of these.
      DataError: if the file is missing, damaged, or holds other arrays; if its labels
        are not for its images.
    """
    if split not in SPLITS:
        raise ConfigError(
            f"data.split {split!r} is not known; known: {', '.join(SPLITS)}"
        )
    if not root:
        raise DataError("data.root", "is empty; name the .npz file of MedMNIST")
    key = f"{split}_labels"
    labels = load_archived(root, key)
    images = _images(root, split, tree.stamp(Path(root)))
    labels = classes_or_findings(labels, len(images), root, key)
    names = [f"{split}/{i:06d}" for i in range(len(images))]
    findings = _CHEST if labels.shape[1:] == (len(_CHEST),) else None
    read = _Read(root, split)
    return Examples(names, read, labels, None, read.stamp, findings)


@dataclass(frozen=True)
class _Read:
    root: str
    split: str

    def __call__(self, name: str) -> Record:
        images = _images(self.root, self.split, tree.stamp(Path(self.root)))
        image = images[int(name.rpartition("/")[2])]
        # no MedMNIST volume has three columns: they are 28, 64, 128 or 224 wide
        if image.shape[-1] != 3:
            image = image[..., np.newaxis]
        return check({"image": image}, f"{self.root}, {name}")

    def stamp(self, name: str) -> str:
        return f"medmnist {name} {tree.stamp(Path(self.root))}"


@lru_cache(maxsize=len(SPLITS))
def _images(root, split, stamp):
    del stamp  # another file under the same name is not the one remembered
    return load_images(root, f"{split}_images")
