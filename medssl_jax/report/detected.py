"""The report's section on detected boxes: cases with what is there and what was found."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.patheffects import withStroke

from medssl_jax.evals.detections import FALSE_POSITIVES
from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run

_ACROSS = 4  # cases in a row
_MOST_LETTERS = 24  # of a name


def detected(run: Run) -> Section | None:
    """Show cases with missed boxes first, then those with false alarms, then others."""
    if run.detections is None:
        return None
    count = len(run.detections["image"])
    missed, false = (int(run.detections[name].sum()) for name in ("missed", "false"))
    picture = Picture(
        figures.uri(_draw(run.detections), kind="png"),
        f"{count} test cases with {missed} boxes missed and {false} false alarms.",
        "What is there is a full line, what was found is dashed, with its probability: "
        f"boxes as likely as leaves {FALSE_POSITIVES:g} false alarms an image over the "
        "test. The cases that miss most come first, then those with false alarms alone, "
        "then some without either.",
    )
    return Section("Detected boxes", [Gallery([picture], least_rem=44)])


@figures.styled
def _draw(arrays: Mapping[str, np.ndarray]) -> Figure:
    images = arrays["image"].astype(np.float32)
    shape = images.shape[1:3]
    figure, panels = figures.tiles(len(images), shape, across=_ACROSS, below=0.3)
    for i, axes in enumerate(panels):
        axes.imshow(figures.grey(images[i]), cmap="gray", vmin=0, vmax=1)
        axes.set_title(_said(int(arrays["missed"][i]), int(arrays["false"][i])))
        for row in arrays["truth"][i]:
            _outline(axes, row[:4], int(row[4]), shape, "-")
        for row in arrays["found"][i]:
            said = f"{row[5]:.2f}"
            _outline(axes, row[:4], int(row[4]), shape, "--", said)
    _legend(figure, [str(name)[:_MOST_LETTERS] for name in arrays["kinds"]])
    return figure


def _said(missed: int, false: int) -> str:
    counts = ((missed, "missed"), (false, "false"))
    return ", ".join(f"{n} {what}" for n, what in counts if n) or "all found"


def _outline(
    axes: Axes,
    box: np.ndarray,
    kind: int,
    shape: tuple[int, int],
    dash: str,
    text: str = "",
) -> None:
    if kind < 0:  # there is none in this row
        return
    top, left, bottom, right = box * np.tile(shape, 2) - 0.5  # edges of pixels
    colour = figures.on_scans(kind)
    style = {"fill": False, "edgecolor": colour, "linestyle": dash, "linewidth": 1.2}
    axes.add_patch(Rectangle((left, top), right - left, bottom - top, **style))
    if text:
        place = {"va": "bottom", "ha": "right", "fontsize": 7}
        rim = [withStroke(linewidth=1.5, foreground="black")]  # read on any scan
        axes.text(right, top, text, color="white", path_effects=rim, **place)


def _legend(figure: Figure, names: list[str]) -> None:
    handles = [
        Line2D([], [], color=figures.on_scans(kind)) for kind in range(len(names))
    ]
    figure.legend(handles, names, loc="outside lower center", ncols=6)
