"""Where a record's voxels lie in what is prepared of it."""

import numpy as np

from medssl_jax.data import resample, resize
from medssl_jax.data.host import Prepare
from medssl_jax.data.source import Record


def places(prepare: Prepare, record: Record) -> list[np.ndarray]:
    """Return, of each axis, the places in the prepared image, in its voxels.

    They rise, and the first and the last may lie outside. What is found in the prepared
    image is brought back to the record's grid by interpolating there. The record is
    that which `prepare` crops, if it does.
    """
    shape = record["image"].shape[:-1]
    if prepare.resize is not None:
        return resize.places(shape, prepare.resize)
    if spacings_mm := prepare.spacings_mm(record):
        return resample.places(shape, *spacings_mm)
    return [np.arange(n, dtype=float) for n in shape]
