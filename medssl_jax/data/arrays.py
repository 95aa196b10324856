"""Arrays in .npy and .npz files, never unpickled."""

import threading
import zipfile
import zlib
from pathlib import Path
from tokenize import TokenError

import numpy as np

from medssl_jax.errors import DataError

# what NumPy raises on damaged files
DAMAGED = (
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    TokenError,
    OverflowError,
    MemoryError,  # a damaged header asks for any size
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
)

# CPython 3.11 counts the depth of its parser, which reads the header, per interpreter:
# two threads in it at once can raise SystemError (python/cpython#106905)
_PARSER = threading.Lock()


def load_array(path: Path) -> np.ndarray:
    """Map the array of numbers in a .npy file into memory.

    Raises:
      DataError: if the file is missing, damaged, or holds anything but numbers.
    """
    try:
        with _PARSER:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except DAMAGED as error:
        reason = f"is no readable .npy array of numbers ({error})"
        if "ickle" in str(error) or "Python objects" in str(error):
            reason = "holds Python objects, which are never unpickled; save numbers"
        raise DataError(path, reason) from error
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
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise DataError(path, "is one array (.npy), not an archive (.npz)")
        with archive:
            if key not in archive:
                held = ", ".join(archive) or "nothing"
                raise DataError(path, f"holds no {key!r}; it holds: {held}")
            return archive[key]
    except DAMAGED as error:
        reason = f"is no readable .npz of numbers ({error})"
        raise DataError(path, reason) from error
