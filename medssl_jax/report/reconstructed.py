"""The report's section on images that a method has made up where it hid them."""

import numpy as np

from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run

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
    panels = {}
    for name in _PANELS:
        array = arrays[name].astype(np.float32)
        if name == "hidden":
            array = array[..., None]
        else:
            array = np.clip((array - low) / max(high - low, 1e-12), 0, 1)
        panels[name] = [_plane(image) for image in array]
    count = len(arrays["image"])
    picture = Picture(
        figures.uri(figures.views(panels, width=7.0), kind="png"),
        f"{count} images with what was hidden, corrupted and made up of each.",
        "White was hidden. The network sees the corrupted image, and the reconstruction "
        "is all that it makes of it, what was not hidden too, which costs it nothing; "
        "completed is the image with what was made up in the place of what was hidden.",
    )
    return Section("Reconstructions", [Gallery([picture], least_rem=32)])


def _plane(image: np.ndarray) -> np.ndarray:
    """Return an image, or a volume's middle slice: colours, or one channel in grey."""
    if image.ndim == 4:
        image = image[len(image) // 2]
    return image if image.shape[-1] == 3 else image[..., image.shape[-1] // 2]
