"""The cheap, random part of what the host does: one place, cut out of every field."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from medssl_jax.data.source import NO_BOX, UNLABELLED, Record
from medssl_jax.errors import ConfigError

_FRAMES = ("random", "contiguous", "even", "all")


class Place(NamedTuple):
    """Where a clip lies in an image.

    cuts: of each spatial axis, the voxels that are taken; of the first, indices where
      frames are drawn.
    padding: of each axis, what is added before and after.
    inputs: spatial shape of the image.
    """

    cuts: tuple[slice | np.ndarray, ...]
    padding: tuple[tuple[int, int], ...]
    inputs: tuple[int, ...]


def cut(record: Record, place: Place) -> Record:
    """Cut a place out of every field; boxes whose centre it has not are left out."""
    found = {"image": _cut(record["image"], place)}
    if "mask" in record:
        found["mask"] = _cut(record["mask"], place)
    if "boxes" in record:
        found["boxes"] = _boxes(record["boxes"], place)
    if "planes" in record:
        planes = np.asarray(record["planes"], np.int32)[place.cuts[0]]
        found["planes"] = np.pad(planes, place.padding[0], constant_values=UNLABELLED)
    return found


def placed_back(
    boxes: Float[np.ndarray, "m corners"], place: Place
) -> Float[np.ndarray, "m corners"]:
    """Return boxes of a clip, as fractions of it, as fractions of the image."""
    inputs, starts, outputs = _extents(place)
    corners = boxes.reshape(-1, 2, len(place.inputs))
    return ((corners * outputs + starts) / inputs).reshape(boxes.shape)


@dataclass(frozen=True)
class Draw:
    """Frames along the first axis, a crop of the others: the same of every field.

    Attributes:
      shape: spatial shape of the result.
      frames: "random": shape[0] frames without replacement, kept in order;
        "contiguous": shape[0] neighbours; "even": shape[0] frames, evenly spaced, always
        the same; "all": the first axis is as the others.
      foreground: share of crops that hold a voxel of the mask drawn for it: a class
        that the mask has, other than 0, uniformly, then a voxel of it. nnU-Net has 1/3
        (arXiv:1904.08128, suppl. note 2).
      most_boxes: rows that `boxes` is filled up to.
    """

    shape: tuple[int, ...]
    frames: str
    foreground: float = 0.0
    most_boxes: int = 0

    def __post_init__(self):
        if self.frames not in _FRAMES:
            text = f"data.frames {self.frames!r} is not known"
            raise ConfigError(f"{text}; known: {', '.join(_FRAMES)}")
        if len(self.shape) not in (2, 3):
            raise ConfigError(f"data.shape {self.shape} is no shape of 2 or 3 axes")
        if len(self.shape) == 2 and self.frames != "all":
            text = f"data.frames {self.frames!r} needs volumes; data.shape is"
            raise ConfigError(f"{text} {self.shape}: use 'all'")
        if self.foreground and self.frames != "all":
            raise ConfigError(
                f"data.foreground {self.foreground} chooses a place along every axis, "
                f"and data.frames {self.frames!r} draws frames: use 'all'"
            )

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Record:
        """Return the clip, with `repeated_frames`, their number, and `padding`, its share.

        image (*shape, c), mask (*shape,) or (*shape, k); boxes (most_boxes, 2 n + 1) as
        fractions of the clip, their kind last and `NO_BOX` in rows without one; planes
        (shape[0],), `UNLABELLED` where padded. Fields beside these stay behind.

        Where the image is larger than `shape`, a place is drawn; where it is smaller,
        0, the window's lowest value and the background's class, fills both sides alike.
        Too few frames are repeated evenly, and counted. Without `rng`, for evaluation,
        the frames are evenly spaced ("random") or in the middle, and so is the crop.

        Raises:
          ConfigError: if there are more boxes than `most_boxes`.
        """
        place, repeated = self._place(record, rng)
        clip = cut(record, place)
        if "boxes" in clip:
            clip["boxes"] = _filled(clip["boxes"], self.most_boxes)
        filled = math.prod(
            1 - sum(p) / n for n, p in zip(self.shape, place.padding, strict=True)
        )
        return clip | {"repeated_frames": repeated, "padding": 1 - filled}

    def place(self, record: Record) -> Place:
        """Return what is taken of a record in evaluation."""
        place, _ = self._place(record, None)
        return place

    def _place(self, record, rng):
        inputs = record["image"].shape[:-1]
        wanted = _foreground_voxel(record, rng) if self._aims(rng) else None
        cuts, repeated = [], 0
        for axis, (n, size) in enumerate(zip(inputs, self.shape, strict=True)):
            if axis == 0 and self.frames != "all":
                indices, repeated = self._frames(n, rng)
                cuts.append(indices)
            elif n <= size:
                cuts.append(slice(0, n))
            else:
                low, high = 0, n - size
                if wanted is not None:  # the crops that hold it
                    low = max(low, wanted[axis] - size + 1)
                    high = min(high, wanted[axis])
                start = _start(low, high, rng)
                cuts.append(slice(start, start + size))
        lacking = [max(size - n, 0) for n, size in zip(inputs, self.shape, strict=True)]
        if self.frames != "all":
            lacking[0] = 0
        padding = tuple((n // 2, n - n // 2) for n in lacking)
        return Place(tuple(cuts), padding, inputs), repeated

    def _aims(self, rng):
        return rng is not None and self.foreground and rng.random() < self.foreground

    def _frames(self, available, rng):
        wanted = self.shape[0]
        even = self.frames == "even" or (rng is None and self.frames == "random")
        if available < wanted or even:
            # the middles of `wanted` equal parts of the stack
            indices = ((np.arange(wanted) + 0.5) * available / wanted).astype(int)
            return indices, max(wanted - available, 0)
        if self.frames == "random":
            return np.sort(rng.choice(available, wanted, replace=False)), 0
        start = _start(0, available - wanted, rng)
        return np.arange(start, start + wanted), 0


def _start(low, high, rng):
    return (low + high) // 2 if rng is None else int(rng.integers(low, high + 1))


def _foreground_voxel(record, rng):
    """Draw one of `foreground`, rows (class, *index); None where the mask is empty."""
    rows = record.get("foreground")
    if rows is None or not len(rows):
        return None
    classes = np.unique(rows[:, 0])
    of_class = rows[rows[:, 0] == rng.choice(classes)]
    return of_class[rng.integers(len(of_class)), 1:]


def _cut(array, place):
    """Cut a clip out of (*s, ...); of a mapped file, only the clip is ever read."""
    first, *others = place.cuts
    clip = array[(slice(None), *others)][first]
    rest = [(0, 0)] * (array.ndim - len(place.cuts))
    return np.pad(clip, [*place.padding, *rest])


def _boxes(boxes, place):
    """Return the boxes whose centre is in the clip, cut to it, as fractions of it."""
    n = len(place.inputs)
    inputs, starts, outputs = _extents(place)
    corners = np.float32(boxes)[:, : 2 * n].reshape(-1, 2, n)
    corners = (corners * inputs - starts) / outputs
    centres = corners.mean(axis=1)
    inside = ((centres >= 0) & (centres <= 1)).all(axis=1)
    corners = np.clip(corners, 0, 1).reshape(-1, 2 * n)
    return np.concatenate([corners, np.float32(boxes)[:, 2 * n :]], axis=1)[inside]


def _extents(place):
    """Return voxels of the image, where in it the clip starts, and voxels of that."""
    if isinstance(place.cuts[0], np.ndarray):
        raise ConfigError(
            "boxes need data.frames 'all': a box has no extent in frames that are drawn"
        )
    starts = np.array([cut.start for cut in place.cuts], np.float32)
    starts -= [before for before, _ in place.padding]
    outputs = np.array([cut.stop - cut.start for cut in place.cuts], np.float32)
    outputs += np.sum(place.padding, axis=1)
    return np.array(place.inputs, np.float32), starts, outputs


def _filled(boxes, most):
    if len(boxes) > most:
        raise ConfigError(
            f"an image has {len(boxes)} boxes, data.most_boxes is {most}; raise it"
        )
    empty = np.zeros((most - len(boxes), boxes.shape[1]), np.float32)
    empty[:, -1] = NO_BOX
    return np.concatenate([boxes, empty])
