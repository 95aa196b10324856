"""Masks as PNG files: grey values are classes."""

from pathlib import Path

import numpy as np
from jaxtyping import Integer, UInt8
from PIL import Image, ImageOps

from medssl_jax.data.decoding import decoding
from medssl_jax.data.masks import check_shape, classes
from medssl_jax.errors import DataError

_GREY = ("1", "L", "I;16", "I")  # Pillow's modes
_WHITE = 255


def load_png_mask(path: Path, shape: tuple[int, int]) -> UInt8[np.ndarray, "r c"]:
    """Read the classes of an image of `shape`, rows and columns.

    Where a mask is black and white, 0 and 255 and nothing else, white is class 1.

    Raises:
      DataError: naming the file, if it is damaged, animated, of another shape, in
        colour, or has a palette: its indices may be the classes, or its colours; as
        `masks.classes`.
    """
    with decoding(path, "PNG"), Image.open(path, formats=("PNG",)) as picture:
        _check_grey(picture, path)
        values = np.asarray(ImageOps.exif_transpose(picture))
    check_shape(values.shape, shape, path)
    if values.dtype == bool:
        return values.astype(np.uint8)
    found = np.unique(values)
    if found[-1] == _WHITE and set(found.tolist()) <= {0, _WHITE}:
        return (values == _WHITE).astype(np.uint8)
    return classes(values, path)


def save_png_mask(mask: Integer[np.ndarray, "r c"], path: Path) -> None:
    """Write classes, up to 255, as a grey PNG of 8 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8)).save(path)


def _check_grey(picture, path):
    if getattr(picture, "is_animated", False):
        raise DataError(path, "is animated; keep one picture of it")
    if picture.mode == "P":
        text = "has a palette, and a class may be an index of it or a colour"
        raise DataError(path, f"{text}; save the classes as grey values")
    if picture.mode not in _GREY:
        text = f"is in colour or transparent ({picture.mode})"
        raise DataError(path, f"{text}; save the classes as grey values")
