"""Boxes that a network has found, brought back to the voxels of the file."""

import numpy as np
from jaxtyping import Float

from medssl_jax.data.draw import Draw, placed_back
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record
from medssl_jax.errors import DataError


def check_whole(prepared: Record, draw: Draw, name: str) -> None:
    """Refuse an image of which a network would see the middle alone.

    Raises:
      DataError: naming it, and what to set.
    """
    shape = prepared["image"].shape[:-1]
    if any(n > size for n, size in zip(shape, draw.shape, strict=True)):
        raise DataError(
            name,
            f"is {shape} voxels large when prepared, and data.shape is {draw.shape}: "
            "outside of its middle nothing would be detected; set data.longest_side, or "
            "data.resize, to data.shape",
        )


def in_file(
    boxes: Float[np.ndarray, "m corners"],
    record: Record,
    prepared: Record,
    prepare: Prepare,
    draw: Draw,
    name: str,
) -> Float[np.ndarray, "m corners"]:
    """Return boxes in the voxels of a record as its file has it, cut to its image.

    Args:
      boxes: as fractions of what the network saw, low corner, then high.
      prepared: the record as `prepare` makes it.
      name: for errors.

    Raises:
      DataError: as `check_whole`.
    """
    check_whole(prepared, draw, name)
    cropped = prepare.box(record)
    start = np.tile([part.start for part in cropped], 2)
    size = np.tile([part.stop - part.start for part in cropped], 2)
    # preparation resamples: fractions stay
    found = start + placed_back(boxes, draw.place(prepared)) * size
    return np.clip(found, 0, np.tile(record["image"].shape[:-1], 2))
