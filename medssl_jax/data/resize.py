"""Another number of pixels, for images whose spacing is not known."""

import numpy as np
from PIL import Image

from medssl_jax.errors import ConfigError


def check_size(size: tuple[int, ...]) -> None:
    """Refuse what is neither (n,) nor (rows, columns).

    Raises:
      ConfigError: naming the field.
    """
    whole = all(isinstance(n, int) and n > 0 for n in size)
    if len(size) not in (1, 2) or not whole:
        raise ConfigError(
            f"data.resize {tuple(size)} is neither (shorter side,) nor (rows, "
            "columns), in pixels"
        )


def resize(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Resize rows and columns of (*s, c), a volume's slice by slice.

    A triangle filter that widens as pixels grow interpolates and keeps from aliasing:
    Pillow's BILINEAR, and so torchvision's.

    Args:
      size: (n,) brings the shorter side to n and keeps the aspect, (rows, columns)
        does not.

    Returns:
      float32, or uint8 rounded where the image is uint8; the image where nothing
      changes.
    """
    *outer, rows, columns, channels = image.shape
    new_rows, new_columns = _target(rows, columns, size)
    if (new_rows, new_columns) == (rows, columns):
        return image
    dtype = np.uint8 if image.dtype == np.uint8 else np.float32
    planes = np.moveaxis(image, -1, 0).reshape(-1, rows, columns).astype(dtype)
    resized = [
        Image.fromarray(plane).resize(
            (new_columns, new_rows), Image.Resampling.BILINEAR
        )
        for plane in planes
    ]
    shape = channels, *outer, new_rows, new_columns
    return np.moveaxis(np.stack(resized).reshape(shape), 0, -1)


def resize_nearest(mask: np.ndarray, size: tuple[int, ...], ndim: int) -> np.ndarray:
    """Resize rows and columns of a mask of `ndim` axes by nearest pixels.

    Pixels lie as in `resize`. The mask is (*s,), or (*s, k).
    """
    rows, columns = mask.shape[ndim - 2 : ndim]
    for axis, old, new in zip(
        (ndim - 2, ndim - 1), (rows, columns), _target(rows, columns, size), strict=True
    ):
        places = ((np.arange(new) + 0.5) * old / new).astype(int)
        mask = mask.take(places, axis)
    return mask


def places(shape: tuple[int, ...], size: tuple[int, ...]) -> list[np.ndarray]:
    """Return where pixels of (*s,) lie in what `resize` makes of it, in its pixels.

    One rising array for each axis: the first and the last may lie outside.
    """
    *outer, rows, columns = shape
    new = *outer, *_target(rows, columns, size)
    return [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(shape, new, strict=True)]


def _target(rows, columns, size):
    if len(size) == 2:
        return tuple(size)
    scale = size[0] / min(rows, columns)
    return round(rows * scale), round(columns * scale)
