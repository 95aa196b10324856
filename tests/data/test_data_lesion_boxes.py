"""Boxes around the connected pieces of masks, against a flood fill and by hand."""

import numpy as np
import pytest

from medssl_jax.data.host import Prepare
from medssl_jax.data.lesion_boxes import lesion_boxes, pieces
from medssl_jax.data.order import roles
from medssl_jax.data.source import Examples, Subset
from medssl_jax.errors import ConfigError


def mask():
    found = np.zeros((4, 8, 10), np.uint8)
    found[0, 1:3, 2:5] = 1  # six voxels
    found[1, 3, 5] = 1  # shares a corner with them
    found[3, 6:8, 8:10] = 2
    found[3, 0, 0] = 2  # one voxel
    return found


def test_a_piece_is_boxed_by_its_outer_edges():
    expected = [
        [0, 1 / 8, 2 / 10, 2 / 4, 4 / 8, 6 / 10, 0],
        [3 / 4, 6 / 8, 8 / 10, 1, 1, 1, 1],
    ]
    np.testing.assert_allclose(pieces(mask(), 3, least=2), expected, rtol=1e-6)
    assert len(pieces(mask(), 3, least=1)) == 3
    assert pieces(np.zeros((4, 4), np.uint8), 2, least=1).shape == (0, 5)


def filled(drawn):
    """Return the voxels of each piece, by a flood fill."""
    left, found = set(map(tuple, np.argwhere(drawn))), []
    while left:
        piece, border = [], [left.pop()]
        while border:
            voxel = border.pop()
            piece.append(voxel)
            near = {v for v in left if np.abs(np.subtract(v, voxel)).max() == 1}
            left -= near
            border += near
        found.append(np.array(piece))
    return found


@pytest.mark.parametrize("shape", [(20, 25), (6, 10, 8)])
def test_pieces_are_those_of_a_flood_fill(shape):
    drawn = np.random.default_rng(0).random(shape) > 0.9
    found = pieces(drawn.astype(np.uint8), len(shape), least=3)
    expected = [
        [*piece.min(0) / shape, *(piece.max(0) + 1) / shape, 0]
        for piece in filled(drawn)
        if len(piece) >= 3
    ]
    assert len(found) == len(expected) > 2
    np.testing.assert_allclose(sorted(found.tolist()), sorted(expected), atol=1e-6)


def test_of_regions_that_overlap_each_is_a_kind():
    both = np.stack([mask() > 0, mask() == 2], axis=-1).astype(np.uint8)
    found = pieces(both, 3, least=4)
    assert found[:, -1].tolist() == [0, 0, 1]


def source(**known):
    def read(name):
        image = np.arange(320, dtype=np.float32).reshape(4, 8, 10, 1)
        return {"image": image, "mask": mask(), "spacing_mm": (1.0, 1.0, 1.0)}

    names = ("background", "cyst", "mass")
    known = {"has_masks": True, "class_names": names} | known
    return Examples(["a", "b"], read, stamp_of=lambda name: name, **known)


def test_boxes_take_the_masks_place():
    found = Subset(lesion_boxes(source(), 2), np.array([1]))
    assert found.has_boxes and not found.has_masks
    assert found.kind_names == ("cyst", "mass") and found.class_names is None
    assert found[0].keys() == {"image", "boxes", "spacing_mm"}
    stamps = {lesion_boxes(source(), n).stamp(0) for n in (1, 2)}
    assert len(stamps) == 2
    with pytest.raises(ConfigError, match="boxes of masks, and the data has none"):
        lesion_boxes(source(has_masks=False), 2)


def test_a_run_reads_them_prepared(tmp_path):
    settings = {"name": "phantom_brains", "count": 4, "seed": 0}
    settings |= {"size_voxels": (8, 32, 32), "metastasis_fraction": 1.0}
    prepare = Prepare(3, None, "percentiles")
    read = {"cache": "cache", "on_error": "raise", "balance": "", "lesion_boxes": 1}
    opened = [settings, {}, prepare, 0, tmp_path]
    found, cached = (roles.sources(*opened, **read)["train"] for _ in range(2))
    assert found.kind_names == ("metastasis",)
    for i in range(4):
        assert len(found[i]["boxes"]) >= 1 and "mask" not in found[i]
        np.testing.assert_array_equal(cached[i]["boxes"], found[i]["boxes"])
