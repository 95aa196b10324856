"""Segmented cases in the report, by the pixels of their pictures."""

import base64
import io

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from medssl_jax.evals import frames
from medssl_jax.evals.pictures import Pictures
from medssl_jax.evals.whole import Segmented
from medssl_jax.report import figures
from medssl_jax.report.build import build
from medssl_jax.report.run import read_run
from medssl_jax.report.scans import scan_grid
from medssl_jax.report.segmented import segmented

FIRST, SECOND = (255 * np.array(to_rgb(figures.on_scans(k))) for k in range(2))


def pixels(picture):
    data = base64.b64decode(picture.source.partition(";base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def shown(folder, cases, structures=("bone", "meniscus")):
    """Return the blocks of cases: name, score, record, what was found; of 2D pictures."""
    pictures = Pictures(structures)
    for name, score, record, found in cases:
        pictures.take(name, Segmented(record, found), score)
    pictures.save(folder / "cases.npz")
    blocks = segmented(read_run(folder)).blocks
    return getattr(blocks[0], "pictures", blocks)


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
    assert 32 * side < near(overlay, FIRST).sum() < 6 * 32 * side
    assert near(overlay, 0.5 * FIRST).sum() < side**2  # rims of the line
    inside = slice(int(3.5 * side), int(7 * side))  # of the outlined box alone
    assert not near(overlay[inside, inside], 0.5 * FIRST).any()
    filled = near(overlay, 0.5 * SECOND).sum() / side**2
    assert filled == pytest.approx(10 * 10, rel=0.1)
    assert near(overlay, SECOND).sum() < side**2
    inside = slice(int(11 * side), int(16.5 * side))  # of the filled box alone
    assert not near(overlay[inside, inside], SECOND).any()


def test_voxels_are_as_high_as_their_spacing_says(tmp_path):
    truth, found = squares()
    flat = [("a", 0.5, black(truth, spacing_mm=(1.0, 1.0)), found)]
    tall = [("a", 0.5, black(truth, spacing_mm=(2.0, 1.0)), found)]
    height, twice = (len(pixels(*shown(tmp_path, cases))) for cases in (flat, tall))
    title_and_legend = 0.55 * 160
    expected = 2 * (height - title_and_legend)
    assert twice - title_and_legend == pytest.approx(expected, rel=0.02)


def frames_of(sheet):
    """Return the frames of a sheet as a browser cuts them out, in RGBA."""
    data = base64.b64decode(sheet.source.partition(";base64,")[2])
    image = np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))
    assert image.shape[:2] == (sheet.high, sheet.wide)
    corners = [[int(x) for x in corner.split()] for corner in sheet.corners]
    high, wide = sheet.frame_high, sheet.frame_wide
    return np.stack([image[y : y + high, x : x + wide] for x, y in corners])


def ramp(count=9, side=16, **others):
    """Return a volume whose slices are each brighter than the one before, unmarked."""
    image = np.linspace(0, 1, count, dtype=np.float32).reshape(count, 1, 1, 1)
    image = np.broadcast_to(image, (count, side, side, 1))
    mask = np.zeros((count, side, side), np.uint8)
    return {"image": image, "mask": mask, **others}


def test_every_slice_of_a_volume_is_there_in_order_and_named(finished_run, tmp_path):
    record = ramp()
    record["mask"][3:6, 4:12, 4:12] = 1
    (stack,) = shown(tmp_path, [("a", 0.5, record, record["mask"])])
    grey = frames_of(stack.sheets[0])[..., 0]
    expected = np.linspace(0, 255, 9)[:, None, None]
    assert np.abs(grey - expected).max() < 4
    assert stack.places == [f"slice {i}" for i in range(1, 10)]
    assert stack.stills == [3, 4, 5]  # where something is
    corners = stack.sheets[0].corners
    assert [stack.corner(0, place) for place in range(9)] == corners
    of_an_older_run = segmented(read_run(finished_run)).blocks[0]
    assert of_an_older_run.places == ["slice 5", "slice 8"]


def test_a_volumes_truth_is_outlined_and_what_was_found_filled(tmp_path):
    record, found = ramp(), np.zeros((9, 16, 16), np.uint8)
    record["mask"][2, 2:8, 2:8], found[2, 6:14, 6:14] = 1, 2
    (stack,) = shown(tmp_path, [("a", 0.5, record, found)])
    image, masks = stack.groups[0]
    assert image.layers == [0] and masks.layers == [0, 1]
    laid = frames_of(stack.sheets[1])
    finer = laid.shape[1] // 16
    assert finer > 8  # an outline is thinner than a voxel
    assert not laid[np.arange(9) != 2].any()
    line, filled = laid[2][..., 3] == 255, np.abs(laid[2][..., 3] - 127.5) < 1
    assert near(laid[2][line][:, :3], FIRST).all()
    assert line.sum() == 4 * 6 * finer - 4
    assert near(laid[2][filled][:, :3], SECOND).all()
    # under the line nothing is filled
    assert filled.sum() == 8 * 8 * finer**2 - line[6 * finer :, 6 * finer :].sum()
    assert dict(stack.key) == {
        "bone": figures.on_scans(0),
        "meniscus": figures.on_scans(1),
    }


def test_a_volumes_voxels_are_as_high_as_their_spacing_says(tmp_path):
    record = ramp(spacing_mm=(5.0, 2.0, 1.0))
    (stack,) = shown(tmp_path, [("a", 0.5, record, record["mask"])])
    assert stack.groups[0][0].ratio == 0.5


def test_of_many_slices_those_around_what_is_there_are_kept(tmp_path):
    record = ramp(200, side=4)
    record["mask"][150:153] = 1
    (stack,) = shown(tmp_path, [("a", 0.5, record, record["mask"])])
    kept = [int(place.split()[1]) - 1 for place in stack.places]
    assert kept == list(range(120, 184))
    record["mask"][10:150] = 1
    (stack,) = shown(tmp_path, [("a", 0.5, record, record["mask"])])
    kept = [int(place.split()[1]) - 1 for place in stack.places]
    assert kept == list(range(10, 153, 3))


def test_large_slices_are_kept_small_and_masks_stay_in_their_place(tmp_path):
    image = np.zeros((2, 600, 300, 1), np.float32)
    image[:, 300:, 150:] = 1
    mask = (image[..., 0] > 0).astype(np.uint8)
    shown(tmp_path, [("a", 0.5, {"image": image, "mask": mask}, mask)])
    with np.load(tmp_path / "cases.npz") as arrays:
        assert arrays["best/image"].shape == (2, 256, 128)
        assert arrays["best/image"].dtype == arrays["best/truth"].dtype == np.uint8
        np.testing.assert_array_equal(arrays["best/image"] > 127, arrays["best/truth"])
        assert arrays["best/found"].sum() == 2 * 128 * 64


def test_a_smaller_pixel_is_the_mean_of_those_in_its_place():
    image = np.random.default_rng(0).random((2, 12, 18, 2), np.float32)
    expected = image.reshape(2, 4, 3, 6, 3, 2).mean(axis=(2, 4))
    found = frames.shrunk(image, 6, mean=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_array_equal(
        frames.shrunk(image, 6, mean=False), image[:, 1::3, 1::3]
    )
    assert frames.shrunk(image, 18, mean=True) is image


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
    both = 0.5 * (0.5 * np.array([200, 0, 0]) + 0.5 * FIRST) + 0.5 * SECOND
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
    assert near(third, FIRST / 2).any() and near(third, SECOND / 2).any()
    assert not near(image[:, : image.shape[1] * 2 // 3], FIRST / 2).any()
    assert "each with its views (image)" in picture.alt
