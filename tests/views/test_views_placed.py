"""Masks and boxes through views, against NumPy and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medssl_jax.data.source import NO_BOX
from medssl_jax.views.compose import compose
from medssl_jax.views.placed import boxes_through, mask_through

CROP = {
    "random_resized_crop": {"scale": (0.4, 0.9), "aspect": (0.8, 1.2), "size": (20, 24)}
}
FLIP = {"flip": {"axis": (-1, -2), "probability": 0.5}}
TURN = {"affine": {"rotation_degrees": (-40, 40), "scale": (0.8, 1.3)}}
VIEWS = {
    "crop": CROP,
    "flip": FLIP,
    "turn": TURN,
    "all": {**CROP, **FLIP, **TURN, "gamma": {"log_gamma": (-0.3, 0.3)}},
    "none": {},
}
every_view = pytest.mark.parametrize("name", VIEWS)


def blob(shape, seed=0):
    """A smooth image and the mask of what is above its middle."""
    noise = np.random.default_rng(seed).standard_normal(shape)
    smooth = ndimage.gaussian_filter(noise, 4)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return smooth[..., None].astype(np.float32), (smooth > 0.5).astype(np.uint8)


def placed(name, key, image, mask):
    @jax.jit
    def run(key, image, mask):
        made = compose(VIEWS[name]).placed(key, image)
        return made.image, made.place, mask_through(made, mask)

    return run(key, jnp.asarray(image), jnp.asarray(mask))


@every_view
@pytest.mark.parametrize("seed", range(3))
def test_a_mask_is_read_where_scipy_reads_it(name, seed):
    shape = (32, 36)
    image, mask = blob(shape, seed)
    mask = mask * np.random.default_rng(seed).integers(1, 255, shape).astype(np.uint8)
    out, place, moved = placed(name, jax.random.key(seed), image, mask)
    matrix, offset = np.float64(place.matrix), np.float64(place.offset)
    # voxel centres lie at i + .5 in ours, at i in SciPy
    shift = matrix @ np.full(2, 0.5) + offset - 0.5
    expected = ndimage.affine_transform(
        mask, matrix, shift, out.shape[:-1], order=0, mode="grid-constant"
    )
    at = np.stack(np.indices(out.shape[:-1]), -1) @ matrix.T + shift
    clear = (np.abs(at - np.floor(at) - 0.5) > 1e-3).all(-1)  # of ties and edges
    clear &= (at > -0.499).all(-1) & (at < np.array(shape) - 0.501).all(-1)
    beyond = ((at < -0.501) | (at > np.array(shape) - 0.499)).any(-1)
    np.testing.assert_array_equal(np.asarray(moved)[clear], expected[clear])
    assert not np.asarray(moved)[beyond].any()
    assert clear.mean() > 0.4


@every_view
def test_a_mask_stays_on_its_image(name):
    """An image that is its own mask, smooth: the view of one is the view of the other."""
    image, _ = blob((32, 36))
    ops = {k: v for k, v in VIEWS[name].items() if k != "gamma"}
    for seed in range(4):
        made = compose(ops).placed(jax.random.key(seed), jnp.asarray(image))
        mask = mask_through(made, jnp.asarray((image[..., 0] > 0.5).astype(np.uint8)))
        out = np.asarray(made.image[..., 0])
        sure = np.abs(out - 0.5) > 0.06
        inside = out > 0.02  # 0 comes in from outside
        agree = (out > 0.5) == (np.asarray(mask) > 0)
        assert agree[sure & inside].mean() > 0.99


def test_slices_share_one_place_and_regions_stay_apart():
    image = np.random.default_rng(0).random((3, 12, 14, 1), np.float32)
    regions = np.random.default_rng(1).integers(0, 2, (3, 12, 14, 2)).astype(np.uint8)
    made = compose(VIEWS["all"]).placed(jax.random.key(1), jnp.asarray(image))
    both = mask_through(made, jnp.asarray(regions))
    assert both.shape == (3, 20, 24, 2) and both.dtype == jnp.uint8
    for k in range(2):
        alone = mask_through(made, jnp.asarray(regions[..., k]))
        np.testing.assert_array_equal(alone, both[..., k])


def test_the_image_is_that_of_the_call_to_the_bit():
    image = jnp.asarray(blob((32, 36))[0])
    view = compose(VIEWS["all"])
    key = jax.random.key(3)
    np.testing.assert_array_equal(view(key, image), view.placed(key, image).image)


@every_view
def test_a_box_is_around_its_mask_wherever_it_goes(name):
    shape = (64, 72)
    mask = np.zeros(shape, np.uint8)
    mask[20:36, 30:50] = 1
    box = [20 / 64, 30 / 72, 36 / 64, 50 / 72, 4.0]
    boxes = jnp.float32([box, [0, 0, 0, 0, NO_BOX]])
    image = jnp.asarray(mask[..., None], jnp.float32)
    for seed in range(6):
        made = compose(VIEWS[name]).placed(jax.random.key(seed), image)
        moved = np.asarray(boxes_through(made, boxes))
        assert moved[1].tolist() == [0, 0, 0, 0, NO_BOX]
        found = np.argwhere(np.asarray(mask_through(made, jnp.asarray(mask))))
        if moved[0, 4] == NO_BOX:  # its centre is outside: the mask is cut at least
            assert len(found) < 16 * 20 * np.prod(made.image.shape[:2]) / 64 / 72
            continue
        assert moved[0, 4] == 4
        size = np.array(made.image.shape[:-1])
        np.testing.assert_allclose(moved[0, :2] * size, found.min(0), atol=1.6)
        np.testing.assert_allclose(moved[0, 2:4] * size, found.max(0) + 1, atol=1.6)


def test_a_box_is_cut_where_it_leaves_and_is_none_once_its_centre_does():
    """Rows 4 to 12 and columns 5 to 15 of 16 by 20, in which all is counted from 0."""
    made = compose({"centre_crop": {"size": (8, 10)}}).placed(
        jax.random.key(0), jnp.zeros((16, 20, 1))
    )
    voxels = [[2, 10, 8, 19, 1], [0, 6, 6, 8, 2], [6, 6, 10, 8, 3]]
    boxes = jnp.float32(voxels) / jnp.float32([[16, 20, 16, 20, 1]])
    expected = [[0, 0.5, 0.5, 1, 1], [0, 0, 0, 0, NO_BOX], [0.25, 0.1, 0.75, 0.3, 3]]
    np.testing.assert_allclose(boxes_through(made, boxes), expected, atol=1e-6)


def test_an_identity_leaves_masks_and_boxes_to_the_bit():
    image, mask = blob((9, 10))
    made = compose({}).placed(jax.random.key(0), jnp.asarray(image))
    np.testing.assert_array_equal(mask_through(made, jnp.asarray(mask)), mask)
    boxes = jnp.float32([[0.1, 0.2, 0.3, 0.4, 1.0]])
    np.testing.assert_allclose(boxes_through(made, boxes), boxes, rtol=1e-6)
