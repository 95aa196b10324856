"""Arrays in a tree of .npy files, one example each."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medssl_jax.data import tree
from medssl_jax.data.arrays import load_array
from medssl_jax.data.host import check
from medssl_jax.data.source import Examples, Record
from medssl_jax.data.table import examples


def npy(
    *,
    root: str,
    labels: str = "",
    unlisted: str = "raise",
    classes: tuple[str, ...] = (),
    channels_last: bool = False,
) -> Examples:
    """Read every .npy file below `root`: an image (rows, columns) or a volume.

    Args:
      labels: CSV `path,label,patient`, or empty (`table.examples`).
      unlisted: what becomes of files without a row, "raise" or "drop".
      classes: names of the labels' classes 0, 1, 2, ..., where the table has names;
        (): sorted.
      channels_last: whether the files' last axis holds channels.

    Raises:
      DataError: if root or table cannot be used; on reading, if a file is damaged,
        holds objects, NaN, infinities, one value only, or has another rank.
    """
    names = tree.files(root, (".npy",), holds="*.npy")
    read = _Read(root, channels_last)
    return examples(
        names,
        read,
        read.stamp,
        labels=labels,
        unlisted=unlisted,
        classes=classes,
    )


@dataclass(frozen=True)
class _Read:
    root: str
    channels_last: bool

    def __call__(self, name: str) -> Record:
        path = Path(self.root) / name
        array = load_array(path)
        image = array if self.channels_last else array[..., np.newaxis]
        return check({"image": image}, str(path))

    def stamp(self, name: str) -> str:
        return f"npy {self.channels_last} {tree.stamp(Path(self.root) / name)}"
