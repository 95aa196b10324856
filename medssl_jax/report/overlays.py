"""Masks as layers of colour with holes: what is true outlined, what was found filled."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, UInt8
from matplotlib.colors import to_rgb
from scipy.ndimage import binary_erosion

FILLED = 0.5  # opacity
_FINE = 288  # pixels of a side: an outline is a thin one


class Laid(NamedTuple):
    """A structure in the slices of a volume; None where it is not to be shown."""

    colour: str
    found: Bool[np.ndarray, "n high wide"]
    truth: Bool[np.ndarray, "n high wide"] | None = None


def overlay(structures: Sequence[Laid]) -> UInt8[np.ndarray, "n _ _ 4"]:
    """Return structures on each other, in finer pixels than they have."""
    n, high, wide = structures[0].found.shape
    finer = max(-(-_FINE // max(high, wide)), 1)
    shown = np.zeros((n, high * finer, wide * finer, 4), np.float32)
    for one in structures:
        _lay(shown, _fine(one.found, finer), one.colour, FILLED)
    for one in structures:  # no filling hides an outline
        if one.truth is not None:
            _lay(shown, _outline(_fine(one.truth, finer)), one.colour, 1.0)
    return np.rint(255 * shown).astype(np.uint8)


def _lay(shown, where, colour, opacity):
    """Lay a colour over others, as a browser would: Porter and Duff's `over`."""
    below = shown[where]
    alpha = opacity + below[:, 3:] * (1 - opacity)
    mixed = opacity * np.float32(to_rgb(colour))
    mixed = mixed + below[:, :3] * below[:, 3:] * np.float32(1 - opacity)
    shown[where] = np.concatenate([mixed / alpha, alpha], axis=1)


def _fine(mask, finer):
    return mask.repeat(finer, axis=1).repeat(finer, axis=2)


def _outline(mask):
    """Return the pixels of each slice that are at a mask's edge, inside."""
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]], bool)[None]
    return mask & ~binary_erosion(mask, cross)
