"""Sections on runs that were compared; None where there is nothing to say."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medssl_jax.report import figures, protocol_figures, sections
from medssl_jax.report.attended import attended
from medssl_jax.report.blocks import Gallery, Picture, Section, Table
from medssl_jax.report.detected import detected
from medssl_jax.report.mapped import mapped
from medssl_jax.report.operating import operating
from medssl_jax.report.reconstructed import reconstructed
from medssl_jax.report.run import Run
from medssl_jax.report.segmented import segmented


def answer(run: Run) -> Section | None:
    """Show the table that answers a study's question."""
    if run.results is None or "answer" not in run.results:
        return None
    table = run.results["answer"]
    shown = Table(table["title"], table["columns"], table["rows"], table["note"])
    return Section("Which pretraining helps", [shown])


def label_curves(run: Run) -> Section | None:
    """Show the metric over the share of labels, a band for each initialisation."""
    if run.results is None or "label_curves" not in run.results:
        return None
    found = run.results["label_curves"]
    lines = [
        protocol_figures.Band(
            curve["name"],
            100 * np.array(curve["fractions"]),
            np.array(curve["scores"], float).T,
            curve.get("against", ""),
        )
        for curve in found["curves"]
    ]
    metric = f"test {found['metric']}"
    count = len(lines[0].y)
    seeds = f"{count} seed{'s' * (count > 1)}"
    few = len(lines) <= protocol_figures.MOST_BANDS
    ends = dict.fromkeys((0, len(lines[0].x) - 1))
    told = "; ".join(
        f"{line.name} "
        + " and ".join(f"{line.y[:, i].mean():.3f} at {line.x[i]:g} %" for i in ends)
        for line in lines
    )
    if len(ends) == 1:
        share = f"{metric} with {lines[0].x[0]:g} % of the training labels"
        figure = protocol_figures.rows(lines, xlabel=share)
        caption = (
            f"Large marks: means over {seeds}; points: each seed; the "
            f"broken line: {lines[-1].name}'s mean."
        )
    else:
        figure = protocol_figures.bands(
            lines, xlabel="training labels used, %", ylabel=metric
        )
        others = dict.fromkeys(line.against or lines[-1].name for line in lines)
        beside = "" if few else f" Each beside {' or '.join(others)}, in grey."
        caption = (
            f"Lines: means over {seeds}; bands: from the lowest seed to "
            f"the highest; points: each seed.{beside}"
        )
    described = f"{metric[0].upper()}{metric[1:]} against the share of labels: {told}."
    picture = Picture(figures.uri(figure), described, caption)
    room = Gallery([picture], least_rem=25 if few or len(ends) == 1 else 44)
    return Section("Label efficiency", [room])


# of what was logged over the epochs, beside the first: arXiv:2201.01283, fig. 5
_OVER_EPOCHS = ("AUC", "FROC")


def convergence(run: Run) -> Section | None:
    """Show validation metrics over the epochs, a panel for each share of the labels."""
    if run.results is None or not run.results.get("convergence"):
        return None
    first, *others = run.results["convergence"]
    shown = [first, *(one for one in others if one["metric"] in _OVER_EPOCHS)]
    drawn = [one for one in shown if any(each["epochs"] for each in one["curves"])]
    if not drawn:
        return None
    several = len({one["fraction"] for each in drawn for one in each["curves"]}) > 1
    room = Gallery([_epochs(**one) for one in drawn], least_rem=44 if several else 25)
    return Section("Convergence", [room])


def _epochs(metric: str, curves: Sequence[Mapping[str, Any]]) -> Picture:
    curves = [one for one in curves if one["epochs"]]
    panels: dict[str, list[protocol_figures.Course]] = {}
    for one in curves:
        numbers = (
            one[field] and np.array(one[field])
            for field in ("epochs", "mean", "deviation")
        )
        share = f"{100 * one['fraction']:g} % of the labels"
        course = protocol_figures.Course(one["name"], *numbers)
        panels.setdefault(share, []).append(course)
    name = f"validation {metric}"
    figure = protocol_figures.courses(panels, xlabel="epoch", ylabel=name)
    seeds = sorted({one["seeds"] for one in curves})
    several = len({one["name"] for one in curves}) > protocol_figures.MOST_BANDS
    told = "; ".join(
        f"{share}: "
        + ", ".join(
            f"{line.name} from {line.mean[0]:.3f} to {line.mean[-1]:.3f}"
            for line in lines
        )
        for share, lines in panels.items()
    )
    means = "" if seeds == [1] else f", means over {' or '.join(map(str, seeds))} seeds"
    bands = "" if several or not means else "; bands: a deviation to each side"
    caption = (
        f"{name[0].upper()}{name[1:]} at checkpoints{means}{bands}. An epoch is that of "
        "all labels."
    )
    described = f"{name[0].upper()}{name[1:]} over epochs, with {told}."
    return Picture(figures.uri(figure), described, caption)


def robustness(run: Run) -> Section | None:
    """Show how far probabilities move under each view, a box for each model."""
    if run.results is None or "robustness" not in run.results:
        return None
    found = run.results["robustness"]
    figure = protocol_figures.boxes(found["boxes"], xlabel="(p' - p) / p")
    told = "; ".join(
        f"{view}: " + ", ".join(f"{name} {box[2]:+.3f}" for name, box in boxes.items())
        for view, boxes in found["boxes"].items()
    )
    picture = Picture(
        figures.uri(figure),
        f"Relative deviation of the {found['of']}, medians: {told}.",
        "Boxes: from quartile to quartile, the line in them the median; whiskers: from "
        f"the 5th to the 95th percentile. p is the {found['of']}, p' that of the "
        "transformed image.",
    )
    return Section("Robustness", [Gallery([picture], least_rem=44)])


def grid(run: Run) -> Section | None:
    """Show the validation loss of each cell of the grid."""
    if run.results is None or "grid" not in run.results:
        return None
    axes = run.results["grid"]["axes"]
    names, values = list(axes), list(axes.values())
    if len(names) == 1:  # a row
        names, values = ["", *names], [[""], *values]
    shape = len(values[0]), len(values[1])
    loss = np.array(run.results["grid"]["loss"], float).reshape(shape)
    chosen = np.unravel_index(int(np.nanargmin(loss)), shape)
    labels = [[v if v == "" else f"{v:.2g}" for v in axis] for axis in values]
    words = [name.replace("_", " ").replace("peak", "learning rate") for name in names]
    figure = protocol_figures.heat_map(
        loss.T,
        rows=labels[1],
        columns=labels[0],
        ylabel=words[1],
        xlabel=words[0],
        chosen=(int(chosen[1]), int(chosen[0])),
    )
    told = ", ".join(f"{n} {v}" for n, v in run.results["chosen"].items())
    picture = Picture(
        figures.uri(figure),
        f"Validation loss over {loss.size} settings, lowest {np.nanmin(loss):.4g} at "
        f"{told}; {int(np.isnan(loss).sum())} diverged.",
        "Lowest validation loss of each run; framed: the chosen one; ×: diverged.",
    )
    return Section("Grid", [Gallery([picture])])


def roc(run: Run) -> Section | None:
    """Show the ROC curves where there are any."""
    has = run.results is not None and run.results["roc"]
    return sections.roc(run) if has else None


def predictions(run: Run) -> Section | None:
    """Show the first predictions where the protocol made some of its own."""
    return None if run.predictions is None else sections.predictions(run)


SECTIONS = [
    answer,
    label_curves,
    convergence,
    robustness,
    grid,
    sections.results,
    roc,
    operating,
    segmented,
    detected,
    mapped,
    reconstructed,
    attended,
    sections.what_ran,
    predictions,
    sections.config,
]
