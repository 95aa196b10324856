"""Boxes that a network has found, brought back to the voxels of the file."""

import numpy as np
from jaxtyping import Float

from medssl_jax.data.draw import Draw, placed_back
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record


def in_file(
    boxes: Float[np.ndarray, "m corners"],
    record: Record,
    prepared: Record,
    prepare: Prepare,
    draw: Draw,
) -> Float[np.ndarray, "m corners"]:
    """Return boxes in the voxels of a record as its file has it, cut to its image.

    Args:
      boxes: as fractions of what the network saw, low corner, then high.
      prepared: the record as `prepare` makes it.
    """
    cropped = prepare.box(record)
    start = np.tile([part.start for part in cropped], 2)
    size = np.tile([part.stop - part.start for part in cropped], 2)
    # preparation resamples: fractions stay
    found = start + placed_back(boxes, draw.place(prepared)) * size
    return np.clip(found, 0, np.tile(record["image"].shape[:-1], 2))
