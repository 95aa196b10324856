"""A whole image through a network that sees windows of it."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from medssl_jax.evals.stitched import Stitched
from medssl_jax.evals.windows import starts

Predict = Callable[[np.ndarray], np.ndarray]  # (b, *tile, c) -> (b, *tile, k)

_BLOCK = 2**20  # bytes of probabilities on the native grid at a time


def slabs(
    image: np.ndarray,
    predict: Predict,
    *,
    tile: tuple[int, ...],
    batch_size: int,
    step: float,
    places: Sequence[np.ndarray],
    decide: Callable[[np.ndarray], np.ndarray],
) -> Iterator[np.ndarray]:
    """Yield what is decided for every native voxel, slab by slab of the first axis.

    Probabilities of overlapping windows are averaged with Gaussian weights, brought to
    the native grid by linear interpolation, and decided there. Memory grows with the
    classes of one batch of windows, not of the image.

    Args:
      image: prepared, (*s, c). Where it is smaller than a window, 0 fills both sides
        alike, as in `Draw`.
      predict: gets arrays of one shape, so that it compiles once; the last batch is
        filled up with zeros.
      step: from one window to the next, at most, as a part of the window; nnU-Net has
        .5 (arXiv:1904.08128).
      places: of each axis, where native voxels lie in the image, in its voxels, rising
        (`data.places`); beyond its edge the nearest voxel is taken.
      decide: `classes` or `regions`.

    Returns:
      Arrays (rows, *native plane), of regions (rows, *native plane, k), in order: their
      concatenation is of the native image.

    Raises:
      DataError: if the folder of temporary files has no room for what is at work.
    """
    image, places = _padded(image, tile, places)
    *shape, _ = image.shape
    origins = [starts(n, t, step) for n, t in zip(shape, tile, strict=True)]
    windows = _windows(image, predict, origins, tile, batch_size)
    of_one_start = math.prod(len(along) for along in origins[1:])
    axes = [_between(along) for along in places]
    stitched, done = None, 0
    for start, stop in itertools.pairwise([*origins[0], shape[0]]):
        for origin, probability in itertools.islice(windows, of_one_start):
            if stitched is None:
                stitched = Stitched(tuple(shape), tile, probability.shape[-1])
            stitched.add(origin, probability)
        stitched.finish(start, stop)
        ready = int(np.searchsorted(axes[0].above, stop))
        if ready > done:
            native = range(done, ready)
            yield np.stack([_row(stitched, i, axes, decide) for i in native])
        done = ready


def classes(probability: Float[np.ndarray, "*s k"]) -> UInt8[np.ndarray, "*s"]:
    """Return the most probable class of each voxel, the first of equals."""
    return np.argmax(probability, axis=-1).astype(np.uint8)


def regions(probability: Float[np.ndarray, "*s k"]) -> Bool[np.ndarray, "*s k"]:
    """Return the regions, which may overlap, that each voxel rather is in than not."""
    return probability > 0.5


def mirrored(predict: Predict, axes: Sequence[int]) -> Predict:
    """Average `predict` over all 2^n flips of n spatial axes of the images."""
    flips = [
        tuple(axis + 1 for axis in some)
        for n in range(len(axes) + 1)
        for some in itertools.combinations(axes, n)
    ]

    def mean(images):
        total = 0.0
        for flip in flips:
            found = np.asarray(predict(np.flip(images, flip)), np.float32)
            total = total + np.flip(found, flip)
        return total / len(flips)

    return mean


class _Between(NamedTuple):
    """Places on an axis: the voxels beside each, and how near it is to the second."""

    below: np.ndarray
    above: np.ndarray
    share: np.ndarray

    def cut(self, start, stop):
        return _Between(*(part[start:stop] for part in self))


def _between(places):
    below, above = np.floor(places), np.ceil(places)
    share = (places - below).astype(np.float32)
    return _Between(below.astype(int), above.astype(int), share)


def _padded(image, tile, places):
    """Return the image, no smaller than a window, and the same places in it."""
    sizes = image.shape[:-1]
    lacking = [max(t - n, 0) for n, t in zip(sizes, tile, strict=True)]
    places = [
        np.clip(along, 0, n - 1) + more // 2
        for along, n, more in zip(places, sizes, lacking, strict=True)
    ]
    if any(lacking):
        padding = [(more // 2, more - more // 2) for more in lacking]
        image = np.pad(image, [*padding, (0, 0)])
    return image, places


def _windows(image, predict, origins, tile, batch_size):
    """Yield the origin of each window, and its probabilities (*tile, k)."""
    every = list(itertools.product(*origins))
    for first in range(0, len(every), batch_size):
        some = every[first : first + batch_size]
        images = np.zeros((batch_size, *tile, image.shape[-1]), image.dtype)
        for window, origin in zip(images, some):
            window[...] = image[
                tuple(slice(i, i + n) for i, n in zip(origin, tile, strict=True))
            ]
        found = np.asarray(predict(images), np.float32)
        yield from zip(some, found)


def _row(stitched, i, axes, decide):
    """Decide the i-th row of the native grid, some lines at a time."""
    rows, lines, *others = axes
    below, above = (stitched[int(part[i])] for part in (rows.below, rows.above))
    line = math.prod(len(along.share) for along in others) * below.shape[-1]
    size = max(1, _BLOCK // (line * below.itemsize))
    decided = []
    for start in range(0, len(lines.share), size):
        some = lines.cut(start, start + size)
        first, stop = some.below[0], some.above[-1] + 1
        values = _mix(below[first:stop], above[first:stop], rows.share[i])
        some = some._replace(below=some.below - first, above=some.above - first)
        for axis, along in enumerate([some, *others]):
            values = _interpolate(values, axis, along)
        decided.append(decide(values))
    return np.concatenate(decided)


def _interpolate(values, axis, along):
    below = values.take(along.below, axis)
    if not along.share.any():
        return below
    share = along.share.reshape(-1, *(1,) * (values.ndim - 1 - axis))
    return _mix(below, values.take(along.above, axis), share)


def _mix(below, above, share):
    return below + share * (above - below)
