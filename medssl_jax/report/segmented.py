"""The report's section on segmented cases: truth and prediction laid over slices."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from medssl_jax.evals.case import structure
from medssl_jax.evals.frames import grey_or_colour
from medssl_jax.evals.pictures import KINDS
from medssl_jax.report import figures, overlays, stacks
from medssl_jax.report.blocks import Gallery, Picture, Section, Stack
from medssl_jax.report.run import Run

_MOST_LETTERS = 32  # of a structure's name
_SAID = "What was found is filled, the truth is outlined."


def segmented(run: Run) -> Section | None:
    """Show the worst, the middle and the best case of a segmentation."""
    if run.cases is None:
        return None
    kinds: dict[str, list[str]] = {}  # of few cases, one is several of them
    for kind in KINDS:
        kinds.setdefault(str(run.cases[f"{kind}/name"]), []).append(kind)
    names = [str(name) for name in run.cases["structures"]]
    cases = {
        ", ".join(of_one): _fields(run.cases, of_one[0]) for of_one in kinds.values()
    }
    if any(len(case["image"]) > 1 for case in cases.values()):
        blocks = [_stack(kind, case, names) for kind, case in cases.items()]
    else:
        pictures = [_picture(kind, case, names) for kind, case in cases.items()]
        blocks = [Gallery(pictures, least_rem=25)]
    return Section("Segmented cases", blocks)


def _fields(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    start = f"{kind}/"
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}


def _told(kind: str, case: Mapping[str, np.ndarray]) -> str:
    return f"{kind.capitalize()} case, {case['name']}, Dice {float(case['score']):.3f}"


def _stack(kind: str, case: Mapping[str, np.ndarray], names: Sequence[str]) -> Stack:
    """Return a volume beside itself with its masks."""
    told, there = _told(kind, case), _there(case, len(names))
    image = grey_or_colour(case["image"])
    masks = [[structure(case[m], k, 3) for m in ("found", "truth")] for k in there]
    laid = [
        overlays.Laid(figures.on_scans(k), *pair)
        for k, pair in zip(there, masks, strict=True)
    ]
    layers = [image, overlays.overlay(laid)] if laid else [image]
    shown = ", ".join(names[k] for k in there)
    aspect = float(case["aspect"])
    pair = [
        stacks.Layered("image", f"{told}: the image.", [image], aspect),
        stacks.Layered("masks", f"{told}: over it, {shown}.", layers, aspect),
    ]
    return stacks.stack(
        [pair],
        name=told,
        places=[f"slice {int(place) + 1}" for place in case["slices"]],
        stills=_stills(masks, len(image)),
        caption=_SAID,
        least_rem=16,
        key=[(names[k][:_MOST_LETTERS], figures.on_scans(k)) for k in there],
    )


def _stills(masks: Sequence[Sequence[np.ndarray]], count: int) -> list[int]:
    """Return slices at a quarter, the half and three quarters of what is there."""
    there = np.zeros(count)
    for pair in masks:
        there += sum(mask.sum(axis=(1, 2)) for mask in pair)
    if not there.any():
        return stacks.inner(count)
    share = np.cumsum(there) / there.sum()
    quarters = (np.arange(stacks.STILLS) + 1) / (stacks.STILLS + 1)
    return sorted({int(np.searchsorted(share, quarter)) for quarter in quarters})


def _picture(
    kind: str, case: Mapping[str, np.ndarray], names: Sequence[str]
) -> Picture:
    told = _told(kind, case)
    shown = ", ".join(names[k] for k in _there(case, len(names)))
    return Picture(
        figures.uri(_draw(case, names), kind="png"),
        f"{told}, with {shown}.",
        f"{told}. {_SAID}",
    )


def _there(case: Mapping[str, np.ndarray], count: int) -> list[int]:
    """Return the structures that truth or prediction has in what is shown."""
    masks = case["truth"], case["found"]
    return [
        k for k in range(count) if any(structure(mask, k, 3).any() for mask in masks)
    ]


@figures.styled
def _draw(case: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Draw an image beside itself with its masks."""
    (image,), aspect = grey_or_colour(case["image"]), float(case["aspect"])
    width, height = 6.0, 3.0 * aspect * image.shape[0] / image.shape[1] + 0.55
    if height > 9:  # tall scans: no higher than a screen
        width, height = width * 9 / height, 9.0
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    there = _there(case, len(names))
    panels = figure.subplots(1, 2)
    for axes in panels:
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, aspect=aspect)
        axes.axis("off")
    for k in there:
        masks = (structure(case[mask], k, 3)[0] for mask in ("truth", "found"))
        _lay_over(panels[1], *masks, figures.on_scans(k))
    _legend(figure, [(names[k], figures.on_scans(k)) for k in there])
    return figure


def _lay_over(axes: Axes, truth: np.ndarray, found: np.ndarray, colour: str) -> None:
    filled = np.zeros((*found.shape, 4), np.float32)
    filled[found] = (*to_rgb(colour), overlays.FILLED)
    axes.imshow(filled, aspect=axes.get_aspect(), interpolation="nearest")
    if truth.any():
        closed = np.pad(truth, 1)  # an outline goes round what touches the edge
        y, x = (np.arange(n) - 1 for n in closed.shape)
        axes.contour(x, y, closed, levels=[0.5], colors=[colour], linewidths=1.3)
        rows, columns = truth.shape
        axes.set(xlim=(-0.5, columns - 0.5), ylim=(rows - 0.5, -0.5))


def _legend(figure: Figure, shown: Sequence[tuple[str, str]]) -> None:
    if not shown:
        return
    handles = [
        Patch(
            facecolor=(*to_rgb(colour), overlays.FILLED),
            edgecolor=colour,
            linewidth=1.3,
        )
        for _, colour in shown
    ]
    legend = figure.legend(
        handles, ["name"] * len(shown), loc="outside lower center", ncols=6
    )
    for text, (name, _) in zip(legend.get_texts(), shown, strict=True):
        text.set_parse_math(False)  # a name is no formula, whatever it holds
        text.set_text(name[:_MOST_LETTERS])
