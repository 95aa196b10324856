"""What the host does to a record before the device sees it."""

import math
from dataclasses import dataclass

import numpy as np

from medssl_jax.data import masks
from medssl_jax.data.draw import Draw
from medssl_jax.data.resample import resample, resample_nearest
from medssl_jax.data.resize import check_size, resize, resize_nearest
from medssl_jax.data.source import Record
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.ranges import Count, Finite, Natural, Ndim, Positive, Share

_WINDOWS = ("none", "percentiles", "hu")
_MAX_CHANNELS = 4
_MOST_VOXELS = 1000  # of a class
_MOST_GROWTH = 1000  # times the voxels that a file has
_MOST_RESAMPLED = 2**30


def check(record: Record, name: str) -> Record:
    """Return the record, if its image can be used.

    Raises:
      DataError: if the image is no (rows, columns, c) or (slices, rows, columns, c), is
        empty, holds NaN or infinities or one value only, or has a senseless spacing;
        if a mask has another shape or other values than 0 to 255; if a box is empty or
        leaves the image.
    """
    image = record["image"]
    if image.dtype.kind not in "buif":
        raise DataError(name, f"holds {image.dtype} voxels, not one real number each")
    *spatial, channels = image.shape
    if len(spatial) not in (2, 3) or channels > _MAX_CHANNELS or not image.size:
        text = f"has shape {tuple(spatial)} with {channels} channel(s)"
        raise DataError(name, f"{text}: neither an image nor a volume")
    spacing_mm = record.get("spacing_mm", (1.0,) * len(spatial))
    if len(spacing_mm) != len(spatial) or not all(0 < x < np.inf for x in spacing_mm):
        raise DataError(name, f"has a voxel spacing of {spacing_mm} mm; correct it")
    low, high = image.min(), image.max()
    if not (np.isfinite(low) and np.isfinite(high)):  # a NaN makes both NaN
        count = image.size - np.count_nonzero(np.isfinite(image))
        raise DataError(name, f"has {count} NaN or infinite voxels; replace them")
    if low == high:
        text = f"is constant: every voxel is {low}"
        raise DataError(name, f"{text}; data.on_error=skip leaves such files out")
    if "mask" in record:
        _check_mask(record["mask"], tuple(spatial), name)
    if "boxes" in record:
        _check_boxes(np.asarray(record["boxes"]), len(spatial), name)
    return record


@dataclass(frozen=True)
class Prepare:
    """The costly, deterministic part: resample or resize, then window.

    Attributes:
      ndim: spatial axes that an image has to have.
      spacing_mm: what to resample to, one number per spatial axis, None for an axis
        that stays; None: nothing is resampled.
      window: to [0, 1], clipped: "percentiles" of the image's own values, "hu" fixed
        limits; "none" keeps uint8, and numbers that are in [0, 1] already.
      percentiles: low and high, in percent.
      window_hu: low and high, in the file's unit.
      resize: for images without spacing, which differ in size: (n,) brings the shorter
        side to n pixels, (rows, columns) the whole image to that size, stretched
        where it has another aspect; None: `Draw` crops from the pixels as they are.
    """

    ndim: Ndim
    spacing_mm: tuple[Positive | None, ...] | None
    window: str
    percentiles: tuple[Finite, Finite] = (0.5, 99.5)
    window_hu: tuple[Finite, Finite] | None = None
    resize: tuple[Count, ...] | None = None

    def __post_init__(self):
        _check_known("window", self.window, _WINDOWS)
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"data.percentiles {(low, high)} do not rise in 0 to 100")
        if self.window == "hu":
            low, high = self.window_hu or (0, 0)
            if not low < high:
                text = f"data.window 'hu' with data.window_hu {self.window_hu}"
                raise ConfigError(f"{text}: set it to (low, high)")
        if self.spacing_mm is not None and len(self.spacing_mm) != self.ndim:
            text = f"data.spacing_mm {self.spacing_mm} is not one number"
            raise ConfigError(f"{text} for each of {self.ndim} axes")
        if self.resize is not None:
            check_size(self.resize)
            if self.spacing_mm is not None:
                text = "data.spacing_mm and data.resize are both set"
                raise ConfigError(f"{text}: set one of them to None")

    def __call__(self, record: Record, name: str = "an image") -> Record:
        """Return every field that training uses, in the image's new grid.

        image (*s, c) uint8, or float16 in [0, 1]; mask uint8, by its nearest voxels,
        with `foreground`, some of its voxels (`_foreground`); boxes and planes as they
        are. `name` is for errors.

        Raises:
          ConfigError: if the source knows no spacing to resample from.
          DataError: if the image has other axes, or does not suit the window; if it
            would be absurdly large at `spacing_mm`; if planes are resampled.
        """
        image = np.asarray(record["image"])
        if image.ndim - 1 != self.ndim:
            text = f"has {image.ndim - 1} axes {image.shape[:-1]}, data.shape"
            raise DataError(name, f"{text} has {self.ndim}")
        if self.spacing_mm is not None and "spacing_mm" not in record:
            raise ConfigError(
                "data.spacing_mm is set, but this source knows no spacing of its "
                "voxels; set it to None"
            )
        if self.spacing_mm is not None:
            _check_growth(image, record["spacing_mm"], self.spacing_mm, name)
        prepared = {"image": self._windowed(self._image(record, image), name)}
        if "mask" in record:
            mask = self._mask(record)
            prepared |= {"mask": mask, "foreground": _foreground(mask, self.ndim)}
        if "boxes" in record:
            prepared["boxes"] = np.asarray(record["boxes"], np.float32)
        if "planes" in record:
            if len(record["planes"]) != len(prepared["image"]):
                text = "has labels of its slices, which cannot be resampled"
                raise DataError(name, f"{text}; set the first of data.spacing_mm None")
            prepared["planes"] = np.asarray(record["planes"], np.int32)
        return prepared

    def _image(self, record, image):
        if self.spacing_mm is not None:
            image = resample(image, record["spacing_mm"], self.spacing_mm)
        return image if self.resize is None else resize(image, self.resize)

    def _mask(self, record):
        mask = np.asarray(record["mask"])
        if self.spacing_mm is not None:
            mask = resample_nearest(mask, record["spacing_mm"], self.spacing_mm)
        if self.resize is not None:
            mask = resize_nearest(mask, self.resize, self.ndim)
        return mask.astype(np.uint8)

    def _windowed(self, image, name):
        if self.window == "none":
            return _unwindowed(image, name)
        low, high = self._limits(image, name)
        scaled = (image.astype(np.float32) - low) / (high - low)
        return np.clip(scaled, 0, 1).astype(np.float16)

    def _limits(self, image, name):
        if self.window == "hu":
            return self.window_hu
        low, high = (float(value) for value in np.percentile(image, self.percentiles))
        if low == high:
            text = f"percentiles {self.percentiles} are both {low:g}"
            raise DataError(name, f"{text}; widen data.percentiles")
        return low, high


@dataclass(frozen=True)
class HostTransform:
    """`Prepare`, then `Draw`: their attributes, one call."""

    shape: tuple[Count, ...]
    spacing_mm: tuple[Positive | None, ...] | None
    window: str
    frames: str
    percentiles: tuple[Finite, Finite] = (0.5, 99.5)
    window_hu: tuple[Finite, Finite] | None = None
    resize: tuple[Count, ...] | None = None
    foreground: Share = 0.0
    most_boxes: Natural = 0

    def __post_init__(self):
        _ = self.draw, self.prepare  # which check their settings
        if self.resize is not None and min(self.resize) < min(self.shape[-2:]):
            text = f"data.resize {self.resize} is less than data.shape {self.shape}"
            raise ConfigError(f"{text}: every image would be padded; enlarge it")

    @property
    def prepare(self) -> Prepare:
        ndim = len(self.shape)
        window = self.window, self.percentiles, self.window_hu
        return Prepare(ndim, self.spacing_mm, *window, resize=self.resize)

    @property
    def draw(self) -> Draw:
        return Draw(self.shape, self.frames, self.foreground, self.most_boxes)

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Record:
        return self.draw(self.prepare(record), rng)


def _unwindowed(image, name):
    if image.dtype == np.uint8:
        return image
    if image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
        return image.astype(np.float16)
    raise DataError(
        name,
        f"holds {image.dtype} from {image.min():g} to {image.max():g}; data.window "
        "'none' takes uint8 or [0, 1]: use 'percentiles' (MR) or 'hu' (CT)",
    )


def _check_mask(mask, spatial, name):
    if mask.shape[: len(spatial)] != spatial or mask.ndim - len(spatial) > 1:
        text = f"has a mask of shape {mask.shape}, and the image has {spatial}"
        raise DataError(name, f"{text}; they have to be of one grid")
    masks.classes(mask, f"{name}, its mask")


def _check_growth(image, spacing_mm, new_mm, name):
    """Refuse a spacing that would take all memory: a wrong unit is a factor of 1,000."""
    pairs = zip(spacing_mm, new_mm, strict=True)
    growth = math.prod(1.0 if new is None else old / new for old, new in pairs)
    voxels = growth * image.size
    if growth > _MOST_GROWTH or voxels > _MOST_RESAMPLED:
        sides = " x ".join(f"{side:.4g}" for side in spacing_mm)
        raise DataError(
            name,
            f"has voxels of {sides} mm, and would have {voxels:.2g} of them at "
            f"data.spacing_mm {new_mm}; is the spacing in its header right?",
        )


def _check_boxes(boxes, ndim, name):
    if boxes.ndim != 2 or boxes.shape[1] != 2 * ndim + 1:
        text = f"has boxes of shape {boxes.shape}, not (boxes, {2 * ndim + 1})"
        raise DataError(name, f"{text}: low corner, high corner, kind")
    low, high = boxes[:, :ndim], boxes[:, ndim : 2 * ndim]
    wrong = ~((low >= 0) & (low < high) & (high <= 1)).all(axis=1)
    if wrong.any():
        text = f"has a box that is empty or leaves the image: {boxes[wrong][0]}"
        raise DataError(name, f"{text}, as fractions; correct it")


def _foreground(mask, ndim):
    """Return voxels of each class but 0, rows (class, *index), at most 1,000 of each.

    What `Draw` aims at, without reading the mask; of overlapping regions (*s, k),
    region i is class i + 1. As nnU-Net keeps them, and some are as good as all.
    """
    rows, rng = [], np.random.default_rng(0)
    regions = mask.ndim > ndim
    classes = range(1, mask.shape[-1] + 1) if regions else np.unique(mask[mask > 0])
    for k in classes:
        voxels = np.argwhere(mask[..., k - 1] if regions else mask == k)
        if len(voxels) > _MOST_VOXELS:
            voxels = voxels[np.sort(rng.choice(len(voxels), _MOST_VOXELS, False))]
        rows.append(np.insert(voxels, 0, k, axis=1))
    return np.concatenate([np.empty((0, ndim + 1), int), *rows]).astype(np.int32)


def _check_known(field, value, known):
    if value not in known:
        text = f"data.{field} {value!r} is not known"
        raise ConfigError(f"{text}; known: {', '.join(known)}")
