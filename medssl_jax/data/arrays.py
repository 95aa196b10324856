"""Arrays in .npy and .npz files, never unpickled."""

import threading
from pathlib import Path

import numpy as np

from medssl_jax.data.decoding import check_unpacked, decoding
from medssl_jax.errors import DataError

# CPython 3.11 counts the depth of its parser, which reads the header, per interpreter:
# two threads in it at once can raise SystemError (python/cpython#106905)
_PARSER = threading.Lock()


def load_array(path: Path) -> np.ndarray:
    """Map the array of numbers in a .npy file into memory.

    Raises:
      DataError: if the file is missing, damaged, or holds anything but numbers.
    """
    try:
        with decoding(path, ".npy array of numbers"), _PARSER:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DataError as error:
        if "ickle" in error.reason or "Python objects" in error.reason:
            text = "holds Python objects, which are never unpickled; save numbers"
            raise DataError(path, text) from error
        raise
    if not isinstance(array, np.ndarray):
        raise DataError(path, "is an archive of arrays (.npz), not one array")
    if array.dtype.kind not in "buif":
        raise DataError(path, f"holds {array.dtype}, not real numbers")
    return array


def load_archived(path: str | Path, key: str) -> np.ndarray:
    """Return one array of a .npz file.

    Raises:
      DataError: if the file is missing or damaged, has no array of that name, or holds
        objects there; the text lists what it has.
    """
    with decoding(path, ".npz of numbers"):
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(path, "is one array (.npy), not an archive (.npz)")
        with archive:
            if key not in archive:
                held = ", ".join(archive) or "nothing"
                raise DataError(path, f"holds no {key!r}; it holds: {held}")
            inside = archive.zip.getinfo(f"{key}.npy")
            check_unpacked(path, inside.file_size, inside.compress_size)
            return archive[key]


def load_images(path: str | Path, key: str) -> np.ndarray:
    """Return (n, *s) images of a .npz file, or (n, *s, c).

    Raises:
      DataError: as `load_archived`; if they are no numbers, or have too few axes.
    """
    images = load_archived(path, key)
    if images.ndim < 3 or not len(images) or images.dtype.kind not in "buif":
        text = f"{key} is {images.dtype} {images.shape}"
        raise DataError(path, f"{text}, not numbers (n, rows, columns) or more axes")
    return images
