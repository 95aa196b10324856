"""Sections on protocols, from numbers that are known."""

import json

import numpy as np
import pytest

from medssl_jax.protocols import grid, label_efficiency
from medssl_jax.protocols.outcome import Used
from medssl_jax.protocols.predictions import cases
from medssl_jax.report import protocol_figures
from medssl_jax.report.build import build
from medssl_jax.report.protocols import SECTIONS, label_curves
from medssl_jax.report.run import read_run


def predictions(rng, skill, count=80):
    """Return binary predictions on two scans each of some patients."""
    labels = np.arange(count) % 2
    p = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + rng.normal(size=count))))
    names = [f"scan-{i}" for i in range(count)]
    patients = [f"p{i // 4}" for i in range(count)]
    return cases(names, patients, labels, np.stack([1 - p, p], 1))


def label_results():
    rng = np.random.default_rng(0)
    runs, used = {}, {}
    for seed in range(3):
        for fraction in (0.1, 0.25, 0.5, 1.0):
            for name, lead in (("pretrained", 0.5), ("random", 0.0)):
                place = label_efficiency.Place(fraction, name, seed)
                runs[place] = predictions(rng, 0.2 + lead * (1.2 - fraction) + fraction)
                used[place] = Used(round(400 * fraction) + seed, None, 50)
    return label_efficiency.summarise(runs, used, seed=0)


def grid_results():
    rng = np.random.default_rng(0)
    peaks = [10 ** (-3.5 + 0.5 * i) for i in range(7)]
    cells = [
        {"peak": peak, "weight_decay": decay}
        for peak in peaks
        for decay in (0.0, 1e-5, 1e-4, 1e-3)
    ]
    outcomes = [
        {}
        if cell["peak"] > 0.3
        else {
            "validation_loss": 0.4
            + 0.1 * abs(np.log10(cell["peak"]) + 2.1) ** 2
            + 0.01 * rng.random(),
            "validation_AUC": 0.8,
        }
        for cell in cells
    ]
    outcomes[20]["validation_loss"] = 17.3
    best = grid.choose([o.get("validation_loss", np.nan) for o in outcomes])
    runs = {str(seed): predictions(rng, 1.0) for seed in range(5)}
    return grid.summarise(cells, outcomes, best, runs, seed=0)


@pytest.mark.parametrize(
    ("make", "title", "caption"),
    [
        (label_results, "Label efficiency", "means over 3 seeds"),
        (grid_results, "Grid", "framed: the chosen one"),
    ],
)
def test_a_protocols_report_has_its_figure_and_no_section_that_says_nothing(
    tmp_path, make, title, caption
):
    (tmp_path / "results.json").write_text(json.dumps(make()))
    page = build(tmp_path, sections=SECTIONS).read_text()
    assert f">{title}</h2>" in page and caption in page
    assert page.count("<img") == 1 and 'src="data:image/svg+xml' in page
    assert "Training curves" not in page and "ROC" not in page


def test_the_curve_is_told_in_words_and_tells_the_scores(tmp_path):
    found = label_results()
    (tmp_path / "results.json").write_text(json.dumps(found))
    (gallery,) = label_curves(read_run(tmp_path)).blocks
    first = found["label_curves"]["curves"][0]["scores"]
    told = f"pretrained {np.mean(first[0]):.3f} at 10 % and {np.mean(first[-1]):.3f}"
    assert told in gallery.pictures[0].alt


def test_the_interval_of_a_gain_over_seeds_is_that_of_the_mean_difference():
    rng = np.random.default_rng(1)
    runs, used, gains = {}, {}, []
    for seed in range(2):
        pair = [predictions(rng, skill) for skill in (1.0, 0.3)]
        for name, one in zip("ab", pair, strict=True):
            runs[label_efficiency.Place(0.5, name, seed)] = one
            used[label_efficiency.Place(0.5, name, seed)] = Used(40, 10, 5)
        gains.append([one.scores for one in pair])
    found = label_efficiency.summarise(runs, used, seed=0)["values"]["AUC, a - b, 0.5"]

    labels = np.arange(80) % 2

    def area(scores, drawn):
        s, y = scores[drawn], labels[drawn]
        return (s[y == 1][:, None] > s[y == 0][None]).mean()

    def gain(drawn):
        return np.mean([area(a, drawn) - area(b, drawn) for a, b in gains])

    draw = np.random.default_rng(9)
    members = np.arange(80).reshape(20, 4)
    draws = [gain(members[draw.integers(20, size=20)].ravel()) for _ in range(2000)]
    assert found["value"] == pytest.approx(gain(np.arange(80)), abs=1e-12)
    expected = np.quantile(draws, [0.025, 0.975])
    np.testing.assert_allclose([found["low"], found["high"]], expected, atol=0.012)


def test_a_loss_far_off_does_not_take_the_colours_of_the_others():
    losses = np.array([[0.4, 0.5, 0.6, 90.0, np.nan]])
    figure = protocol_figures.heat_map(
        losses, rows=[""], columns=list("abcde"), ylabel="", xlabel="", chosen=(0, 0)
    )
    (axes,) = figure.axes
    (image,) = axes.images
    shades = [image.cmap(image.norm(loss))[0] for loss in losses[0, :4]]
    assert shades[2] - shades[0] > 0.3 and shades[3] == image.cmap(1.0)[0]
    assert [text.get_text() for text in axes.texts] == [
        "0.400",
        "0.500",
        "0.600",
        "90",
        "×",
    ]


@pytest.mark.parametrize("count, drawn", [(4, 4), (5, 0)])
def test_bands_that_would_hide_the_lines_are_left_out(count, drawn):
    x, y = np.array([10.0, 100.0]), np.array([[0.6, 0.8], [0.7, 0.9]])
    lines = [protocol_figures.Band(f"{i}", x, y + 0.01 * i) for i in range(count)]
    (axes,) = protocol_figures.bands(lines, xlabel="", ylabel="").axes
    assert len(axes.collections) == drawn
    assert len(axes.get_legend_handles_labels()[1]) == count
