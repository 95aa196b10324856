"""The section on the attention channel: what is seen, and nothing where there is none."""

import base64
import io

import numpy as np
from matplotlib.colors import to_rgb
from PIL import Image

from medssl_jax.report import figures
from medssl_jax.report.build import build
from medssl_jax.report.mapped import mapped
from medssl_jax.report.protocols import SECTIONS
from medssl_jax.report.run import read_run


def arrays(count=8):
    random = np.random.default_rng(0)
    mask = np.zeros((count, 12, 10), bool)
    mask[: count // 2, 4:7, 3:6] = True
    return {
        "image": random.random((count, 12, 10), np.float32),
        "map": 0.8 * mask.astype(np.float32),
        "mask": mask,
        "name": np.array([f"brain {i}, slice 1 of 2" for i in range(count)]),
        "label": (np.arange(count) < count // 2).astype(int),
        "probability": np.linspace(0.1, 0.9, count),
    }


def test_slices_are_counted_and_captioned(tmp_path):
    np.savez(tmp_path / "mapped.npz", **arrays())
    page = build(tmp_path, sections=SECTIONS).read_text()
    assert "Attention channel" in page
    assert "8 test slices, 4 of them with lesions" in page


def test_a_map_is_a_colour_where_something_was_found_as_strong_as_it_is(tmp_path):
    one = arrays(1) | {"image": np.zeros((1, 12, 10), np.float32)}
    one["image"][0, 0, 0], one["mask"] = 1, np.zeros((1, 12, 10), bool)
    one["map"] = np.zeros((1, 12, 10), np.float32)
    one["map"][0, 6:, :5], one["map"][0, 6:, 5:] = 1, 0.5  # below
    np.savez(tmp_path / "mapped.npz", **one)
    (picture,) = mapped(read_run(tmp_path)).blocks[0].pictures
    data = base64.b64decode(picture.source.partition(";base64,")[2])
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(float)
    colour = 0.7 * 255 * np.array(to_rgb(figures.ON_SCANS[1]))

    def found(share):
        return np.argwhere(np.abs(pixels - share * colour).max(axis=-1) < 4)

    surest, less, black = found(1), found(0.5), found(0)
    assert abs(len(surest) / len(less) - 1) < 0.05
    assert abs(len(black) / len(less) - 2) < 0.2  # but for the corner
    assert surest[:, 1].mean() < less[:, 1].mean()
    assert black[:, 0].mean() < surest[:, 0].mean()


def test_without_maps_there_is_no_section(tmp_path):
    (tmp_path / "results.json").write_text(
        '{"headline": "", "tables": [], "roc": [], "values": {}}'
    )
    assert "Attention channel" not in build(tmp_path, sections=SECTIONS).read_text()
