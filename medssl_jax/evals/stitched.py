"""Overlapping windows, averaged: the rows of a volume that are at work."""

import mmap
import os
import tempfile

import numpy as np
from jaxtyping import Float

from medssl_jax.errors import DataError
from medssl_jax.evals.windows import gaussian

_MOST_IN_MEMORY = 2**28  # bytes


class Stitched:
    """Weighted means of the probabilities that windows give to the voxels they share.

    Windows come in the order of their first axis, and rows are planes across it. No
    more rows are kept than a window has, with the one before them. Where these are more
    than 256 MiB, 60 classes of a CT for one, they lie in a nameless temporary file, of
    which no more than a row is in memory: what a process needs does not grow with k.
    """

    def __init__(self, shape: tuple[int, ...], tile: tuple[int, ...], classes: int):
        """Make room for windows of shape (*tile, classes) in a volume (*shape).

        Raises:
          DataError: if the folder of temporary files has no room.
        """
        self._weights = gaussian(tile)
        # with the sum of weights as one more class
        self._rows, self._file = _room((tile[0] + 1, *shape[1:], classes + 1))
        self._end = 0

    def add(
        self, origin: tuple[int, ...], probability: Float[np.ndarray, "*tile k"]
    ) -> None:
        """Add a window, whose first voxel is `origin` of the volume."""
        self._clear(origin[0] + len(self._weights))
        plane = tuple(
            slice(start, start + n)
            for start, n in zip(origin[1:], self._weights.shape[1:], strict=True)
        )
        for i, (weights, values) in enumerate(
            zip(self._weights, probability, strict=True)
        ):
            sums = self._row(origin[0] + i)[plane]
            sums[..., :-1] += weights[..., None] * values
            sums[..., -1] += weights

    def finish(self, start: int, stop: int) -> None:
        """Take the means of rows that no further window reaches."""
        for row in range(start, stop):
            sums = self._row(row)
            sums[..., :-1] /= sums[..., -1:]

    def __getitem__(self, row: int) -> Float[np.ndarray, "*plane k"]:
        """Return a finished row: one of this window's, or the one before."""
        return self._row(row)[..., :-1]

    def _clear(self, stop):
        for row in range(self._end, stop):
            self._row(row)[...] = 0
        self._end = max(self._end, stop)

    def _row(self, row):
        if self._file is not None:
            # out of this process, not out of the file: it is shared memory
            self._file.madvise(mmap.MADV_DONTNEED)
        return self._rows[row % len(self._rows)]


def _room(shape):
    """Return an array, and the file that it lies in or None."""
    size = 4 * int(np.prod(shape))
    if size <= _MOST_IN_MEMORY:
        return np.empty(shape, np.float32), None
    with tempfile.TemporaryFile() as file:
        try:
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):  # absent on macOS
                # a full disk would kill the process later, at some write to memory
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            text = f"has no room for {size >> 20} MiB of probabilities"
            raise DataError(
                tempfile.gettempdir(), f"{text} ({error.strerror}); set TMPDIR"
            ) from error
        mapped = mmap.mmap(file.fileno(), size)
    return np.ndarray(shape, np.float32, buffer=mapped), mapped
