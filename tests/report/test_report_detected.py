"""Detected boxes in the report, by the pixels of their picture."""

import base64
import io

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from medssl_jax.report import figures
from medssl_jax.report.detected import detected
from medssl_jax.report.run import read_run

NODULE, MASS = (255 * np.array(to_rgb(colour)) for colour in figures.ON_SCANS[:2])
NONE = [0.0, 0.0, 0.0, 0.0, -1.0]


def pixels(folder, truth, found):
    """Return the picture of one black case, whose corner is white."""
    image = np.zeros((1, 20, 40, 1), np.float32)
    image[0, 0, 0] = 1
    arrays = {"missed": [0], "false": [0], "kinds": ["nodule", "mass"], "name": ["a"]}
    np.savez(
        folder / "detections.npz", image=image, truth=[truth], found=[found], **arrays
    )
    (picture,) = detected(read_run(folder)).blocks[0].pictures
    data = base64.b64decode(picture.source.partition(";base64,")[2])
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)


def near(image, colour):
    return np.abs(image - colour).max(axis=-1) < 12


def scan(picture):
    """Return where the case lies in its picture: what is black, without the legend."""
    black = near(picture, np.zeros(3))
    rows = np.flatnonzero(black.mean(axis=1) > 0.5)
    columns = np.flatnonzero(black.mean(axis=0) > 0.5)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def test_what_is_there_is_outlined_where_it_is(tmp_path):
    picture = pixels(tmp_path, [[0.25, 0.1, 0.75, 0.3, 1]], [[*NONE, 0.0]])
    case = picture[scan(picture)]
    line = near(case, MASS)
    assert not near(case, NODULE).any()
    rows, columns = np.nonzero(line)
    height, width = line.shape
    np.testing.assert_allclose(
        [rows.min() / height, columns.min() / width], [0.25, 0.1], atol=0.02
    )
    np.testing.assert_allclose(
        [rows.max() / height, columns.max() / width], [0.75, 0.3], atol=0.02
    )
    inner = line[int(0.35 * height) : int(0.65 * height)]
    assert not inner[:, int(0.15 * width) : int(0.25 * width)].any()


def test_what_was_found_is_dashed_with_its_probability(tmp_path):
    box = [0.25, 0.4, 0.75, 0.8]
    full = pixels(tmp_path, [[*box, 0]], [[*NONE, 0.0]])
    dashed = pixels(tmp_path, [NONE], [[*box, 0, 0.5]])
    where = scan(full)
    lines = [near(picture[where], NODULE) for picture in (full, dashed)]
    height, width = lines[0].shape
    side = (
        slice(int(0.3 * height), int(0.7 * height)),
        slice(int(0.37 * width), int(0.43 * width)),
    )
    drawn = [line[side].any(axis=1).mean() for line in lines]
    assert drawn[0] == 1 and 0.4 < drawn[1] < 0.9
    above = slice(int(0.1 * height), int(0.24 * height))  # letters have soft edges
    lit = [
        (picture[where][above].max(axis=-1) > 60).any() for picture in (full, dashed)
    ]
    assert lit == [False, True]


def test_a_run_without_detections_has_no_such_section(tmp_path):
    assert detected(read_run(tmp_path)) is None
