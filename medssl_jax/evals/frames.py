"""Slices of a volume to look at: not too many, and no larger than a screen shows."""

from numbers import Real

import numpy as np
from jaxtyping import Bool, Shaped, UInt8
from PIL import Image

MOST = 64  # slices


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
    images: Shaped[np.ndarray, "n rows columns *c"], side: int, *, mean: bool
) -> Shaped[np.ndarray, "n _ _ *c"]:
    """Return slices of up to `side` pixels a side; what is smaller stays as it is.

    A pixel is the mean of those in its place, or of a mask, which has none, the nearest.
    """
    n, *high_wide = images.shape[:3]
    if max(high_wide) <= side:
        return images
    high, wide = (max(round(k * side / max(high_wide)), 1) for k in high_wide)
    if not mean:
        nearest = (
            ((np.arange(new) + 0.5) * old / new).astype(int)
            for new, old in zip((high, wide), high_wide, strict=True)
        )
        return images[np.ix_(range(n), *nearest)]
    channels = np.moveaxis(images.astype(np.float32).reshape(n, *high_wide, -1), -1, 1)
    small = [
        Image.fromarray(plane).resize((wide, high), Image.Resampling.BOX)
        for plane in channels.reshape(-1, *high_wide)
    ]
    small = np.stack(small).reshape(n, -1, high, wide)
    small = np.moveaxis(small, 1, -1).reshape(n, high, wide, *images.shape[3:])
    return small.astype(images.dtype)


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
