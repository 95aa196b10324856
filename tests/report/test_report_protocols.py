"""Sections on protocols, from numbers that are known."""

import itertools
import json
import statistics

import numpy as np
import pytest

from medssl_jax.protocols import grid
from medssl_jax.protocols.cases import Cases
from medssl_jax.protocols.label_curves import Place, summarise
from medssl_jax.protocols.outcome import Used
from medssl_jax.protocols.predictions import cases
from medssl_jax.report import figures, protocol_figures
from medssl_jax.report.build import build
from medssl_jax.report.protocols import (
    SECTIONS,
    convergence,
    label_curves,
    robustness,
)
from medssl_jax.report.protocols import grid as grid_section
from medssl_jax.report.run import read_run


def predictions(rng, skill, count=80):
    """Return binary predictions on two scans each of some patients."""
    labels = np.arange(count) % 2
    p = 1 / (1 + np.exp(-(skill * (2 * labels - 1) + rng.normal(size=count))))
    names = [f"scan-{i}" for i in range(count)]
    patients = [f"p{i // 4}" for i in range(count)]
    return cases(names, patients, labels, np.stack([1 - p, p], 1))


# test AUC of each seed, by share of the labels and initialisation
AREAS = {
    (0.1, "SimCLR"): (0.7, 0.8, 0.6),
    (0.1, "random"): (0.65, 0.5, 0.65),
    (1.0, "SimCLR"): (0.65, 0.8, 0.85),
    (1.0, "random"): (0.8, 0.8, 0.95),
}


def constant(value, copies=1):
    """Return test cases on which the AUC is known, and the accuracy another number."""
    count = 12
    tilt = np.linspace(-0.05, 0.05, count)
    names = [f"scan-{i}" for i in range(count * copies)]
    patients = [f"p{i % count}" for i in range(count * copies)]
    measures = {
        "accuracy": lambda cases: 1 - value,
        "AUC": lambda cases: float(value + value * tilt[cases % count].mean()),
    }
    return Cases(names, patients, measures, "AUC", ("0", "1"))


def summarised(copies=1):
    runs = {
        Place(fraction, name, seed): constant(value, copies)
        for (fraction, name), values in AREAS.items()
        for seed, value in enumerate(values)
    }
    used = {
        place: Used(round(50 * place.fraction) + place.seed, None, 20) for place in runs
    }
    return summarise(runs, used, seed=0)


# losses of a grid whose settings are not in the order of their numbers
GRID = {(1e-2, 1e-4): 0.5, (1e-2, 0.0): 0.7, (1e-3, 1e-4): 0.3, (1e-3, 0.0): None}


def searched(copies=1):
    cells = [{"peak": peak, "weight_decay": decay} for peak, decay in GRID]
    outcomes = [
        {}
        if loss is None
        else {"validation_loss": loss, "validation_AUC": 1 - loss / 9}
        for loss in GRID.values()
    ]
    runs = {str(seed): constant(0.6 + 0.1 * seed, copies) for seed in range(2)}
    return grid.summarise(cells, outcomes, 2, runs, seed=0)


@pytest.mark.parametrize(
    ("make", "title", "caption"),
    [
        (summarised, "Label efficiency", "means over 3 seeds"),
        (searched, "Grid", "framed: the chosen one"),
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
    (tmp_path / "results.json").write_text(json.dumps(summarised()))
    (gallery,) = label_curves(read_run(tmp_path)).blocks
    assert "SimCLR 0.700 at 10 % and 0.767 at 100 %" in gallery.pictures[0].alt


def by_column(table):
    return [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]


def test_each_number_of_label_efficiency_is_under_its_name():
    found = summarised()
    means, gains = map(by_column, found["tables"])
    for row, fraction, examples in zip(
        means, (0.1, 1.0), ("5 to 7", "50 to 52"), strict=True
    ):
        assert row["labels"] == f"{100 * fraction:g} %"
        assert row["training examples"] == examples
        assert row["validation examples"] == "20"
        for name in ("SimCLR", "random"):
            values = AREAS[fraction, name]
            mean, deviation = np.mean(values), statistics.stdev(values)
            assert row[name].startswith(f"{mean:.3f} ± {deviation:.3f} (")
            known = found["values"][f"AUC, {name}, {fraction:g}"]
            assert known["value"] == pytest.approx(mean)
            assert known["low"] < known["value"] < known["high"]
    for row, fraction, above in zip(gains, (0.1, 1.0), (2, 0), strict=True):
        assert row["of"] == "SimCLR - random"
        apart = np.subtract(AREAS[fraction, "SimCLR"], AREAS[fraction, "random"])
        mean, deviation = apart.mean(), apart.std(ddof=1)
        told = row["mean ± deviation over seeds"]
        assert told == f"{mean:.3f} ± {deviation:.3f}"
        assert row["seeds above 0"] == f"{above} of 3"
        assert row["difference (95 % interval)"].startswith(f"{mean:+.3f} (")
        known = found["values"][f"AUC, SimCLR - random, {fraction:g}"]
        assert known["value"] == pytest.approx(mean)
    assert found["headline"].startswith("AUC of SimCLR - random: +0.100 (")
    curves = {curve["name"]: curve for curve in found["label_curves"]["curves"]}
    for (fraction, name), values in AREAS.items():
        place = curves[name]["fractions"].index(fraction)
        assert curves[name]["scores"][place] == pytest.approx(list(values))


def test_copies_of_patients_scans_do_not_narrow_the_curves_intervals():
    once, copied = (summarised(copies)["values"] for copies in (1, 4))
    for name, value in once.items():
        assert copied[name] == pytest.approx(value)


def test_of_many_shares_the_headline_tells_the_first_and_the_last():
    runs = {
        Place(share, name, 0): constant(0.5 + share / 5 + lead)
        for share in (0.1, 0.2, 0.3, 0.5, 1.0)
        for name, lead in (("a", 0.1 * share), ("b", 0.0))
    }
    found = summarise(runs, dict.fromkeys(runs, Used(9, 3, 5)), seed=0)
    told, validation = found["headline"].split("; ")
    first, last = told.split(", ")
    assert "+0.010" in first and first.endswith("with 10 %")
    assert "+0.100" in last and last.endswith("with 100 % of the training labels")
    assert "by 5 validation labels" in validation


def test_the_curves_are_those_of_the_seeds(tmp_path, monkeypatch):
    drawn = []

    def bands(lines, **labels):
        drawn.extend(lines)
        return figures.curves("", [], xlabel="")

    monkeypatch.setattr(protocol_figures, "bands", bands)
    (tmp_path / "results.json").write_text(json.dumps(summarised()))
    label_curves(read_run(tmp_path))
    for line in drawn:
        np.testing.assert_allclose(line.x, (10, 100))
        for place, fraction in enumerate((0.1, 1.0)):
            np.testing.assert_allclose(line.y[:, place], AREAS[fraction, line.name])
    assert [line.name for line in drawn] == ["SimCLR", "random"]


def test_a_band_is_from_the_lowest_to_the_highest_around_the_mean():
    x, y = np.array([10.0, 100.0]), np.array([[0.6, 0.8], [0.7, 0.9], [0.8, 0.7]])
    line = protocol_figures.Band("a", x, y)
    (axes,) = protocol_figures.bands([line], xlabel="", ylabel="").axes
    np.testing.assert_allclose(axes.lines[0].get_ydata(), (0.7, 0.8))
    (band,) = axes.collections
    (path,) = band.get_paths()
    for place, (low, high) in zip(x, ((0.6, 0.8), (0.7, 0.9)), strict=True):
        heights = path.vertices[path.vertices[:, 0] == place, 1]
        assert (heights.min(), heights.max()) == pytest.approx((low, high))


def test_with_one_share_of_the_labels_each_start_has_a_row_of_its_seeds(tmp_path):
    results = summarised()
    for curve in results["label_curves"]["curves"]:
        curve["fractions"] = curve["fractions"][1:]
        curve["scores"] = curve["scores"][1:]
    (tmp_path / "results.json").write_text(json.dumps(results))
    (room,) = label_curves(read_run(tmp_path)).blocks
    assert "at 100 %; random" in room.pictures[0].alt
    assert room.pictures[0].caption.endswith("random's mean.")

    lines = [
        protocol_figures.Band(
            name, np.array([100.0]), np.array(AREAS[1.0, name])[:, None]
        )
        for name in ("SimCLR", "random")
    ]
    (axes,) = protocol_figures.rows(lines, xlabel="AUC").axes
    through, *marks = axes.lines
    np.testing.assert_allclose(through.get_xdata(), np.mean(AREAS[1.0, "random"]))
    for row, (line, points, mean) in enumerate(
        zip(lines, marks[::2], marks[1::2], strict=True)
    ):
        np.testing.assert_allclose(points.get_xdata(), line.y[:, 0])
        np.testing.assert_allclose(mean.get_xdata(), line.y.mean())
        assert set(points.get_ydata()) == {row} == set(mean.get_ydata())
    assert [t.get_text() for t in axes.get_yticklabels()] == ["SimCLR", "random"]


def test_each_number_of_a_grid_is_under_its_name():
    found = searched()
    repeats, cells = map(by_column, found["tables"])
    row = next(row for row in repeats if row["metric"] == "AUC")
    assert (row["seed 0"], row["seed 1"]) == pytest.approx((0.6, 0.7))
    assert row["mean ± deviation"] == "0.650 ± 0.071"
    assert row["mean (95 % interval)"].startswith("0.650 (")
    assert found["values"]["AUC"]["value"] == pytest.approx(0.65)
    assert (
        "Chosen on validation: peak 0.001, weight_decay 0.0001. Test AUC 0.650"
        in (found["headline"])
    )
    marks = {(row["peak"], row["weight_decay"]): row[""] for row in cells}
    assert marks["0.001", "0.0001"] == "chosen" and marks["0.001", "0"] == "diverged"
    for row in cells:
        loss = GRID[float(row["peak"]), float(row["weight_decay"])]
        assert row["validation loss"] == loss
    axes = found["grid"]["axes"]
    laid = dict(
        zip(itertools.product(*axes.values()), found["grid"]["loss"], strict=True)
    )
    assert laid == GRID


def test_copies_of_patients_scans_do_not_narrow_the_interval_of_repeats():
    once, copied = (searched(copies)["values"]["AUC"] for copies in (1, 4))
    assert once["low"] < once["value"] < once["high"]
    for bound in ("low", "high"):
        assert copied[bound] == pytest.approx(once[bound])


def test_the_heat_map_is_of_the_losses_and_frames_the_chosen_one(tmp_path, monkeypatch):
    drawn = {}

    def heat_map(values, **around):
        drawn.update(around, values=values)
        return figures.curves("", [], xlabel="")

    monkeypatch.setattr(protocol_figures, "heat_map", heat_map)
    (tmp_path / "results.json").write_text(json.dumps(searched()))
    (gallery,) = grid_section(read_run(tmp_path)).blocks
    assert (drawn["ylabel"], drawn["xlabel"]) == ("weight decay", "learning rate")
    assert drawn["rows"] == ["0", "0.0001"] and drawn["columns"] == ["0.001", "0.01"]
    np.testing.assert_array_equal(drawn["values"], [[np.nan, 0.7], [0.3, 0.5]])
    assert drawn["chosen"] == (1, 0)
    assert "lowest 0.3 at peak 0.001, weight_decay 0.0001; 1 diverged" in (
        gallery.pictures[0].alt
    )


def test_the_interval_of_a_gain_over_seeds_is_that_of_the_mean_difference():
    rng = np.random.default_rng(1)
    runs, used, gains = {}, {}, []
    for seed in range(2):
        pair = [predictions(rng, skill) for skill in (1.0, 0.3)]
        for name, one in zip("ab", pair, strict=True):
            runs[Place(0.5, name, seed)] = one
            used[Place(0.5, name, seed)] = Used(40, 10, 5)
        gains.append([one.scores for one in pair])
    found = summarise(runs, used, seed=0)["values"]["AUC, a - b, 0.5"]

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


@pytest.mark.parametrize("count", [4, 5, 7])
def test_every_line_has_a_band_and_many_lines_have_panels_beside_the_last(count):
    x, y = np.array([10.0, 100.0]), np.array([[0.6, 0.8], [0.7, 0.9]])
    lines = [protocol_figures.Band(f"{i}", x, y + 0.01 * i) for i in range(count)]
    figure = protocol_figures.bands(lines, xlabel="", ylabel="")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    drawn = [lines] if count == 4 else [[lines[-1], line] for line in lines[:-1]]
    for axes, shown in zip(panels, drawn, strict=True):
        assert axes.get_legend_handles_labels()[1] == [line.name for line in shown]
        bands = [path for one in axes.collections for path in one.get_paths()]
        for line, mean, band in zip(
            shown, axes.lines[:: 1 + len(y)], bands, strict=True
        ):
            np.testing.assert_allclose(mean.get_ydata(), line.y.mean(0))
            heights = band.vertices[band.vertices[:, 0] == 10.0, 1]
            lowest, highest = line.y[:, 0].min(), line.y[:, 0].max()
            assert (heights.min(), heights.max()) == pytest.approx((lowest, highest))
        if count > 4:
            assert axes.get_title("left") == shown[1].name
            of_last, of_line = (axes.lines[at].get_color() for at in (0, 1 + len(y)))
            assert of_last == figures.GREY != of_line


def test_the_legend_of_panels_names_all_that_lines_are_measured_by():
    x, y = np.array([10.0, 100.0]), np.array([[0.6, 0.8], [0.7, 0.9]])
    against = {"a": "r", "b": "r", "c": "s", "r": "r", "s": "s"}
    lines = [protocol_figures.Band(n, x, y, other) for n, other in against.items()]
    (legend,) = protocol_figures.bands(lines, xlabel="", ylabel="").legends
    assert [text.get_text() for text in legend.texts] == ["r or s"]


def test_a_start_whose_interval_holds_0_is_not_said_to_be_ahead():
    same = constant(0.5)
    noisy = same._replace(measures={"AUC": lambda at: 0.51 + 0.1 * (np.mean(at) > 4)})
    runs = {Place(1.0, n, 0): x for n, x in (("a", noisy), ("b", same), ("c", same))}
    found = summarise(runs, dict.fromkeys(runs, Used(9, 3, 5)), seed=0)
    low = found["values"]["AUC, a - c, 1"]["low"]
    assert low > 0 and "with 100 % ahead a" in found["headline"]
    assert "not told apart b +0.000. " in found["headline"]


def test_of_many_starts_the_table_sets_each_against_the_last_the_largest_first():
    leads = {"a": 0.05, "b": 0.1, "c": -0.02, "random": 0.0}
    runs = {
        Place(share, name, 0): constant(0.5 + (1.2 - share) * lead)
        for share in (0.1, 1.0)
        for name, lead in leads.items()
    }
    found = summarise(runs, dict.fromkeys(runs, Used(9, 3, 5)), seed=0)
    gains = by_column(found["tables"][1])
    expected = [f"{name} - random" for name in ("b", "a", "c")]
    assert [row["of"] for row in gains] == [*expected, *expected]
    assert [row["labels"] for row in gains] == ["10 %"] * 3 + ["100 %"] * 3
    assert "Each against random" in found["tables"][1]["note"]
    assert found["headline"].startswith(
        "AUC against random: with 10 % ahead b +0.110, a +0.055, behind c -0.022; with "
        "100 % ahead b +0.020, a +0.010, behind c -0.004. Percentages are of the training"
    )
    pairs = [name for name in found["values"] if " - " in name]
    assert len(pairs) == 2 * 6
    assert found["values"]["AUC, b - c, 0.1"]["value"] == pytest.approx(1.1 * 0.12)


# five percentiles of each model, by view
BOXES = {
    "gamma": {"random": (-0.9, -0.4, -0.2, 0.1, 0.3), "SwAV": (-0.2, -0.1, 0, 0, 0.1)},
    "rotation": {"random": (-2, -1, 0, 1, 2), "SwAV": (-0.3, -0.2, -0.1, 0.2, 0.4)},
}


def test_a_models_box_is_in_its_row_under_each_view():
    figure = protocol_figures.boxes(BOXES, xlabel="")
    panels = [axes for axes in figure.axes if axes.get_visible()]
    for axes, (view, by_name) in zip(panels, BOXES.items(), strict=True):
        assert axes.get_title("left") == view
        for row, (box, expected) in enumerate(
            zip(axes.patches, by_name.values(), strict=True), 1
        ):
            x, y = box.get_path().vertices.T
            assert (x.min(), x.max()) == (expected[1], expected[3])
            assert y.min() < row < y.max()
        for row, expected in enumerate(by_name.values()):
            # two whiskers, their ends and the median, after the line at 0
            *whiskers, _, _, median = axes.lines[1 + 5 * row : 6 + 5 * row]
            assert set(median.get_xdata()) == {expected[2]}
            spans = [tuple(line.get_xdata()) for line in whiskers]
            assert spans == [(expected[1], expected[0]), (expected[3], expected[4])]
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["random", "SwAV"]
    assert figure.axes[0].yaxis_inverted()


def test_robustness_is_told_in_words_and_has_its_figure(tmp_path):
    found = {"headline": "", "tables": [], "roc": []}
    found["robustness"] = {"of": "probability of class 1", "boxes": BOXES}
    (tmp_path / "results.json").write_text(json.dumps(found))
    (gallery,) = robustness(read_run(tmp_path)).blocks
    told = (
        "class 1, medians: gamma: random -0.200, SwAV +0.000; rotation: random +0.000"
    )
    assert told in gallery.pictures[0].alt
    page = build(tmp_path, sections=SECTIONS).read_text()
    assert page.count("<img") == 1 and ">Robustness</h2>" in page


def course(name, fraction, mean, deviation=None, epochs=(1, 2), seeds=3):
    known = {"fraction": fraction, "name": name, "seeds": seeds}
    lists = {"epochs": epochs, "mean": mean, "deviation": deviation}
    return known | {k: v if v is None else list(v) for k, v in lists.items()}


def converged(tmp_path, *found):
    results = {"headline": "", "tables": [], "roc": [], "convergence": found}
    (tmp_path / "results.json").write_text(json.dumps(results))
    return convergence(read_run(tmp_path))


def test_curves_over_epochs_have_a_panel_for_each_share_and_a_look_for_each_start():
    numbers = np.array([1.0, 2.0]), np.array([0.5, 0.75]), np.array([0.125, 0.25])
    lines = {n: protocol_figures.Course(n, *numbers) for n in ("SwAV", "random")}
    panels = {"10 %": [lines["random"]], "100 %": [lines["SwAV"], lines["random"]]}
    figure = protocol_figures.courses(panels, xlabel="epoch", ylabel="AUC")
    few, all_ = (axes for axes in figure.axes if axes.get_visible())
    assert (few.get_title("left"), all_.get_title("left")) == ("10 %", "100 %")
    assert few.lines[0].get_color() == all_.lines[1].get_color()
    assert all_.lines[0].get_color() != all_.lines[1].get_color()
    np.testing.assert_allclose(few.lines[0].get_xydata(), [[1, 0.5], [2, 0.75]])
    (band,) = few.collections
    x, y = band.get_paths()[0].vertices.T
    for place, expected in ((1, (0.375, 0.625)), (2, (0.5, 1.0))):
        assert (y[x == place].min(), y[x == place].max()) == expected
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == ["random", "SwAV"]


@pytest.mark.parametrize("count", [4, 5])
def test_of_many_starts_over_epochs_no_band_hides_another(count):
    numbers = np.array([1.0, 2.0]), np.array([0.5, 0.75]), np.array([0.125, 0.25])
    lines = [protocol_figures.Course(f"{i}", *numbers) for i in range(count)]
    (axes,) = protocol_figures.courses({"": lines}, xlabel="", ylabel="").axes
    assert len(axes.lines) == count
    assert len(axes.collections) == (count if count == 4 else 0)


def test_convergence_shows_the_main_metric_and_those_of_detection(tmp_path):
    first = course("SwAV", 0.1, (0.5, 0.75), (0.1, 0.2)), course("a", 1.0, (0.2, 0.3))
    others = [
        {"metric": name, "curves": [course("SwAV", 1.0, (0.25, 0.5))]}
        for name in ("accuracy", "FROC")
    ]
    found = converged(tmp_path, {"metric": "Dice", "curves": first}, *others)
    dice, froc = found.blocks[0].pictures
    told = "over epochs, with 10 % of the labels: SwAV from 0.500 to 0.750; 100 %"
    assert dice.alt.startswith("Validation Dice") and told in dice.alt
    assert froc.alt.startswith("Validation FROC over epochs")
    assert "means over 3 seeds; bands: a deviation" in dice.caption
    assert found.blocks[0].least_rem == 44
    single = {"metric": "AUC", "curves": [course("SwAV", 1.0, (0.25, 0.5))]}
    assert converged(tmp_path, single).blocks[0].least_rem == 25  # one panel


def test_curves_without_an_epoch_are_left_out(tmp_path):
    empty = course("SwAV", 1.0, (), epochs=())
    known = course("a", 1.0, (0.2, 0.3), seeds=1)
    found = converged(tmp_path, {"metric": "AUC", "curves": [empty, known]})
    (picture,) = found.blocks[0].pictures
    assert "SwAV" not in picture.alt and "means over 1 seeds" not in picture.caption
    assert converged(tmp_path, {"metric": "AUC", "curves": [empty]}) is None
    assert converged(tmp_path) is None
