"""What the host does to a record before the device sees it."""

import math
from dataclasses import dataclass

import numpy as np

from medssl_jax.data import masks
from medssl_jax.data.body import body
from medssl_jax.data.draw import Draw, Place, cut
from medssl_jax.data.resample import resample, resample_nearest
from medssl_jax.data.resize import check_size, resize, resize_nearest
from medssl_jax.data.source import Record
from medssl_jax.data.window import Window
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.ranges import Count, Finite, Natural, Ndim, Positive, Share

_MAX_CHANNELS = 4
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
    """The costly, deterministic part: crop, resample or resize, then window.

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
      crop_to_body: cut off what lies around the body, as `data.body` finds it.
      longest_side: resample to voxels of one side along all axes, that many along the
        longest; the other axes have fewer, which `Draw` fills up. By mm, or where the
        spacing is unknown by voxels.
    """

    ndim: Ndim
    spacing_mm: tuple[Positive | None, ...] | None
    window: str
    percentiles: tuple[Finite, Finite] = (0.5, 99.5)
    window_hu: tuple[Finite, Finite] | None = None
    resize: tuple[Count, ...] | None = None
    crop_to_body: bool = False
    longest_side: Count | None = None

    def __post_init__(self):
        _ = self._window  # which checks its settings
        if self.spacing_mm is not None and len(self.spacing_mm) != self.ndim:
            text = f"data.spacing_mm {self.spacing_mm} is not one number"
            raise ConfigError(f"{text} for each of {self.ndim} axes")
        if self.resize is not None:
            check_size(self.resize)
        sizes = {
            "data.spacing_mm": self.spacing_mm,
            "data.resize": self.resize,
            "data.longest_side": self.longest_side,
        }
        given = [field for field, size in sizes.items() if size is not None]
        if len(given) > 1:
            text = f"{' and '.join(given)} are set, and each says how large images are"
            raise ConfigError(f"{text}: keep one, and set the others to None")

    def __call__(self, record: Record, name: str = "an image") -> Record:
        """Return every field that training uses, in the image's new grid.

        image (*s, c) uint8, or float16 in [0, 1]; mask uint8, by its nearest voxels,
        with `masks.foreground`, some of its voxels; boxes and planes as they are, or
        cropped with the image. `name` is for errors.

        Raises:
          ConfigError: if the source knows no spacing to resample from.
          DataError: if the image has other axes, or does not suit the window; if it is
            all background, or constant in its window; if it would be absurdly large at
            `spacing_mm`; if planes are resampled.
        """
        record = self.cropped(record, name)
        image = np.asarray(record["image"])
        if self.spacing_mm is not None and "spacing_mm" not in record:
            raise ConfigError(
                "data.spacing_mm is set, but this source knows no spacing of its "
                "voxels; set it to None"
            )
        if self.spacing_mm is not None:
            _check_growth(image, record["spacing_mm"], self.spacing_mm, name)
        prepared = {"image": self._window(self._image(record, image), name)}
        if "mask" in record:
            mask = self._mask(record)
            prepared |= {"mask": mask, "foreground": masks.foreground(mask, self.ndim)}
        if "boxes" in record:
            prepared["boxes"] = np.asarray(record["boxes"], np.float32)
        if "planes" in record:
            if len(record["planes"]) != len(prepared["image"]):
                text = "has labels of its slices, which cannot be resampled"
                raise DataError(
                    name,
                    f"{text}; set the first of data.spacing_mm None, and "
                    "data.longest_side too",
                )
            prepared["planes"] = np.asarray(record["planes"], np.int32)
        return prepared

    def box(self, record: Record, name: str = "an image") -> tuple[slice, ...]:
        """Return which voxels of a record are prepared, of each axis.

        Raises:
          DataError: if the image has other axes, or is all background.
        """
        image = np.asarray(record["image"])
        if image.ndim - 1 != self.ndim:
            text = f"has {image.ndim - 1} axes {image.shape[:-1]}, data.shape"
            raise DataError(name, f"{text} has {self.ndim}")
        if not self.crop_to_body:
            return tuple(slice(0, n) for n in image.shape[:-1])
        found = body(image, self._window.fixed)
        if not found:
            raise DataError(
                name,
                f"is all background in data.window {self.window!r}: there is no body "
                "to crop to; data.on_error=skip leaves such files out",
            )
        return found

    def cropped(self, record: Record, name: str = "an image") -> Record:
        """Return the record with every field cut to `box`.

        Raises:
          DataError: as `box`.
        """
        box = self.box(record, name)
        if not self.crop_to_body:
            return record
        whole = Place(box, ((0, 0),) * self.ndim, record["image"].shape[:-1])
        return {**record, **cut(record, whole)}

    def spacings_mm(self, record: Record) -> tuple[tuple, tuple] | None:
        """Return a cropped record's spacing and what it is resampled to; or None.

        None of an axis of the second stays.
        """
        if self.spacing_mm is not None:
            return record["spacing_mm"], self.spacing_mm
        if self.longest_side is None:
            return None
        shape = record["image"].shape[:-1]
        spacing_mm = record.get("spacing_mm", (1.0,) * self.ndim)
        longest_mm = max(n * mm for n, mm in zip(shape, spacing_mm, strict=True))
        return spacing_mm, (longest_mm / self.longest_side,) * self.ndim

    def _image(self, record, image):
        if spacings_mm := self.spacings_mm(record):
            image = resample(image, *spacings_mm)
        return image if self.resize is None else resize(image, self.resize)

    def _mask(self, record):
        mask = np.asarray(record["mask"])
        if spacings_mm := self.spacings_mm(record):
            mask = resample_nearest(mask, *spacings_mm)
        if self.resize is not None:
            mask = resize_nearest(mask, self.resize, self.ndim)
        return mask.astype(np.uint8)

    @property
    def _window(self):
        return Window(self.window, self.percentiles, self.window_hu)


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
    crop_to_body: bool = False
    longest_side: Count | None = None

    def __post_init__(self):
        _ = self.draw, self.prepare  # which check their settings
        if self.resize is not None and min(self.resize) < min(self.shape[-2:]):
            self._refuse_small("resize", self.resize)
        if self.longest_side is not None and self.longest_side < min(self.shape):
            self._refuse_small("longest_side", self.longest_side)

    @property
    def prepare(self) -> Prepare:
        ndim = len(self.shape)
        window = self.window, self.percentiles, self.window_hu
        size = self.resize, self.crop_to_body, self.longest_side
        return Prepare(ndim, self.spacing_mm, *window, *size)

    @property
    def draw(self) -> Draw:
        return Draw(self.shape, self.frames, self.foreground, self.most_boxes)

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Record:
        return self.draw(self.prepare(record), rng)

    def _refuse_small(self, field, size):
        text = f"data.{field} {size} is less than data.shape {self.shape}"
        raise ConfigError(f"{text}: every image would be padded; enlarge it")


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
