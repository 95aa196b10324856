"""Which pixels are hidden, against figures measured on other code and against NumPy."""

import functools

import jax
import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.views.corrupt import rectangles


@functools.cache
def masks(count=512, shape=(128, 128), most=0.7, side=0.3, align=1):
    draw = functools.partial(rectangles, shape=shape, most=most, side=side, align=align)
    keys = jax.random.split(jax.random.key(0), count)
    return np.asarray(jax.jit(jax.vmap(draw))(keys))


@pytest.mark.parametrize("align", [1, 8])
def test_as_much_is_hidden_as_in_the_reference_and_everywhere_alike(align):
    found = masks(align=align)
    fractions = found.mean((1, 2))
    assert fractions.mean() == pytest.approx(0.611, abs=0.008)
    assert fractions.std() == pytest.approx(0.060, abs=0.006)
    # means over patches of 8 x 8: corners, middles of edges, the centre
    patches = found.reshape(-1, 16, 8, 16, 8).mean((0, 2, 4))
    corner, edge = patches[::15, ::15].mean(), patches[::15, 7].mean()
    centre = patches[6:10, 6:10].mean()
    for place in (corner, edge, centre):  # .05, .23 and .72 in the public code
        assert place == pytest.approx(fractions.mean(), abs=0.04)


def test_what_is_hidden_is_what_numpy_adds_until_the_target():
    """The same draws, one rectangle after the other."""
    key = jax.random.key(3)
    shape, most, side = (24, 40), 0.6, 0.4
    fraction_key, side_key, origin_key = jax.random.split(key, 3)
    target = float(jax.random.uniform(fraction_key, (), minval=0.5, maxval=0.6))
    longest = np.array([[9, 16]])
    sides = np.asarray(jax.random.randint(side_key, (128, 2), 1, longest + 1))
    origins = jax.random.randint(origin_key, (128, 2), 1 - sides, np.array([shape]))
    expected = np.zeros(shape, bool)
    for (top, left), (height, width) in zip(np.asarray(origins), sides, strict=True):
        if expected.mean() >= target:
            break
        bottom, right = top + height, left + width
        expected[max(top, 0) : bottom, max(left, 0) : right] = True
    found = rectangles(key, shape, most=most, side=side, align=1)
    np.testing.assert_array_equal(found, expected)


def test_on_the_grid_patches_are_hidden_whole():
    found = masks(count=32, align=8)
    patches = found.reshape(32, 16, 8, 16, 8).mean((2, 4))
    assert set(np.unique(patches)) == {0, 1}


def test_boxes_hide_volumes():
    found = masks(count=64, shape=(16, 16, 16), most=0.7, side=0.5)
    assert 0.5 <= found.mean() <= 0.75


@pytest.mark.parametrize("most", [0.2, 0.5])
def test_less_than_half_is_aimed_at_where_most_is_less(most):
    fractions = masks(count=64, most=most).mean((1, 2))
    assert most <= fractions.min() and fractions.max() < most + 0.09


def test_a_grid_that_does_not_divide_is_refused():
    with pytest.raises(ConfigError, match="align 7 does not divide images of 16 x 16"):
        rectangles(jax.random.key(0), (16, 16), most=0.7, side=0.3, align=7)


@pytest.mark.parametrize("settings", [{"most": 1.5}, {"most": 0.0}, {"side": -0.3}])
def test_a_fraction_that_is_none_is_refused(settings):
    (field,) = settings
    settings = {"most": 0.7, "side": 0.3, "align": 1} | settings
    with pytest.raises(ConfigError, match=f"corrupt.{field} is .*; use more than 0"):
        rectangles(jax.random.key(0), (16, 16), **settings)
