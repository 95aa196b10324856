"""Starts and weights of windows, against nnU-Net's."""

import numpy as np
import pytest

from medssl_jax.evals.windows import gaussian, starts


def test_starts_are_nnunets():
    assert starts(110, 64, 0.5) == [0, 23, 46]
    assert starts(200, 64, 0.25) == [0, 15, 30, 45, 60, 76, 91, 106, 121, 136]
    assert starts(64, 64, 0.5) == [0]


@pytest.mark.parametrize("step", [0.25, 0.5, 1.0])
def test_windows_leave_no_voxel_out_and_none_leaves_the_image(step):
    for size in range(7, 60):
        found = starts(size, 7, step)
        assert found[0] == 0 and found[-1] == size - 7
        assert max(np.diff(found), default=0) <= np.ceil(7 * step)


def test_weights_are_the_reference_values():
    weights = gaussian((8, 6))
    assert weights.sum() == pytest.approx(4.7221040386, abs=1e-5)
    side = [0.00341166, 0.11943296, 0.70664823]
    assert weights[4] == pytest.approx([*side, *side[::-1]], abs=1e-7)


def test_weights_are_at_least_a_thousandth():
    assert gaussian((64, 64, 64))[0, 0, 0] == np.float32(1e-3)
