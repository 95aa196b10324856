"""Volumes as blocks that are scrolled through: arrays in, sheets of frames out."""

import base64
import io
from collections.abc import Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image

from medssl_jax.evals import frames
from medssl_jax.report.blocks import Panel, Sheet, Stack

STILLS = 3  # of a volume on paper
_FEW = 4  # volumes side by side
_COARSE = 128  # pixels of a side: below, they are drawn as squares
_SIDE = 160  # pixels, of volumes that stand small beside many others
_QUALITY = 80  # of 100; what is laid over a scan loses nothing


class Layered(NamedTuple):
    """A volume's layers, from the lowest: grey, colour, or colour with holes, (n, ...).

    They need not have as many frames or pixels as each other.
    """

    title: str
    alt: str
    layers: Sequence[UInt8[np.ndarray, "_ _ _ *c"]]
    aspect: float = 1.0  # how high a pixel is, as a part of its width


def stack(
    groups: Sequence[Sequence[Layered]],
    *,
    name: str,
    places: Sequence[str],
    caption: str,
    stills: Sequence[int] = (),
    least_rem: int = 9,
    key: Sequence[tuple[str, str]] = (),
) -> Stack:
    """Return volumes side by side, scrolled together.

    `places` name the frames of the longest layer, and the others' at the same share of
    them. A layer that stands in several panels, the same array, is in the page once.
    Without `stills` the frames at a quarter, the half and three quarters are on paper,
    of many volumes side by side the middle one.
    """
    sheets: dict[int, Sheet] = {}
    panels = []
    for group in groups:
        panels.append([])
        for one in group:
            for layer in one.layers:
                if id(layer) not in sheets:
                    sheets[id(layer)] = sheet(layer)
            lowest = sheets[id(one.layers[0])]
            ratio = lowest.frame_wide / (lowest.frame_high * one.aspect)
            drawn = [list(sheets).index(id(layer)) for layer in one.layers]
            panels[-1].append(Panel(one.title, one.alt, drawn, ratio))
    few = len(groups[0]) <= _FEW
    stills = stills or inner(len(places), STILLS if few else 1)
    drawn = list(sheets.values())
    return Stack(name, drawn, panels, places, stills, caption, least_rem, key)


def inner(count: int, most: int = STILLS) -> list[int]:
    """Return places inside of `count`, as far from the ends as from each other."""
    return sorted({round(i) for i in np.linspace(0, count - 1, most + 2)[1:-1]})


def places(count: int) -> list[int]:
    """Return which of so many slices are shown."""
    return frames.places(np.zeros(count, bool))


def named(count: int) -> list[str]:
    """Return what the frames are called that `kept` leaves of so many slices."""
    return [f"slice {i + 1} of {count}" for i in places(count)]


def kept(
    volume: Shaped[np.ndarray, "n _ _ c"], low: Real, high: Real
) -> UInt8[np.ndarray, "m _ _ ..."]:
    """Return a volume as a layer, `low` black: colours, or the first channel's greys."""
    shown = frames.shrunk(volume[places(len(volume))], _SIDE, mean=True)
    shown = frames.to_bytes(shown, low, high)
    return shown if shown.shape[-1] == 3 else shown[..., 0]


def kept_mask(mask: Shaped[np.ndarray, "n _ _ *k"]) -> Shaped[np.ndarray, "m _ _ *k"]:
    """Return of a mask what `kept` leaves of its volume."""
    return frames.shrunk(mask[places(len(mask))], _SIDE, mean=False)


def sheet(layer: UInt8[np.ndarray, "n high wide *c"]) -> Sheet:
    """Lay frames out in rows, each with a rim of its own pixels.

    Else a browser that smooths would mix it with its neighbours.
    """
    n, high, wide, *channels = layer.shape
    across = int(np.ceil(np.sqrt(n * high / wide)))
    down = -(-n // across)
    rim = [(0, 0), (1, 1), (1, 1), *[(0, 0)] * len(channels)]
    cells = np.zeros((down * across, high + 2, wide + 2, *channels), np.uint8)
    cells[:n] = np.pad(layer, rim, mode="edge")
    rows = cells.reshape(down, across, high + 2, wide + 2, *channels).swapaxes(1, 2)
    picture = rows.reshape(down * (high + 2), across * (wide + 2), *channels)
    corners = [
        f"{i % across * (wide + 2) + 1} {i // across * (high + 2) + 1}"
        for i in range(n)
    ]
    holes = channels == [4]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "WEBP", quality=_QUALITY, lossless=holes)
    coded = base64.b64encode(buffer.getvalue()).decode()
    size = picture.shape[1], picture.shape[0]
    coarse = max(high, wide) < _COARSE and not holes
    source = f"data:image/webp;base64,{coded}"
    return Sheet(source, *size, wide, high, corners, coarse)
