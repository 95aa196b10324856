"""The report's section on images that a method has made up where it hid them."""

import numpy as np

from medssl_jax.report import figures, stacks
from medssl_jax.report.blocks import Gallery, Picture, Section, Stack
from medssl_jax.report.run import Run

_SAID = (
    "White was hidden. The network sees the corrupted image, and the reconstruction is "
    "all that it makes of it, what was not hidden too, which costs it nothing; completed "
    "is the image with what was made up in the place of what was hidden."
)
_PANELS = ("image", "hidden", "corrupted", "reconstruction", "completed")


def reconstructed(run: Run) -> Section | None:
    """Show images, what was hidden of them, what the network saw and what it made."""
    if run.reconstructions is None:
        return None
    arrays = dict(run.reconstructions)
    arrays["completed"] = np.where(
        arrays["hidden"][..., None], arrays["reconstruction"], arrays["image"]
    )
    low, high = np.percentile(arrays["image"], [0.5, 99.5])
    arrays["hidden"] = arrays["hidden"][..., None]
    ranges = {name: (low, high) for name in _PANELS} | {"hidden": (0, 1)}
    make = _stack if arrays["image"].ndim == 5 else _picture
    return Section("Reconstructions", [make(arrays, ranges)])


def _stack(arrays, ranges) -> Stack:
    groups = [
        [
            stacks.Layered(name, f"{name} {i + 1}", [stacks.kept(one, *ranges[name])])
            for name, one in zip(_PANELS, volumes, strict=True)
        ]
        for i, volumes in enumerate(zip(*(arrays[n] for n in _PANELS), strict=True))
    ]
    places = stacks.named(arrays["image"].shape[1])
    return stacks.stack(
        groups,
        name="What was hidden, and what was made up",
        places=places,
        caption=_SAID,
    )


def _picture(arrays, ranges) -> Gallery:
    panels = {}
    for name, (low, high) in ranges.items():
        shown = (arrays[name].astype(np.float32) - low) / max(high - low, 1e-12)
        panels[name] = [_plane(image) for image in np.clip(shown, 0, 1)]
    picture = Picture(
        figures.uri(figures.views(panels, width=7.0), kind="png"),
        f"{len(arrays['image'])} images with what was hidden, corrupted and made up of "
        "each.",
        _SAID,
    )
    return Gallery([picture], least_rem=32)


def _plane(image: np.ndarray) -> np.ndarray:
    """Return an image's colours, or the middle one of its channels in grey."""
    return image if image.shape[-1] == 3 else image[..., image.shape[-1] // 2]
