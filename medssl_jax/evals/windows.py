"""Windows of one size, laid over an axis or an image that is larger."""

import math

import numpy as np
from jaxtyping import Float

_LEAST = 1e-3  # corners lie 10 sigmas out, and their sums of weights divide


def starts(size: int, tile: int, step: float) -> list[int]:
    """Return where windows start on an axis, the first at 0, the last at its end.

    They are spread evenly, at most `step`, a part of the window, from each other.

    Source: nnU-Net's `compute_steps_for_sliding_window` (arXiv:1904.08128).
    """
    gaps = math.ceil((size - tile) / (tile * step))
    return [round((size - tile) / max(gaps, 1) * i) for i in range(gaps + 1)]


def gaussian(tile: tuple[int, ...]) -> Float[np.ndarray, "*tile"]:
    """Return the weight of each voxel of a window: predictions are worst at its edge.

    A Gaussian of an eighth of the window about its centre, float32, nowhere below .001.

    Source: nnU-Net (arXiv:1904.08128); its peak lies on a voxel, half of one off.
    """
    weights = np.ones(tile)
    for axis, n in enumerate(tile):
        sigmas = (np.arange(n) - (n - 1) / 2) / (n / 8)
        along = np.exp(-(sigmas**2) / 2)
        weights *= np.expand_dims(along, tuple(set(range(len(tile))) - {axis}))
    return np.maximum(weights, _LEAST).astype(np.float32)
