"""The report's section on segmented cases: truth and prediction laid over slices."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from medssl_jax.evals.case import structure
from medssl_jax.evals.pictures import KINDS
from medssl_jax.report import figures
from medssl_jax.report.blocks import Gallery, Picture, Section
from medssl_jax.report.run import Run

_FILLED = 0.4  # opacity
_MOST_LETTERS = 32  # of a structure's name


def segmented(run: Run) -> Section | None:
    """Show the worst, the middle and the best case of a segmentation."""
    if run.cases is None:
        return None
    kinds: dict[str, list[str]] = {}  # of few cases, one is several of them
    for kind in KINDS:
        kinds.setdefault(str(run.cases[f"{kind}/name"]), []).append(kind)
    names = [str(name) for name in run.cases["structures"]]
    pictures = [
        _picture(", ".join(of_one), _fields(run.cases, of_one[0]), names)
        for of_one in kinds.values()
    ]
    volumes = any(len(run.cases[f"{kind}/image"]) > 1 for kind in KINDS)
    least_rem = 44 if volumes else 25
    return Section("Segmented cases", [Gallery(pictures, least_rem=least_rem)])


def _fields(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    start = f"{kind}/"
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def _picture(
    kind: str, case: Mapping[str, np.ndarray], names: Sequence[str]
) -> Picture:
    what = f"{kind.capitalize()} case, {case['name']}, Dice {float(case['score']):.3f}"
    shown = [names[k] for k in _there(case, len(names))]
    return Picture(
        figures.uri(_draw(case, names), kind="png"),
        f"{what}: {len(case['image'])} slice(s), with {', '.join(shown)}.",
        f"{what}. What was found is filled, the truth is outlined.",
    )


def _there(case: Mapping[str, np.ndarray], count: int) -> list[int]:
    """Return the structures that truth or prediction has in what is shown."""
    masks = case["truth"], case["found"]
    return [
        k for k in range(count) if any(structure(mask, k, 3).any() for mask in masks)
    ]


@figures.styled
def _draw(case: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Draw each slice above itself with its masks; a single one beside itself."""
    images, aspect = _grey_or_colour(case["image"]), float(case["aspect"])
    count, rows, columns = images.shape[:3]
    down, across = (2, count) if count > 1 else (1, 2)
    width = 9.0 if count > 1 else 6.0
    height = width / across * aspect * rows / columns * down + 0.55
    if height > 9:  # tall scans: no higher than a screen
        width, height = width * 9 / height, 9.0
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(down, across, squeeze=False).reshape(2, count)
    there = _there(case, len(names))
    for i, image in enumerate(images):
        for axes in grid[:, i]:
            axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect=aspect)
            axes.axis("off")
        if count > 1:
            grid[0, i].set_title(f"slice {int(case['slices'][i]) + 1}")
        for k in there:
            masks = (structure(case[mask], k, 3)[i] for mask in ("truth", "found"))
            _lay_over(grid[1, i], *masks, _colour(k))
    _legend(figure, [(names[k], _colour(k)) for k in there])
    return figure


def _grey_or_colour(images: np.ndarray) -> Float[np.ndarray, "n _ _ *c"]:
    """Return images in [0, 1]: three channels of uint8 are colours, else the first."""
    if images.shape[-1] == 3 and images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    grey = images[..., 0].astype(np.float32)
    low, high = np.percentile(grey, [0.5, 99.5])
    return np.clip((grey - low) / max(high - low, 1e-12), 0, 1)


def _lay_over(axes: Axes, truth: np.ndarray, found: np.ndarray, colour: str) -> None:
    filled = np.zeros((*found.shape, 4), np.float32)
    filled[found] = (*to_rgb(colour), _FILLED)
    axes.imshow(filled, aspect=axes.get_aspect(), interpolation="nearest")
    if truth.any():
        closed = np.pad(truth, 1)  # an outline goes round what touches the edge
        y, x = (np.arange(n) - 1 for n in closed.shape)
        axes.contour(x, y, closed, levels=[0.5], colors=[colour], linewidths=1.3)
        rows, columns = truth.shape
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _colour(k: int) -> str:
    return figures.ON_SCANS[k % len(figures.ON_SCANS)]


def _legend(figure: Figure, shown: Sequence[tuple[str, str]]) -> None:
    if not shown:
        return
    handles = [
        Patch(facecolor=(*to_rgb(colour), _FILLED), edgecolor=colour, linewidth=1.3)
        for _, colour in shown
    ]
    legend = figure.legend(
        handles, ["name"] * len(shown), loc="outside lower center", ncols=6
    )
    for text, (name, _) in zip(legend.get_texts(), shown, strict=True):
        text.set_parse_math(False)  # a name is no formula, whatever it holds
        text.set_text(name[:_MOST_LETTERS])
