"""Segmented cases in the report, by the pixels of their pictures."""

import base64
import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from medssl_jax.evals.pictures import Pictures
from medssl_jax.evals.whole import Segmented
from medssl_jax.report import figures
from medssl_jax.report.build import build
from medssl_jax.report.run import read_run
from medssl_jax.report.scans import scan_grid
from medssl_jax.report.segmented import _draw, _fields, segmented

BLUE, RED = (255 * np.array(to_rgb(colour)) for colour in figures.COLOURS[:2])


def pixels(picture):
    data = base64.b64decode(picture.source.partition(";base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def shown(folder, cases, structures=("bone", "meniscus")):
    """Return the pictures of cases: name, score, record, what was found."""
    pictures = Pictures(structures)
    for name, score, record, found in cases:
        pictures.take(name, Segmented(record, found), score)
    pictures.save(folder / "cases.npz")
    return segmented(read_run(folder)).blocks[0].pictures


def black(mask, **others):
    image = np.zeros((*mask.shape[:2], 1), np.uint8)
    image[0, 0] = 255
    return {"image": image, "mask": mask, **others}


def squares():
    truth, found = np.zeros((2, 20, 20), np.uint8)
    truth[2:10, 2:10], found[8:18, 8:18] = 1, 2
    return truth, found


def near(image, colour):
    return np.abs(image - colour).max(axis=-1) < 12


def test_what_is_true_is_outlined_and_what_is_found_is_filled(tmp_path):
    truth, found = squares()
    (picture,) = shown(tmp_path, [("a", 0.5, black(truth), found)])
    image = pixels(picture)
    overlay = image[: int(image.shape[0] * 0.85), image.shape[1] // 2 :]
    side = overlay.shape[1] / 20  # pixels of a voxel
    # a line around 8 by 8 voxels, some pixels thick, and nothing within it
    assert 32 * side < near(overlay, BLUE).sum() < 6 * 32 * side
    assert near(overlay, 0.4 * BLUE).sum() < side**2  # rims of the line
    inside = slice(int(3.5 * side), int(7 * side))  # of the outlined box alone
    assert not near(overlay[inside, inside], 0.4 * BLUE).any()
    filled = near(overlay, 0.4 * RED).sum() / side**2
    assert filled == pytest.approx(10 * 10, rel=0.1)
    assert near(overlay, RED).sum() < side**2
    inside = slice(int(11 * side), int(16.5 * side))  # of the filled box alone
    assert not near(overlay[inside, inside], RED).any()


def test_voxels_are_as_high_as_their_spacing_says(tmp_path):
    truth, found = squares()
    flat = [("a", 0.5, black(truth, spacing_mm=(1.0, 1.0)), found)]
    tall = [("a", 0.5, black(truth, spacing_mm=(2.0, 1.0)), found)]
    height, twice = (len(pixels(*shown(tmp_path, cases))) for cases in (flat, tall))
    title_and_legend = 0.55 * 160
    expected = 2 * (height - title_and_legend)
    assert twice - title_and_legend == pytest.approx(expected, rel=0.02)


def test_slices_are_counted_from_1(finished_run):
    cases = read_run(finished_run).cases
    drawn = _draw(_fields(cases, "best"), ["bone", "meniscus"])
    titles = [axes.get_title(loc="left") for axes in drawn.axes]
    assert titles == ["slice 5", "slice 8", "", ""]


def test_slices_go_through_what_is_there_each_once(tmp_path):
    mask = np.zeros((30, 8, 8), np.uint8)
    mask[11:15, 2:6, 2:6] = 1
    record = {"image": np.random.default_rng(0).random((30, 8, 8, 1)), "mask": mask}
    shown(tmp_path, [("a", 0.5, record, mask)])
    arrays = np.load(tmp_path / "cases.npz")
    assert arrays["best/slices"].tolist() == [11, 12, 13]
    np.testing.assert_array_equal(arrays["best/truth"], mask[11:14])
    mask[12:] = 0
    shown(tmp_path, [("a", 0.5, record, mask)])
    assert np.load(tmp_path / "cases.npz")["best/slices"].tolist() == [11]


def test_the_worst_the_middle_and_the_best_are_shown_and_none_twice(tmp_path):
    truth, found = squares()
    cases = [(str(score), score, black(truth), found) for score in (0.5, 0.2, 0.9)]
    captions = [one.caption for one in shown(tmp_path, cases)]
    starts = ["Worst case, 0.2", "Middle case, 0.5", "Best case, 0.9"]
    assert all(map(str.startswith, captions, starts))
    unscored = [("b", float("nan"), black(truth), found)]
    (picture,) = shown(tmp_path, [*cases[:1], *unscored])
    assert picture.caption.startswith("Worst, middle, best case, 0.5, Dice 0.500.")


def test_overlapping_regions_and_colour_images_are_drawn(tmp_path):
    truth = np.zeros((20, 20, 2), np.uint8)
    truth[2:16, 2:16], truth[6:12, 6:12, 1] = (1, 0), 1
    record = {"image": np.full((20, 20, 3), (200, 0, 0), np.uint8), "mask": truth}
    (picture,) = shown(tmp_path, [("a", 1.0, record, truth > 0)], ("whole", "core"))
    assert "with whole, core." in picture.alt
    image = pixels(picture)
    inside = image[: image.shape[0] // 2, : image.shape[1] // 2]
    assert near(inside, np.array([200, 0, 0])).mean() > 0.8
    both = 0.6 * (0.6 * np.array([200, 0, 0]) + 0.4 * BLUE) + 0.4 * RED
    assert near(image, both).any()


def test_a_run_without_segmented_cases_has_no_such_section(tmp_path):
    assert "Segmented cases" not in build(tmp_path).read_text()


def test_sections_that_cases_cannot_fill_are_left_out(tmp_path):
    titles = ("ROC curves", "Embedding spread", "Embedding projections", "Predictions")
    truth, found = squares()
    page = build(tmp_path).read_text()
    assert all(title in page for title in titles)
    shown(tmp_path, [("a", 0.5, black(truth), found)])
    page = build(tmp_path).read_text()
    assert not any(title in page for title in titles) and "Data left out" in page
    with open(tmp_path / "predictions.csv", "w") as file:  # a second evaluator's
        file.write("name\na\n")
    assert "Predictions" in build(tmp_path).read_text()


def test_the_mask_that_was_fed_lies_in_colour_on_its_view():
    view = np.zeros((1, 8, 8, 1), np.float32)
    view[:, :4] = 1
    mask = np.zeros((1, 8, 8), np.uint8)
    mask[:, 4:6], mask[:, 6:] = 1, 2
    (picture,) = scan_grid({"source": view, "image": view, "mask": mask}).pictures
    image = pixels(picture)
    third = image[:, image.shape[1] * 2 // 3 :]
    assert near(third, BLUE / 2).any() and near(third, RED / 2).any()
    assert not near(image[:, : image.shape[1] * 2 // 3], BLUE / 2).any()
    assert "each with its views (image)" in picture.alt
