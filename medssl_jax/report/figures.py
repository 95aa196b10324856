"""The report's figures: arrays in, a Matplotlib figure or a data URI out.

Drawn on Agg through Figure objects, without pyplot: no display, no global state, and
the same bytes for the same run.
"""

import base64
import io
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import NamedTuple

import matplotlib as mpl
import numpy as np
from jaxtyping import Float, Int, Shaped
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by the colour-blind; the yellow is left out, for
# it is not seen on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# half of one of these over any grey is not that grey, nor another's, to the colour-blind
# as well, as Okabe and Ito's green is; Tol's and IBM's, the four first farthest apart
ON_SCANS = ("#F0E442", "#66CCEE", "#CC3311", "#785EF0", "#EE7733", "#4477AA")
MARKERS = "o^sDvPX*"  # one more, so that no pair comes twice in 56
DASHES = ("-", "--", "-.", ":")
GREY = "#8a8a8a"

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "font.size": 9,
    "legend.frameon": False,
    "text.parse_math": False,  # names are whatever users called things
    "svg.hashsalt": "medssl_jax",  # or ids are random
}


def on_scans(k: int) -> str:
    """Return the colour of the kth structure or kind that lies on a scan."""
    return ON_SCANS[k % len(ON_SCANS)]


class Line(NamedTuple):
    """A curve; `smooth` draws it pale under its moving average."""

    name: str
    x: np.ndarray
    y: np.ndarray
    smooth: bool = False


def uri(figure: Figure, *, kind: str = "svg") -> str:
    """Return the figure as a data URI, `kind` svg or png."""
    buffer = io.BytesIO()
    undated = {"Date": None} if kind == "svg" else {}
    with mpl.rc_context(_STYLE):
        figure.savefig(buffer, format=kind, dpi=160, metadata=undated)
    mime = {"svg": "svg+xml", "png": "png"}[kind]
    return f"data:image/{mime};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Draw a function's figure in the report's style."""

    @wraps(draw)
    def in_style(*args, **kwargs):
        with mpl.rc_context(_STYLE):
            return draw(*args, **kwargs)

    return in_style


@styled
def curves(title: str, lines: Sequence[Line], *, xlabel: str) -> Figure:
    """Draw curves over one axis."""
    figure = Figure(figsize=(4.6, 2.5), layout="constrained")
    axes = figure.subplots()
    for i, line in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
        if line.smooth:
            axes.plot(line.x, line.y, color=colour, alpha=0.25, linewidth=0.7)
            x, y = moving_average(line.x, line.y)
        else:
            x, y = line.x, line.y
        # a single value is a point: a line through it would not be seen
        mark = "o" if len(x) == 1 else None
        axes.plot(x, y, dash, color=colour, label=line.name, marker=mark)
    axes.set(title=title, xlabel=xlabel)
    if len(lines) > 1:
        axes.legend()
    return figure


def moving_average(
    x: Shaped[np.ndarray, "n"], y: Float[np.ndarray, "n"]
) -> tuple[Shaped[np.ndarray, "m"], Float[np.ndarray, "m"]]:
    """Average over a fiftieth of the curve, where the whole window lies in it."""
    size = max(2 * (len(y) // 100) + 1, 3)
    mean = np.convolve(y, np.full(size, 1 / size), mode="valid")
    return x[size // 2 : len(x) - size // 2], mean


@styled
def spectrum(embeddings: Mapping[str, Float[np.ndarray, "n d"]]) -> Figure:
    """Draw the singular values of centred embeddings, the largest of each as 1."""
    figure = Figure(figsize=(4.6, 2.8), layout="constrained")
    axes = figure.subplots()
    for i, (name, features) in enumerate(embeddings.items()):
        centred = features.astype(np.float64) - features.mean(axis=0, keepdims=True)
        singular = np.linalg.svd(centred, compute_uv=False)
        share = singular / max(singular[0], 1e-30)
        share[share < 1e-6] = np.nan  # rounding
        order = np.arange(1, len(share) + 1)
        axes.semilogy(order, share, DASHES[i], color=COLOURS[i], label=name)
    axes.yaxis.set_major_formatter("{x:g}")  # 10^-1 would be mathematics
    axes.yaxis.set_minor_formatter("")
    axes.set(xlabel="direction, the strongest first", ylabel="singular value / largest")
    axes.legend()
    return figure


@styled
def scatter(
    title: str,
    points: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, "n"],
    *,
    name: str,
    axis: str,
) -> Figure:
    """Draw points coloured and shaped by label; label -1 is unlabelled.

    `name` is what the legend calls the labels.
    """
    figure = Figure(figsize=(4.6, 3.4), layout="constrained")
    axes = figure.subplots()
    for i, label in enumerate(np.unique(labels)):
        chosen = points[labels == label]
        known = label >= 0
        axes.scatter(
            *chosen.T,
            s=14,
            color=COLOURS[i % len(COLOURS)] if known else GREY,
            marker=MARKERS[i % len(MARKERS)],
            alpha=0.75,
            linewidths=0,
            label=f"{name} {label}" if known else "no label",
        )
    axes.set(title=title, xlabel=f"{axis} 1", ylabel=f"{axis} 2")
    axes.set(xticks=[], yticks=[])
    axes.set_aspect("equal", adjustable="datalim")
    figure.legend(loc="outside lower center", ncols=4)
    return figure


@styled
def roc(
    operating: Mapping[str, tuple[Float[np.ndarray, "_"], Float[np.ndarray, "_"]]],
) -> Figure:
    """Draw ROC curves from their false and true positive rates, by name."""
    # each line of the legend beyond the fourth makes room for itself
    height = 4.8 + 0.18 * max(len(operating) - 4, 0)
    figure = Figure(figsize=(4.8, height), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    for i, (name, (false, true)) in enumerate(operating.items()):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
        axes.plot(false, true, dash, color=colour, label=name, drawstyle="steps-post")
    axes.set(xlabel="1 - specificity", ylabel="sensitivity", aspect="equal")
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    figure.legend(loc="outside lower center")
    return figure


@styled
def operating(
    lines: Sequence[Line], *, xlabel: str, ylabel: str, logarithmic: bool
) -> Figure:
    """Draw what a model reaches at each of its thresholds; `y` is 0 to 1."""
    figure = Figure(figsize=(4.6, 3.2), layout="constrained")
    axes = figure.subplots()
    for i, line in enumerate(lines):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)]
        axes.plot(line.x, line.y, dash, color=colour, label=line.name)
    if logarithmic:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")  # 10^-1 would be mathematics
    axes.set(xlabel=xlabel, ylabel=ylabel, ylim=(-0.02, 1.02))
    if len(lines) > 1:
        figure.legend(loc="outside lower center", ncols=4)
    return figure


def tiles(
    count: int, shape: tuple[int, int], *, across: int, below: float = 0.0
) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels for images of a shape, each under a title.

    `below` is room for a legend, in inches.
    """
    rows, columns = shape
    across = min(count, across)
    down = -(-count // across)
    width = 9.0
    height = down * (width / across * rows / columns + 0.3) + below
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0, hspace=0)
    panels = figure.subplots(down, across, squeeze=False).reshape(-1)
    for axes in panels:
        axes.axis("off")
    return figure, list(panels[:count])


def grey(image: Float[np.ndarray, "_ _ c"]) -> Float[np.ndarray, "_ _ *c"]:
    """Return an image in [0, 1] to be shown: colours, or the middle channel's greys."""
    low, high = np.percentile(image, [0.5, 99.5])
    shown = np.clip((image - low) / max(high - low, 1e-12), 0, 1)
    return shown if image.shape[-1] == 3 else shown[..., image.shape[-1] // 2]


@styled
def views(
    panels: Mapping[str, Sequence[Float[np.ndarray, "_ _ *c"]]], *, width: float
) -> Figure:
    """Draw images in [0, 1], a column for each name and a row for each example.

    `width` is of the figure, in inches.
    """
    columns = list(panels.items())
    rows = len(columns[0][1])
    # columns as wide as makes their images of one height
    ratios = [images[0].shape[1] / images[0].shape[0] for _, images in columns]
    height = width / sum(ratios)
    # names wrap at the width of their column: a character is .08 inches wide
    titles = [
        textwrap.fill(name, max(1, int(height * ratio / 0.08)), break_long_words=False)
        for (name, _), ratio in zip(columns, ratios, strict=True)
    ]
    above = 0.13 + 0.17 * max(title.count("\n") + 1 for title in titles)
    figure = Figure(figsize=(width, rows * height + above), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.04, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(
        rows, len(columns), squeeze=False, gridspec_kw={"width_ratios": ratios}
    )
    for j, (_, images) in enumerate(columns):
        for i, image in enumerate(images):
            grid[i, j].imshow(image, cmap="gray", vmin=0, vmax=1)
            grid[i, j].axis("off")
            grid[i, j].set_anchor("N")  # close to the names above
        grid[0, j].set_title(titles[j])
    return figure
