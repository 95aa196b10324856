"""Figures of protocols: curves with bands, box plots, and a grid of losses."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from medssl_jax.report.figures import COLOURS, DASHES, GREY, MARKERS, styled

_FEW = 6  # values on an axis
MOST_BANDS = 4  # in one panel: more lie on each other
_COLUMNS = 3  # of panels
_ABREAST = 2  # panels of boxes, which have names beside them


class Band(NamedTuple):
    """Repeats at each x: `y` is (repeats, x); `against` names what it is measured by."""

    name: str
    x: np.ndarray
    y: np.ndarray
    against: str = ""


@styled
def bands(lines: Sequence[Band], *, xlabel: str, ylabel: str) -> Figure:
    """Draw means over repeats, bands around them, and the repeats as points.

    More than a few would hide each other: then each has a panel, where what it is
    measured by, or else the last one, is drawn too, in grey.
    """
    if len(lines) > MOST_BANDS:
        return _panels(lines, xlabel, ylabel)
    figure = Figure(figsize=(5.6, 3.6), layout="constrained")
    axes = figure.subplots()
    for i, line in enumerate(lines):
        _band(axes, line, COLOURS[i % len(COLOURS)], i)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _ticks(axes, lines)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


class Course(NamedTuple):
    """A mean over repeats at each x, and its deviation; None of a single one."""

    name: str
    x: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray | None


@styled
def courses(
    panels: Mapping[str, Sequence[Course]], *, xlabel: str, ylabel: str
) -> Figure:
    """Draw a panel for each name: means and, of a few lines, a deviation to each side.

    A line has one look in all panels, wherever it is missing.
    """
    names = list(dict.fromkeys(c.name for lines in panels.values() for c in lines))
    columns = min(len(panels), _COLUMNS)
    height = -(-len(panels) // columns)
    width = 5.6 if columns == 1 else 7.2
    figure = Figure(figsize=(width, 0.9 + 2.1 * height), layout="constrained")
    grid = figure.subplots(height, columns, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for i, (axes, (title, lines)) in enumerate(
        zip(grid.flat, panels.items(), strict=False)
    ):
        for one in lines:
            look = names.index(one.name)
            handles[one.name] = _course(axes, one, look, len(names) <= MOST_BANDS)
        axes.set_title(title)
        axes.tick_params(labelbottom=i + columns >= len(panels))  # the column's last
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    shown = [handles[name] for name in names]
    figure.legend(shown, names, loc="outside upper right", ncols=_COLUMNS)
    figure.supxlabel(xlabel, size="medium")
    figure.supylabel(ylabel, size="medium")
    return figure


def _course(axes, one: Course, look: int, banded: bool):
    colour, dash = COLOURS[look % len(COLOURS)], DASHES[look % len(DASHES)]
    if banded and one.deviation is not None:
        low, high = one.mean - one.deviation, one.mean + one.deviation
        axes.fill_between(one.x, low, high, color=colour, alpha=0.15, linewidth=0)
    (line,) = axes.plot(one.x, one.mean, dash, marker=".", color=colour, markersize=4)
    return line


@styled
def rows(lines: Sequence[Band], *, xlabel: str) -> Figure:
    """Draw the repeats at a single x, and their means: a row for each line.

    The last one's mean is drawn through all of them.
    """
    figure = Figure(figsize=(5.6, 0.9 + 0.32 * len(lines)), layout="constrained")
    axes = figure.subplots()
    axes.axvline(lines[-1].y.mean(), color=GREY, linestyle="--", linewidth=1)
    for i, line in enumerate(lines):
        colour = GREY if line is lines[-1] else COLOURS[i % len(COLOURS)]
        repeats = line.y[:, 0]
        axes.plot(repeats, [i] * len(repeats), ".", color=colour, alpha=0.45)
        axes.plot([repeats.mean()], [i], MARKERS[i % len(MARKERS)], color=colour)
    axes.set_yticks(range(len(lines)), [line.name for line in lines])
    axes.invert_yaxis()
    axes.set(xlabel=xlabel)
    return figure


def _panels(lines: Sequence[Band], xlabel: str, ylabel: str) -> Figure:
    named = {line.name: line for line in lines}
    last = lines[-1]
    by = {line.name: named.get(line.against, last) for line in lines}
    others = [line for line in lines if line is not by[line.name]]
    rows = -(-len(others) // _COLUMNS)
    figure = Figure(figsize=(7.2, 0.7 + 2.1 * rows), layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, sharex=True, sharey=True, squeeze=False)
    for i, (axes, line) in enumerate(zip(grid.flat, others, strict=False)):
        _band(axes, by[line.name], GREY, 1)
        _band(axes, line, COLOURS[i % len(COLOURS)], 0)
        axes.set_title(line.name)
        _ticks(axes, lines)
        axes.tick_params(labelbottom=i + _COLUMNS >= len(others))  # the column's last
    for axes in grid.flat[len(others) :]:
        axes.set_visible(False)
    measures = dict.fromkeys(by[line.name].name for line in others)
    handles, _ = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles[:1], [" or ".join(measures)], loc="outside upper right")
    figure.supxlabel(xlabel, size="medium")
    figure.supylabel(ylabel, size="medium")
    return figure


def _band(axes, line: Band, colour: str, look: int) -> None:
    low, high = line.y.min(0), line.y.max(0)
    axes.fill_between(line.x, low, high, color=colour, alpha=0.18, linewidth=0)
    style = DASHES[look % len(DASHES)] + MARKERS[look % len(MARKERS)]
    mean = line.y.mean(0)
    axes.plot(line.x, mean, style, color=colour, label=line.name, markersize=5)
    for repeat in line.y:
        axes.plot(line.x, repeat, ".", color=colour, alpha=0.45, markersize=4)


def _ticks(axes, lines: Sequence[Band]) -> None:
    ticks = sorted({float(x) for line in lines for x in line.x})
    # few, far apart at the top: 10, 25, 50, 100; tenths would crowd there
    axes.set_xscale("log" if len(ticks) <= _FEW else "linear")
    axes.set_xticks([], minor=True)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])


@styled
def boxes(
    panels: Mapping[str, Mapping[str, Sequence[float]]], *, xlabel: str
) -> Figure:
    """Draw a panel for each name, and in it a lying box for each line.

    A box is five percentiles: whisker, quartile, median, quartile, whisker. Panels have
    axes of their own: what one of them has is not to flatten another.
    """
    names = list(next(iter(panels.values())))
    columns = min(len(panels), _ABREAST)
    rows = -(-len(panels) // columns)
    height = 0.55 + 0.3 * len(names)
    figure = Figure(figsize=(7.2, 0.4 + rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, (title, by_name) in zip(grid.flat, panels.items(), strict=False):
        axes.axvline(0, color=GREY, linestyle="--", linewidth=1)
        keys = "whislo", "q1", "med", "q3", "whishi"
        drawn = axes.bxp(
            [dict(zip(keys, by_name[name], strict=True)) for name in names],
            orientation="horizontal",
            widths=0.55,
            showfliers=False,
            patch_artist=True,
            manage_ticks=False,
            medianprops={"color": "black"},
        )
        for i, box in enumerate(drawn["boxes"]):
            box.set(facecolor=COLOURS[i % len(COLOURS)], alpha=0.6)
        axes.set_title(title)
    grid[0, 0].set_yticks(range(1, len(names) + 1), names)
    grid[0, 0].invert_yaxis()
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    figure.supxlabel(xlabel, size="medium")
    return figure


@styled
def heat_map(
    values: Float[np.ndarray, "rows columns"],
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    ylabel: str,
    xlabel: str,
    chosen: tuple[int, int],
) -> Figure:
    """Draw a table of losses, low ones dark; NaN is left white and crossed."""
    size = (1.6 + 0.75 * len(columns), 1.1 + 0.5 * len(rows))
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    # from the chosen to the median: one loss of 80 would leave the rest one colour
    low, high = np.nanmin(values), max(np.nanmedian(values), np.nanmin(values) + 1e-9)
    axes.imshow(values, cmap="Blues_r", vmin=low, vmax=high + (high - low), aspect=0.7)
    for i, j in np.ndindex(*values.shape):
        loss, best = values[i, j], (i, j) == chosen
        dark = loss < low + 0.8 * (high - low)
        axes.text(
            j,
            i,
            "×" if np.isnan(loss) else f"{loss:.3f}" if loss < 10 else f"{loss:.3g}",
            color="white" if dark else "black",
            weight="bold" if best else "normal",
            ha="center",
            va="center",
        )
    i, j = chosen
    frame = {"fill": False, "edgecolor": COLOURS[1], "linewidth": 2.5}
    axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, **frame))
    axes.set_xticks(range(len(columns)), columns)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=xlabel, ylabel=ylabel)
    axes.grid(visible=False)
    axes.tick_params(left=any(rows))
    return figure
