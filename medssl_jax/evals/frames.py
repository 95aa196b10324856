"""Slices of a volume to look at: not too many, and no larger than a screen shows."""

from numbers import Real

import numpy as np
from jaxtyping import Bool, Shaped, UInt8

MOST = 64  # slices
_SIDE = 256  # pixels


def places(there: Bool[np.ndarray, "n"]) -> list[int]:
    """Return the slices to keep of n: all, or every so manieth around what is there."""
    count = len(there)
    if count <= MOST:
        return list(range(count))
    seen = np.flatnonzero(there) if there.any() else np.arange(count)
    short = max(MOST - (seen[-1] + 1 - seen[0]), 0)  # around few, their neighbours
    start = min(max(seen[0] - short // 2, 0), count - MOST)
    stop = max(seen[-1] + 1, start + MOST)
    return list(range(start, stop, -(-(stop - start) // MOST)))


def shrunk(
    images: Shaped[np.ndarray, "n rows columns *c"], *, mean: bool
) -> Shaped[np.ndarray, "n _ _ *c"]:
    """Return slices with blocks of pixels as one, their mean or the one in the middle.

    Masks have no mean. Slices of up to 256 pixels a side stay as they are.
    """
    n, rows, columns, *c = images.shape
    by = -(-max(rows, columns) // _SIDE)
    if by == 1:
        return images
    rows, columns = max(rows // by, 1), max(columns // by, 1)
    if not mean:
        return images[:, by // 2 :: by, by // 2 :: by][:, :rows, :columns]
    cut = images[:, : rows * by, : columns * by].astype(np.float32)
    blocks = cut.reshape(n, rows, by, columns, by, *c)
    return blocks.mean(axis=(2, 4)).astype(images.dtype)


def to_bytes(image: Shaped[np.ndarray, "..."], low: Real, high: Real):
    """Return values as uint8: `low` and what is below as 0, `high` as 255."""
    share = (image.astype(np.float32) - low) / max(high - low, 1e-12)
    return np.rint(255 * np.clip(share, 0, 1)).astype(np.uint8)


def grey_or_colour(
    images: Shaped[np.ndarray, "n _ _ *c"],
) -> UInt8[np.ndarray, "n _ _ ..."]:
    """Return slices to be shown: three channels of uint8 are colours, else the first.

    What it has made stays as it is.
    """
    if images.dtype == np.uint8 and (images.ndim == 3 or images.shape[-1] == 3):
        return images
    grey = images[..., 0]
    return to_bytes(grey, *np.percentile(grey, [0.5, 99.5]))
