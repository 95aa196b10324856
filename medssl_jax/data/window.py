"""Intensities as files have them, brought to [0, 1]."""

from dataclasses import dataclass

import numpy as np

from medssl_jax.errors import ConfigError, DataError

_KINDS = ("none", "percentiles", "hu")


@dataclass(frozen=True)
class Window:
    """A window of intensities, by the settings of `data.host.Prepare`.

    Raises:
      ConfigError: naming the field that cannot be used.
    """

    kind: str
    percentiles: tuple[float, float]
    window_hu: tuple[float, float] | None

    def __post_init__(self):
        if self.kind not in _KINDS:
            text = f"data.window {self.kind!r} is not known"
            raise ConfigError(f"{text}; known: {', '.join(_KINDS)}")
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"data.percentiles {(low, high)} do not rise in 0 to 100")
        if self.kind == "hu":
            low, high = self.window_hu or (0, 0)
            if not low < high:
                text = f"data.window 'hu' with data.window_hu {self.window_hu}"
                raise ConfigError(f"{text}: set it to (low, high)")

    @property
    def fixed(self) -> tuple[float, float] | None:
        """The limits, where they are the same for every image."""
        return self.window_hu if self.kind == "hu" else None

    def __call__(self, image: np.ndarray, name: str) -> np.ndarray:
        """Return uint8 as it is where there is no window; else float16 in [0, 1].

        Raises:
          DataError: if the image needs a window and has none; if it is constant, or all
            that differs lies outside of the window.
        """
        found = self._unwindowed(image, name)
        if found is None:
            low, high = self.fixed or self._of(image, name)
            scaled = (image.astype(np.float32) - low) / (high - low)
            found = np.clip(scaled, 0, 1).astype(np.float16)
        if (value := found.min()) == found.max():
            text = f"is constant in data.window {self.kind!r}: every voxel is {value:g}"
            raise DataError(
                name,
                f"{text}; look at data.window and the file's unit, or leave such files out "
                "by data.on_error=skip",
            )
        return found

    def _unwindowed(self, image, name):
        if self.kind != "none":
            return None
        if image.dtype == np.uint8:
            return image
        if image.dtype.kind == "f" and image.min() >= 0 and image.max() <= 1:
            return image.astype(np.float16)
        raise DataError(
            name,
            f"holds {image.dtype} from {image.min():g} to {image.max():g}; data.window "
            "'none' takes uint8 or [0, 1]: use 'percentiles' (MR) or 'hu' (CT)",
        )

    def _of(self, image, name):
        low, high = (float(value) for value in np.percentile(image, self.percentiles))
        if low == high:
            text = f"percentiles {self.percentiles} are both {low:g}"
            raise DataError(name, f"{text}; widen data.percentiles")
        return low, high
