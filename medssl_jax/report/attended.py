"""The report's section on where a transformer's class token looks."""

from collections.abc import Mapping

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from medssl_jax.evals.frames import to_bytes
from medssl_jax.report import figures, stacks
from medssl_jax.report.blocks import Gallery, Picture, Section, Stack
from medssl_jax.report.run import Run

_OPACITY = 0.5


def attended(run: Run) -> Section | None:
    """Show some cases, and the class token's attention laid over them."""
    if run.attention is None:
        return None
    block, volumes = int(run.attention["block"]), run.attention["image"].ndim == 5
    said = (
        f"The class token's attention in block {block}, the mean over heads, from 0 "
        f"(dark) to the largest of each {'slice' if volumes else 'image'} (bright)."
    )
    if volumes:
        return Section("Attention", [_stack(run.attention, said)])
    count = len(run.attention["image"])
    picture = Picture(
        figures.uri(_draw(run.attention), kind="png"),
        f"{count} cases, each beside itself with the attention of block {block}.",
        said,
    )
    return Section("Attention", [Gallery([picture], least_rem=32)])


def _stack(arrays: Mapping[str, np.ndarray], said: str) -> Stack:
    groups = []
    pairs = zip(arrays["image"], arrays["attention"], strict=True)
    for i, (volume, looks) in enumerate(pairs, 1):
        image = stacks.kept(volume, *np.percentile(volume, [0.5, 99.5]))
        depth = len(volume)  # a patch may be of several slices
        patches = np.array(stacks.places(depth)) * len(looks) // depth
        seen = colormaps["inferno"](looks[patches])
        seen[..., 3] = _OPACITY
        groups.append(
            [
                stacks.Layered("case", f"Case {i}.", [image]),
                stacks.Layered(
                    "attention",
                    f"Attention of case {i}.",
                    [image, to_bytes(seen, 0, 1)],
                ),
            ]
        )
    places = stacks.named(arrays["image"].shape[1])
    return stacks.stack(groups, name="Cases and attention", places=places, caption=said)


@figures.styled
def _draw(arrays) -> Figure:
    images = arrays["image"].astype(np.float32)
    looks = arrays["attention"]
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
