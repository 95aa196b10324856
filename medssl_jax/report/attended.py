"""The report's section on where a transformer's class token looks."""

import numpy as np
from matplotlib.figure import Figure

from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run

_OPACITY = 0.5


def attended(run: Run) -> Section | None:
    """Show some cases, and the class token's attention laid over them."""
    if run.attention is None:
        return None
    count, block = len(run.attention["image"]), int(run.attention["block"])
    picture = Picture(
        figures.uri(_draw(run.attention), kind="png"),
        f"{count} cases, each beside itself with the attention of block {block}.",
        f"The class token's attention in block {block}, the mean over heads, from 0 "
        "(dark) to the largest of each image (bright).",
    )
    return Section("Attention", [Gallery([picture], least_rem=32)])


@figures.styled
def _draw(arrays) -> Figure:
    images = arrays["image"].astype(np.float32)
    if images.ndim == 5:  # of volumes, the middle slice
        images = images[:, images.shape[1] // 2]
    looks = arrays["attention"]
    if looks.ndim == 4:
        looks = looks[:, looks.shape[1] // 2]
    count, rows, columns = images.shape[:3]
    across = min(count, 4)
    down = -(-count // across)
    width = 9.0
    height = 2 * down * width / across * rows / columns
    figure = Figure(figsize=(width, min(height, 12.0)), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(2 * down, across, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for i, (image, look) in enumerate(zip(images, looks, strict=True)):
        row, column = 2 * (i // across), i % across
        shown = figures.grey(image)
        for axes in grid[row : row + 2, column]:
            axes.imshow(shown, cmap="gray", vmin=0, vmax=1)
        extent = (-0.5, columns - 0.5, rows - 0.5, -0.5)
        style = {"cmap": "inferno", "vmin": 0, "vmax": 1, "alpha": _OPACITY}
        grid[row + 1, column].imshow(
            look, extent=extent, interpolation="bilinear", **style
        )
    return figure
