"""Sections on input that is thin, flat, unlabelled, coloured or collapsed."""

import base64
import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from medssl_jax.report import embedding, figures, projection
from medssl_jax.report.blocks import Stack, cell, plain, shown
from medssl_jax.report.build import build
from medssl_jax.report.curves import training_curves
from medssl_jax.report.figures import moving_average
from medssl_jax.report.projection import projections
from medssl_jax.report.reconstructed import reconstructed
from medssl_jax.report.run import read_run
from medssl_jax.report.scans import scan_grid
from medssl_jax.report.sections import curves, roc, summary, views, what_ran


def _by_column(table):
    """Return a table's rows by their first cell, each cell by its column's name."""
    return {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}


def _pixels(picture):
    data = base64.b64decode(picture.source.partition(";base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def _change_results(folder, change):
    path = folder / "results.json"
    results = json.loads(path.read_text())
    change(results)
    path.write_text(json.dumps(results))
    return read_run(folder)


def test_a_cell_is_written_for_people():
    values = [0.71249, 3, 12345, True, None, float("nan"), 2e-7, 0.0, "a"]
    written = [cell(value) for value in values]
    assert written == ["0.712", "3", "12,345", "yes", "–", "–", "2e-07", "0.000", "a"]


def test_a_cell_that_is_too_wide_breaks_before_an_interval_and_behind_an_underscore():
    assert shown("+0.1 (+0.0 to +0.2) *") == "+0.1 (+0.0\u00a0to\u00a0+0.2)\u00a0*"
    assert shown("10 %, 100 %") == "10\u00a0%, 100\u00a0%"
    assert shown("relative_<b>") == "relative_<wbr>&lt;b&gt;"


def test_a_cell_of_csv_has_every_digit_and_nothing_that_a_spreadsheet_computes():
    values = [0.1 + 0.2, 12345, True, None, float("nan"), "=1+1", "+0.1 (0 to 1)", "a"]
    written = [plain(value) for value in values]
    digits = "0.30000000000000004"
    apart = ["'=1+1", "'+0.1 (0 to 1)", "a"]
    assert written == [digits, "12345", "yes", "", "", *apart]


def test_moving_average_is_of_the_window_around_each_point():
    y = np.random.default_rng(0).normal(size=500)
    x, mean = moving_average(np.arange(500) * 2, y)
    assert len(x) == len(mean) == 490
    assert x[100] == 2 * 105
    assert mean[100] == pytest.approx(y[100:111].mean())


def test_a_metric_and_its_validation_share_a_figure():
    losses = [(10, 2.0, 4.0), (20, 1.0, 2.0), (40, 1.5, 3.0)]
    lines = [{"step": s, "loss": x, "val_loss": y} for s, x, y in losses]
    (picture,) = training_curves([*lines, {"step": 50, "note": "text", "loss": None}])
    assert picture.alt == (
        "Loss against micro-batches: training starts at 2, ends at 1.5, lowest 1 at 20, "
        "highest 2; validation starts at 4, ends at 3, lowest 2 at 20, highest 4."
    )


def test_what_is_known_comes_first_and_nothing_logged_is_left_out():
    line = {"step": 0, "update": 0, "epoch": 0, "other": 1, "tau": 1.0, "loss": 1.0}
    titles = [p.alt.partition(" against")[0] for p in training_curves([line])]
    assert titles == ["Loss", "Target decay tau", "other"]


@pytest.mark.parametrize(("noise", "smoothed"), [(0.0, False), (0.3, True)])
def test_noise_is_smoothed_and_a_schedule_is_not(noise, smoothed):
    rng = np.random.default_rng(0)
    values = np.sin(np.linspace(0, 3, 300)) + noise * rng.normal(size=300)
    (picture,) = training_curves([{"step": i, "lr": v} for i, v in enumerate(values)])
    assert picture.caption.startswith("Pale") == smoothed


def test_the_result_of_a_collapsed_run_is_set_apart(run_folder):
    def collapse(results):
        results["collapse"]["pretrained"]["std"] = 1e-4
        results["headline"] = "Collapsed: all inputs get nearly one embedding."

    (headline,) = summary(read_run(run_folder))
    assert headline.tone == "lead"
    (headline,) = summary(_change_results(run_folder, collapse))
    assert headline.tone == "bad"
    page = build(run_folder).read_text()
    assert page.count("Collapsed") == 1  # not once more beside its numbers


def test_what_training_ended_with_is_told_and_not_what_it_began_with(run_folder):
    lines = [{"step": s, "loss": 1.0, "verdict": f"stuck at {s}"} for s in (1, 2)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (run_folder / "metrics.jsonl").write_text(text)
    _, wrong = summary(read_run(run_folder))
    assert wrong.text == "As training ended: stuck at 2." and wrong.tone == "bad"


def test_each_fact_of_a_run_is_under_its_name(finished_run):
    facts, data, _ = what_ran(read_run(finished_run)).blocks
    told = dict(facts.rows)
    assert told["took"] == "4 min 32 s" and told["parameters"] == "523,456"
    row = _by_column(data)["train"]
    assert (row["examples"], row["patients"]) == (256, 240)
    assert row["label: examples"] == "0: 140, 1: 116"
    assert row["with repeated frames"] == 3


def test_each_measure_of_the_spread_is_under_its_name(finished_run):
    run = read_run(finished_run)
    table, _ = embedding.embedding(run).blocks
    for name, row in _by_column(table).items():
        found = run.results["collapse"][name]
        assert row["spread"] == found["std"]
        assert row["mean cosine"] == found["mean_cosine"]
        assert row["effective rank"] == f"{found['rank']:.1f} of {found['most']:.0f}"
        assert row["RankMe"] == f"{found['rankme']:.1f}"


def test_singular_values_are_over_the_largest_of_their_encoder():
    z = np.random.default_rng(0).normal(size=(50, 4)) * (8, 4, 2, 1) + 3
    (axes,) = figures.spectrum({"a": z, "b": 10 * z}).axes
    values = np.linalg.svd(z - z.mean(axis=0), compute_uv=False)
    for line in axes.lines:
        np.testing.assert_allclose(line.get_ydata(), values / values[0])


def test_a_roc_curve_is_sensitivity_over_false_positives(finished_run, monkeypatch):
    drawn = {}

    def seen(curves):
        drawn.update(curves)
        return figures.curves("", [], xlabel="")

    run = read_run(finished_run)
    whole = figures.roc
    monkeypatch.setattr(figures, "roc", seen)
    (gallery,) = roc(run).blocks
    for entry in run.results["roc"]:
        labels, scores = np.array(entry["labels"]), np.array(entry["scores"])
        name = f"{entry['name']}, AUC {roc_auc_score(labels, scores):.3f}"
        assert name in gallery.pictures[0].alt
        false, true = drawn[name]
        assert np.trapezoid(true, false) == pytest.approx(roc_auc_score(labels, scores))
    (axes,) = whole({"a": (np.array([0.0, 0.1, 1]), np.array([0.0, 0.8, 1]))}).axes
    _, curve = axes.lines
    assert curve.get_xydata().tolist() == [[0, 0], [0.1, 0.8], [1, 1]]
    assert axes.get_xlabel() == "1 - specificity"


def test_a_run_without_labels_has_no_tables_and_says_so(run_folder):
    _change_results(run_folder, lambda results: results.pop("tables"))
    page = build(run_folder).read_text()
    assert "there are no tables" in page


def test_curves_of_one_class_are_left_out(run_folder):
    def one_class(results):
        results["roc"][0]["labels"] = [1] * len(results["roc"][0]["labels"])

    (gallery,) = roc(_change_results(run_folder, one_class)).blocks
    assert "untrained" in gallery.pictures[0].alt
    assert "pretrained" not in gallery.pictures[0].alt
    run = _change_results(run_folder, lambda results: results.update(roc=[]))
    assert roc(run).blocks[0].tone == "missing"


def test_projection_states_the_variance_it_holds(monkeypatch):
    monkeypatch.setattr(projection, "_LEAST", 1000)  # no t-SNE: it takes seconds
    rng = np.random.default_rng(0)
    z = (rng.normal(size=(60, 9)) * np.arange(1, 10)).astype(np.float32)
    _, gallery = projections({"pretrained": z}, rng.integers(-1, 2, 60))
    (picture,) = gallery.pictures
    held = PCA().fit(z).explained_variance_ratio_[:2].sum()
    assert (
        picture.caption
        == f"PCA of 60 embeddings; the two axes hold {held:.0%} of the variance."
    )
    assert "60 points coloured by 2 labels" in picture.alt


def _empty():
    return figures.curves("", [], xlabel="")


def test_many_embeddings_are_thinned_and_flat_ones_named(monkeypatch):
    monkeypatch.setattr(projection, "_LEAST", 1000)
    rng = np.random.default_rng(0)
    embeddings = {
        "pretrained": rng.normal(size=(800, 4)).astype(np.float32),
        "untrained": np.ones((800, 4), np.float32),
    }
    _, flat, gallery = projections(embeddings, np.full(800, -1))
    assert flat.text == "All embeddings of the untrained encoder are one point."
    assert [p.alt for p in gallery.pictures] == [
        "Scatter plot: pretrained, PCA, 500 points without labels."
    ]
    seen = []
    monkeypatch.setattr(
        figures, "scatter", lambda *args, **_: seen.append(args[2]) or _empty()
    )
    projections(embeddings, np.arange(800))
    chosen = seen[0]  # some from all over, each with its own label
    assert len(set(chosen)) == 500 and chosen.max() > 700


def test_embeddings_that_are_not_finite_are_not_projected(run_folder):
    z = np.full((5, 3), np.nan, np.float32)
    np.savez(run_folder / "embeddings.npz", pretrained=z, labels=np.zeros(5, int))
    (block,) = embedding.projection(read_run(run_folder)).blocks
    assert block.text.startswith("No encoder's embeddings are finite")


def test_of_findings_the_first_one_colours_the_embeddings(run_folder, monkeypatch):
    monkeypatch.setattr(projection, "_LEAST", 1000)
    arrays = dict(np.load(run_folder / "embeddings.npz"))
    findings = np.stack([np.arange(200) % 3 - 1, np.ones(200, int)], axis=1)
    arrays |= {"labels": findings, "label_names": np.array(["edema", "pus"])}
    np.savez(run_folder / "embeddings.npz", **arrays)
    *_, gallery = embedding.projection(read_run(run_folder)).blocks
    assert all("by 2 labels of edema" in p.alt for p in gallery.pictures)


def _grid(source, first, second):
    gallery = scan_grid({"source": source, "first": first, "second": second})
    return _pixels(gallery.pictures[0])


def test_views_share_one_scale_of_brightness():
    # the second view is half as bright: on scales of their own both would be white
    first = np.zeros((1, 8, 8, 1), np.float32)
    first[:, :, 4:] = 1.0
    image = _grid(first, first, first / 2)
    row = image[image.shape[0] * 2 // 3, :, 0]
    third = len(row) // 3
    assert row[third + third * 3 // 4] > 240
    assert 100 < row[2 * third + third * 3 // 4] < 155


def test_views_of_another_size_are_in_another_unit_and_have_a_scale_of_their_own():
    # standardised patches reach much farther than images in [0, 1]
    image = np.zeros((1, 8, 8, 1), np.float32)
    image[:, :, 4:] = 1.0
    patch = np.full((1, 4, 4, 1), -9.0, np.float32)
    patch[:, :, 2:] = 9.0
    drawn = _grid(image, image, patch)
    row = drawn[drawn.shape[0] * 2 // 3, :, 0]
    third = len(row) // 3
    dark, bright = row[third + third // 4], row[third + third * 3 // 4]
    assert dark < 10 and bright > 240


def test_names_of_many_views_are_whole_and_apart():
    image = np.full((1, 8, 8, 1), 0.5, np.float32)
    names = [f"relative_patch_location_images {i}" for i in range(1, 9)]
    (picture,) = scan_grid({"source": image} | dict.fromkeys(names, image)).pictures
    drawn = _pixels(picture)
    ink = drawn[: drawn.shape[0] // 3, :, 0] < 128
    assert ink.any() and not ink[0].any()  # no name is cut
    columns = np.array_split(ink.any(axis=0), len(names) + 1)
    assert all(not column[:2].any() for column in columns)  # nor runs into another


def test_colour_images_stay_in_colour():
    red = np.zeros((2, 8, 8, 3), np.uint8)
    red[..., 0] = 255
    image = _grid(red, red, red)
    centre = image[image.shape[0] * 2 // 3, image.shape[1] // 6]
    assert centre.tolist() == [255, 0, 0]


def test_views_of_fewer_slices_move_with_their_scan():
    scan = np.zeros((5, 9, 8, 8, 1), np.float32)
    stack = scan_grid({"source": scan, "first": scan[:, ::2], "mask": scan[..., 0]})
    assert isinstance(stack, Stack) and len(stack.groups) == 4
    assert [panel.title for panel in stack.groups[0]] == ["scan", "first view"]
    corners = stack.sheets[1].corners
    of_places = [stack.corner(1, place) for place in range(9)]
    assert of_places == [corners[i] for i in (0, 0, 1, 2, 2, 2, 3, 4, 4)]
    assert stack.places[0] == "slice 1 of 9" and stack.stills == [2, 4, 6]


def test_volumes_share_one_scale_of_brightness():
    first = np.zeros((1, 2, 8, 8, 1), np.float32)
    first[..., 4:, :] = 1.0
    stack = scan_grid({"source": first, "first": first, "second": first / 2})
    scan, first, second = (_pixels(sheet) for sheet in stack.sheets)
    assert scan.max() > 250 and first.max() > 250 and abs(second.max() - 127) < 5


def test_reconstructions_of_volumes_are_scrolled_through(tmp_path):
    image = np.random.default_rng(0).random((2, 6, 8, 8, 1), np.float32)
    hidden = np.zeros(image.shape[:-1], bool)
    hidden[:, 3] = True
    made = {"image": image, "hidden": hidden, "corrupted": image}
    np.savez(tmp_path / "reconstructions.npz", reconstruction=image / 2, **made)
    (stack,) = reconstructed(read_run(tmp_path)).blocks
    names = ["image", "hidden", "corrupted", "reconstruction", "completed"]
    assert [panel.title for panel in stack.groups[1]] == names
    assert stack.places[-1] == "slice 6 of 6" and len(stack.sheets) == 10
    assert stack.stills == [2]  # of five side by side, one on paper
    sheet = stack.sheets[1]
    x, y = map(int, sheet.corners[3].split())
    white = _pixels(sheet)[..., 0] > 200
    assert white[y : y + 8, x : x + 8].all()
    assert white.sum() == 10 * 10  # that frame and its rim


def test_no_figure_is_left_in_pyplot():
    figures.uri(figures.roc({"a": (np.array([0.0, 1.0]), np.array([0.0, 1.0]))}))
    plotting = sys.modules.get("matplotlib.pyplot")
    assert plotting is None or not plotting.get_fignums()


def test_a_name_that_looks_like_mathematics_is_a_name():
    """Texts of users are no markup: matplotlib would parse $...$, and fail on a$^$b."""
    for draw in (
        lambda name: figures.curves(
            "x", [figures.Line(name, np.arange(3), np.arange(3.0))] * 2, xlabel=name
        ),
        lambda name: figures.roc({name: (np.array([0.0, 1.0]), np.array([0.0, 1.0]))}),
    ):
        assert figures.uri(draw("a$^$b")).startswith("data:image/svg")


def test_no_figure_of_a_report_shows_mathematics_as_it_is_written(run_folder):
    run = read_run(run_folder)
    for section in (embedding.embedding(run), curves(run), roc(run)):
        for block in section.blocks:
            for picture in getattr(block, "pictures", ()):
                coded = picture.source.partition(";base64,")[2]
                assert b"$" not in base64.b64decode(coded)


def test_a_method_whose_views_are_no_images_says_so(tmp_path):
    np.savez(tmp_path / "views.npz", source=np.zeros((2, 4, 8, 8, 1)))
    (block,) = views(read_run(tmp_path)).blocks
    assert block.text == "The method has no view that is an image, so none are shown."
