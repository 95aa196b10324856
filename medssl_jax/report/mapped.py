"""The report's section on slices and what a first network has found in them."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run

_ACROSS = 4
_MAP, _TRUTH = figures.on_scans(1), figures.on_scans(0)
_OPAQUE = 0.7  # where the map is 1


def mapped(run: Run) -> Section | None:
    """Show slices with lesions and without, each with its map and its mask."""
    if run.mapped is None:
        return None
    lesions = int((run.mapped["label"] == 1).sum())
    count = len(run.mapped["label"])
    picture = Picture(
        figures.uri(_draw(run.mapped), kind="png"),
        f"{count} test slices, {lesions} of them with lesions.",
        "What the first network found is filled, the stronger the surer it was; lesions "
        "are outlined. Above each slice: what it is, and the probability that the second "
        "network gives it. Of slices with lesions the least likely and the likeliest, of "
        "those without the likeliest.",
    )
    return Section("Attention channel", [Gallery([picture], least_rem=44)])


@figures.styled
def _draw(arrays: Mapping[str, np.ndarray]) -> Figure:
    count, rows, columns = arrays["image"].shape
    figure, panels = figures.tiles(count, (rows, columns), across=_ACROSS)
    for i, axes in enumerate(panels):
        axes.imshow(figures.grey(arrays["image"][i][..., None]), cmap="gray")
        filled = np.empty((rows, columns, 4), np.float32)
        filled[..., :3] = to_rgb(_MAP)
        filled[..., 3] = _OPAQUE * arrays["map"][i]
        axes.imshow(filled, interpolation="nearest")
        mask = np.pad(arrays["mask"][i], 1)  # an outline goes round the edge too
        if mask.any():
            y, x = (np.arange(n) - 1 for n in mask.shape)
            axes.contour(x, y, mask, levels=[0.5], colors=[_TRUTH], linewidths=1.3)
            axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))
        said = "lesion" if arrays["label"][i] == 1 else "none"
        axes.set_title(f"{said}, p = {arrays['probability'][i]:.2f}")
    return figure
