"""Images, labels and patients as arrays of one .npz file."""

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


def npz(
    *,
    root: str,
    images: str = "images",
    labels: str = "labels",
    patients: str = "",
    names: str = "",
    findings: str = "",
    channels_last: bool = False,
    only: str = "",
) -> Examples:
    """Read a .npz archive that holds one row of its arrays for each example.

    Each process that reads examples decompresses the images once and keeps them.

    Args:
      root: the file.
      images: name of the array (n, *s), or (n, *s, c) with `channels_last`.
      labels: of (n,) classes, or (n, k) findings: 1, 0, -1 unknown; empty: no labels.
      patients: of (n,) ids, numbers or text; empty: each example counts as one.
      names: of (n,) names for tables and errors, each once; empty: they are numbered.
      findings: of the k findings' names; empty: they are numbered.
      only: "ARRAY=NUMBER" keeps the examples whose entry in an array (n,) is that
        number, such as one kind of images of a file that holds several.

    Raises:
      DataError: if the file is missing, damaged or lacks an array (the text lists what
        it has), or arrays do not fit each other; on reading, if an image holds NaN,
        infinities or one value only, or is none.
    """
    if not root:
        raise DataError("data.root", "is empty; name the .npz file")
    count = len(_images(root, images, tree.stamp(Path(root))))
    marks = label_names = ids = None
    if labels:
        marks = classes_or_findings(load_archived(root, labels), count, root, labels)
    if findings:
        if marks is None or marks.ndim != 2:
            text = f"{labels or 'data.labels'} holds no (n, k) findings to be named"
            raise DataError(root, f"{text} by {findings!r}; empty data.findings")
        label_names = _texts(root, findings, marks.shape[1])
    if patients:
        ids = _texts(root, patients, count)
    called = [f"{i:06d}" for i in range(count)]
    if names:
        called = _texts(root, names, count)
        if len(set(called)) < count:
            raise DataError(root, f"{names} has a name twice; empty data.names")
    read = _Read(root, images, names, channels_last)
    kept = range(count) if not only else _kept(root, only, count)
    return Examples(
        [called[i] for i in kept],
        read,
        None if marks is None else marks[list(kept)],
        None if ids is None else [ids[i] for i in kept],
        read.stamp,
        label_names,
    )


@dataclass(frozen=True)
class _Read:
    root: str
    images: str
    names: str
    channels_last: bool

    def __call__(self, name: str) -> Record:
        stamp = tree.stamp(Path(self.root))
        images = _images(self.root, self.images, stamp)
        image = images[_places(self.root, self.names, len(images), stamp)[name]]
        if not self.channels_last:
            image = image[..., np.newaxis]
        return check({"image": image}, f"{self.root}, {name}")

    def stamp(self, name: str) -> str:
        settings = f"{self.images} {name} {self.channels_last}"
        return f"npz {settings} {tree.stamp(Path(self.root))}"


@lru_cache(maxsize=4)
def _images(root, key, stamp):
    del stamp  # another file under the same name is not the one remembered
    return load_images(root, key)


@lru_cache(maxsize=4)
def _places(root, key, count, stamp):
    del stamp
    called = _texts(root, key, count) if key else [f"{i:06d}" for i in range(count)]
    return {name: i for i, name in enumerate(called)}


def _kept(root, only, count):
    key, _, number = only.partition("=")
    try:
        wanted = int(number)
    except ValueError:
        text = f"data.only is {only!r}; write ARRAY=NUMBER, such as labels=2"
        raise ConfigError(text) from None
    array = load_archived(root, key)
    if array.shape != (count,) or array.dtype.kind not in "iu":
        text = f"{key} is {array.dtype} {array.shape}"
        raise DataError(root, f"{text}, not {count} whole numbers for data.only")
    kept = np.flatnonzero(array == wanted)
    if not len(kept):
        known = ", ".join(map(str, np.unique(array).tolist()))
        raise DataError(root, f"{key} is nowhere {wanted} (data.only); it has {known}")
    return kept.tolist()


def _texts(root, key, count):
    array = load_archived(root, key)
    if array.shape != (count,) or array.dtype.kind not in "iuU":
        text = f"{key} is {array.dtype} {array.shape}"
        raise DataError(root, f"{text}, not {count} whole numbers or texts")
    return [str(value) for value in array.tolist()]
