"""Distances of surfaces: MONAI's values, voxels compared one by one, empty masks."""

import math

import numpy as np
import pytest

from medssl_jax.evals.surface import hd95, hd95_and_nsd, nsd


@pytest.fixture(scope="module")
def ellipsoids():
    zz, yy, xx = np.ogrid[:16, :24, :24]
    truth = (zz - 7) ** 2 * 9 + (yy - 11) ** 2 + (xx - 11) ** 2 <= 64
    prediction = (zz - 8) ** 2 * 9 + (yy - 13) ** 2 + (xx - 10) ** 2 <= 49
    assert (truth.sum(), prediction.sum()) == (729, 497)
    return truth, prediction


REFERENCE = {
    (3, 1, 1): (4.2426406871, [0.3757225434, 0.5375722544, 0.8121387283]),
    (1, 1, 1): (3, [0.6907514451, 0.9002890173, 0.9855491329]),
}


@pytest.mark.parametrize("spacing_mm, expected", REFERENCE.items())
def test_hd95_and_nsd_equal_the_reference_values(ellipsoids, spacing_mm, expected):
    assert hd95(*ellipsoids, spacing_mm) == pytest.approx(expected[0], abs=1e-6)
    found = [nsd(*ellipsoids, spacing_mm, tolerance) for tolerance in (1, 2, 3)]
    assert found == pytest.approx(expected[1], abs=1e-6)


def surface_by_hand(mask):
    """Return the indices of voxels with a neighbour, along an axis, not in the mask."""
    inside = set(map(tuple, np.argwhere(mask)))
    steps = [*np.eye(mask.ndim, dtype=int), *-np.eye(mask.ndim, dtype=int)]
    return [
        voxel
        for voxel in sorted(inside)
        if any(tuple(np.add(voxel, step)) not in inside for step in steps)
    ]


def measured_by_hand(truth, prediction, spacing_mm, tolerance_mm):
    """Compare every voxel of one surface with every voxel of the other."""
    a, b = (
        np.array(surface_by_hand(mask)) * spacing_mm for mask in (truth, prediction)
    )
    distances = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=-1))
    there, back = distances.min(axis=1), distances.min(axis=0)
    within = (there <= tolerance_mm).sum() + (back <= tolerance_mm).sum()
    farther = max(np.percentile(there, 95), np.percentile(back, 95))
    return farther, within / (len(a) + len(b))


@pytest.mark.parametrize(
    "shape, spacing_mm", [((9, 7), (0.7, 1.9)), ((6, 7, 8), (2.5, 0.9, 1.3))]
)
@pytest.mark.parametrize("share", [0.02, 0.4, 0.97])
def test_any_masks_measure_what_comparing_all_voxels_does(shape, spacing_mm, share):
    """Scattered, dense, and full to the edges of the array."""
    rng = np.random.default_rng(int(100 * share) + len(shape))
    for _ in range(5):
        masks = rng.random((2, *shape)) < share
        masks[0].flat[rng.integers(masks[0].size)] = True
        masks[1].flat[rng.integers(masks[1].size)] = True
        found = hd95_and_nsd(*masks, spacing_mm, 2.0)
        assert found == pytest.approx(
            measured_by_hand(*masks, spacing_mm, 2.0), abs=1e-12
        )


def test_a_mask_that_fills_the_array_has_its_surface_at_the_edge():
    full, inner = np.ones((5, 5), bool), np.zeros((5, 5), bool)
    inner[1:4, 1:4] = True
    assert hd95(full, full, (1, 1)) == 0
    # the 16 voxels of the rim, the 8 of the ring: corners are sqrt 2 apart
    assert hd95(full, inner, (1, 1)) == pytest.approx(math.sqrt(2))
    assert nsd(full, inner, (1, 1), 1.0) == pytest.approx((12 + 8) / 24)


def test_air_around_the_masks_changes_nothing(ellipsoids):
    padded = [np.pad(mask, [(3, 9), (0, 2), (11, 0)]) for mask in ellipsoids]
    spacing_mm = (2.5, 0.7, 0.7)
    assert hd95_and_nsd(*padded, spacing_mm, 2.0) == hd95_and_nsd(
        *ellipsoids, spacing_mm, 2.0
    )


def test_masks_measure_the_same_in_either_order(ellipsoids):
    spacing_mm = (2.5, 0.7, 0.9)
    assert hd95_and_nsd(*ellipsoids, spacing_mm, 2.0) == hd95_and_nsd(
        *ellipsoids[::-1], spacing_mm, 2.0
    )


def test_a_spacing_rounded_to_float32_leaves_a_voxel_within_the_tolerance():
    """1.6 mm are two voxels of .8, which float32 has as .800000012."""
    spacing_mm = [float(np.float32(0.8))] * 2
    assert 2 * spacing_mm[0] > 1.6
    truth, prediction = np.eye(6, dtype=bool)[[0, 2]][:, None]
    assert nsd(truth, prediction, spacing_mm, 1.6) == 1
    assert nsd(truth, prediction, spacing_mm, 1.59) == 0


def test_two_empty_masks_are_nan_and_one_is_a_miss():
    empty = np.zeros((4, 5, 6), bool)
    some = empty.copy()
    some[1, 2, 3] = True
    assert math.isnan(hd95(empty, empty, (1, 1, 1)))
    assert math.isnan(nsd(empty, empty, (1, 1, 1), 1.0))
    for pair in ((some, empty), (empty, some)):
        assert hd95(*pair, (1, 1, 1)) == math.inf
        assert nsd(*pair, (1, 1, 1), 1.0) == 0
