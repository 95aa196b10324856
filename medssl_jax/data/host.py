"""What the host does to a record before the device sees it."""

from dataclasses import dataclass

import numpy as np

from medssl_jax.data.resample import resample
from medssl_jax.data.resize import check_size, resize
from medssl_jax.data.source import Record
from medssl_jax.errors import ConfigError, DataError

_WINDOWS = ("none", "percentiles", "hu")
_FRAMES = ("random", "contiguous", "all")
_MAX_CHANNELS = 4


def check(record: Record, name: str) -> Record:
    """Return the record, if its image can be used.

    Raises:
      DataError: if the image is no (rows, columns, c) or (slices, rows, columns, c), is
        empty, holds NaN or infinities or one value only, or has a senseless spacing.
    """
    image = record["image"]
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

    ndim: int
    spacing_mm: tuple[float | None, ...] | None
    window: str
    percentiles: tuple[float, float] = (0.5, 99.5)
    window_hu: tuple[float, float] | None = None
    resize: tuple[int, ...] | None = None

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
        if self.spacing_mm is not None:
            right = all(mm is None or mm > 0 for mm in self.spacing_mm)
            if len(self.spacing_mm) != self.ndim or not right:
                text = f"data.spacing_mm {self.spacing_mm} is not one positive number"
                raise ConfigError(f"{text} for each of {self.ndim} axes")
        if self.resize is not None:
            check_size(self.resize)
            if self.spacing_mm is not None:
                text = "data.spacing_mm and data.resize are both set"
                raise ConfigError(f"{text}: set one of them to None")

    def __call__(self, record: Record, name: str = "an image") -> np.ndarray:
        """Return (*s, c) uint8, or float16 in [0, 1]; `name` is for errors.

        Raises:
          ConfigError: if the source knows no spacing to resample from.
          DataError: if the image has other axes, or does not suit the window.
        """
        image = np.asarray(record["image"])
        if image.ndim - 1 != self.ndim:
            text = f"has {image.ndim - 1} axes {image.shape[:-1]}, data.shape"
            raise DataError(name, f"{text} has {self.ndim}")
        if self.spacing_mm is not None:
            if "spacing_mm" not in record:
                raise ConfigError(
                    "data.spacing_mm is set, but this source knows no spacing of its "
                    "voxels; set it to None"
                )
            image = resample(image, record["spacing_mm"], self.spacing_mm)
        if self.resize is not None:
            image = resize(image, self.resize)
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
class Draw:
    """The cheap, random part: frames along the first axis, a crop of the others.

    Attributes:
      shape: spatial shape of the result.
      frames: "random": shape[0] frames without replacement, kept in order;
        "contiguous": shape[0] neighbours; "all": the first axis is as the others.
    """

    shape: tuple[int, ...]
    frames: str

    def __post_init__(self):
        _check_known("frames", self.frames, _FRAMES)
        if len(self.shape) not in (2, 3) or not all(n > 0 for n in self.shape):
            raise ConfigError(f"data.shape {self.shape} is no shape of 2 or 3 axes")
        if len(self.shape) == 2 and self.frames != "all":
            text = f"data.frames {self.frames!r} needs volumes; data.shape is"
            raise ConfigError(f"{text} {self.shape}: use 'all'")

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Record:
        """Return the clip {"image": (*shape, c), "repeated_frames": int}.

        Where the image is larger than `shape`, a place is drawn; where it is smaller,
        0, the window's lowest value, fills both sides alike. Too few frames are
        repeated evenly, and counted. Without `rng`, for evaluation, the frames are
        evenly spaced ("random") or in the middle, and so is the crop.
        """
        image = record["image"]
        repeated = 0
        axes = range(len(self.shape))
        if self.frames != "all":
            indices, repeated = self._frames(image.shape[0], rng)
            axes = axes[1:]
        for axis in axes:  # views: of a mapped file, only the clip is ever read
            image = _crop(image, axis, self.shape[axis], rng)
        if self.frames != "all":
            image = image[indices]
        return {"image": _pad(image, self.shape), "repeated_frames": repeated}

    def _frames(self, available, rng):
        wanted = self.shape[0]
        if available < wanted or (rng is None and self.frames == "random"):
            # the middles of `wanted` equal parts of the stack
            indices = ((np.arange(wanted) + 0.5) * available / wanted).astype(int)
            return indices, max(wanted - available, 0)
        if self.frames == "random":
            return np.sort(rng.choice(available, wanted, replace=False)), 0
        start = _start(available - wanted, rng)
        return np.arange(start, start + wanted), 0


@dataclass(frozen=True)
class HostTransform:
    """`Prepare`, then `Draw`: their attributes, one call."""

    shape: tuple[int, ...]
    spacing_mm: tuple[float | None, ...] | None
    window: str
    frames: str
    percentiles: tuple[float, float] = (0.5, 99.5)
    window_hu: tuple[float, float] | None = None
    resize: tuple[int, ...] | None = None

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
        return Draw(self.shape, self.frames)

    def __call__(self, record: Record, rng: np.random.Generator | None) -> Record:
        return self.draw({"image": self.prepare(record)}, rng)


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


def _crop(image, axis, size, rng):
    if image.shape[axis] <= size:
        return image
    start = _start(image.shape[axis] - size, rng)
    return image[(slice(None),) * axis + (slice(start, start + size),)]


def _pad(image, shape):
    missing = [n - m for n, m in zip(shape, image.shape[:-1], strict=True)]
    widths = [(n // 2, n - n // 2) for n in missing] + [(0, 0)]
    return np.pad(image, widths)  # 0 is black in uint8 and in [0, 1]


def _start(room, rng):
    return room // 2 if rng is None else int(rng.integers(room + 1))


def _check_known(field, value, known):
    if value not in known:
        text = f"data.{field} {value!r} is not known"
        raise ConfigError(f"{text}; known: {', '.join(known)}")
