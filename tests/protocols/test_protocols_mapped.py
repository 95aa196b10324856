"""Slices for the report: the misjudged first, each with its own map and mask."""

import numpy as np
import pytest

from medssl_jax.data.attended import Attended, write_map
from medssl_jax.data.slices import Slices, Slicing
from medssl_jax.data.source import Examples
from medssl_jax.protocols.mapped import write_mapped

DEPTH = 6


def read(name, dtype=np.float16):
    k = int(name)
    image = np.arange(DEPTH * 4).reshape(DEPTH, 2, 2, 1) / 64 + k / 8
    mask = np.zeros((DEPTH, 2, 2), np.uint8)
    mask[:3, 0, k] = 1  # half of the slices have a lesion
    image = (255 * image).round() if dtype == np.uint8 else image
    return {"image": image.astype(dtype), "mask": mask}


@pytest.mark.parametrize("dtype", [np.float16, np.uint8])
def test_of_both_labels_those_come_first_that_are_least_likely_what_they_are(
    tmp_path, dtype
):
    volumes = Examples(["0", "1"], lambda name: read(name, dtype), has_masks=True)
    maps = np.random.default_rng(0).random((2, DEPTH, 2, 2))
    for i in range(2):
        write_map(tmp_path, volumes, i, maps[i])
    source = Attended(Slices(volumes, Slicing(DEPTH, 0, 1, 1)), str(tmp_path))
    names = [source.name(i) for i in range(12)]
    scores = np.array([5, 1, 9, 0, 2, 11, 3, 8, 4, 10, 6, 7]) / 12
    order = np.random.default_rng(1).permutation(12)
    write_mapped(
        tmp_path / "mapped.npz", source, [names[i] for i in order], scores[order]
    )
    with np.load(tmp_path / "mapped.npz") as found:
        chosen = [1, 6, 7, 2, 5, 9, 11, 10]
        assert found["name"].tolist() == [names[i] for i in chosen]
        assert found["label"].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
        np.testing.assert_array_equal(found["probability"], scores[chosen])
        for place, i in enumerate(chosen):
            volume, middle = divmod(i, DEPTH)
            whole = read(str(volume))
            expected = whole["image"][middle, ..., 0]
            np.testing.assert_allclose(found["image"][place], expected, atol=3e-3)
            np.testing.assert_array_equal(
                found["mask"][place], whole["mask"][middle] > 0
            )
            np.testing.assert_allclose(
                found["map"][place], maps[volume, middle], atol=3e-3
            )


def test_few_slices_are_all_shown_once(tmp_path):
    volumes = Examples(["0"], read, has_masks=True)
    write_map(tmp_path, volumes, 0, np.zeros((DEPTH, 2, 2)))
    source = Attended(Slices(volumes, Slicing(DEPTH, 0, 1, 1)), str(tmp_path))
    names = [source.name(i) for i in range(DEPTH)]
    write_mapped(tmp_path / "mapped.npz", source, names, np.linspace(0, 1, DEPTH))
    with np.load(tmp_path / "mapped.npz") as found:
        assert sorted(found["name"].tolist()) == sorted(names)
