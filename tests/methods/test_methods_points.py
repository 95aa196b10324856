"""FCOS's targets, losses and decoding against torchvision's values."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medssl_jax.boxes import nms
from medssl_jax.losses import giou_loss, sigmoid_focal
from medssl_jax.methods import points as on_points
from medssl_jax.models.pyramid import strides_of
from medssl_jax.models.vit import vit

# x and y as the reference has them; nothing here depends on the axes' order but rows
BOXES = np.array(
    [[4, 4, 28, 20], [10, 8, 60, 58], [30, 30, 38, 41], [12, 10, 22, 19.0]]
)
BOXES = BOXES[:, [1, 0, 3, 2]]
KINDS = np.array([0, 1, 0, 1])
MATCH = {
    **dict.fromkeys((9, 10, 11, 17, 19), 0),
    18: 3,
    **dict.fromkeys((27, 28, 29, 35, 37, 43, 45), 1),
    **dict.fromkeys((36, 44), 2),
}
CENTRENESS = {
    **dict.fromkeys((9, 11, 17, 19), 0.2581988897),
    **dict.fromkeys((10, 18), 0.5773502692),
    27: 0.4277926319,
    28: 0.6080689921,
    29: 0.5601120336,
    35: 0.5991446895,
    36: 0.272165527,
    37: 0.7844645406,
    43: 0.4677071733,
    44: 0.1825741858,
    45: 0.6123724357,
}


@pytest.fixture(scope="module")
def pyramid():
    return on_points.points_of([(8, 8), (4, 4)], [(8, 8), (16, 16)], middle=False)


@pytest.fixture(scope="module")
def drawn():
    """Return scores (80, 2), distances (80, 4) as rows come first, centreness (80,)."""
    random = np.random.RandomState(3)
    scores = random.randn(1, 80, 2)[0]
    distances = np.abs(random.randn(1, 80, 4))[0][:, [1, 0, 3, 2]]
    return scores, distances, random.randn(1, 80, 1)[0, :, 0]


def test_points_answer_for_the_boxes_that_torchvisions_do(pyramid):
    assert len(pyramid.at) == 80
    found = on_points.matched(pyramid, jnp.asarray(BOXES), jnp.ones(4, bool))
    expected = [MATCH.get(i, -1) for i in range(80)]
    assert found.tolist() == expected
    without = on_points.matched(pyramid, jnp.asarray(BOXES), jnp.arange(4) != 3)
    assert without[18] == 0 and without[36] == 2


def test_patches_of_any_side_have_points_that_far_apart():
    settings = {"patch": 14, "width": 8, "heads": 1, "depth": 1, "maps": (1,)}
    network = vit(ndim=2, **settings, pooling="class")
    image = jnp.zeros((1, 56, 42, 1))
    variables = network.init(jax.random.key(0), image)
    found = strides_of(network, variables, image.shape[1:], levels=1, coarser=2)
    assert found == [(14, 14), (28, 28), (56, 56)]


def test_centreness_equals_the_reference_values(pyramid):
    for i, expected in CENTRENESS.items():
        to_faces = on_points.faces(pyramid.at[i], jnp.asarray(BOXES[MATCH[i]]))
        assert on_points.centreness(to_faces) == pytest.approx(expected, abs=1e-6)


def test_losses_equal_the_reference_values(pyramid, drawn):
    with jax.enable_x64(True):
        scores, distances, centre = map(jnp.asarray, drawn)
        boxes = jnp.asarray(BOXES)
        match = on_points.matched(pyramid, boxes, jnp.ones(4, bool))
        inside = match >= 0
        count = inside.sum(dtype=float)
        right = KINDS[match][:, None] == jnp.arange(2)[None]
        kinds = right & inside[:, None]
        focal = sigmoid_focal(scores, kinds, alpha=0.25, gamma=2).sum() / count
        near = giou_loss(on_points.boxes_at(pyramid, distances), boxes[match])
        near = jnp.where(inside, near, 0).sum() / count
        to_faces = on_points.faces(pyramid.at, boxes[match])
        targets = on_points.centreness(jnp.where(inside[:, None], to_faces, 1.0))
        each = optax.sigmoid_binary_cross_entropy(centre, targets)
        middle = jnp.where(inside, each, 0).sum() / count
    expected = [2.4784643481, 0.9986708388, 0.7584249386]
    np.testing.assert_allclose([focal, near, middle], expected, atol=1e-8)


def test_decoded_boxes_equal_the_reference_values(pyramid, drawn):
    scores, distances, centre = map(jnp.asarray, drawn)
    found = jnp.sqrt(jax.nn.sigmoid(scores) * jax.nn.sigmoid(centre)[:, None])
    boxes = jnp.clip(on_points.boxes_at(pyramid, distances), 0, 64)
    each = jnp.repeat(boxes, 2, axis=0), found.reshape(-1), jnp.tile(jnp.arange(2), 80)
    high = each[1] >= 0.7
    kept = nms(*(x[high] for x in each), iou=0.6)
    best = np.sort(np.asarray(each[1][high][kept]))[::-1]
    assert len(best) == 17
    highest = [0.83698686, 0.79438847, 0.7897552]
    np.testing.assert_allclose(best[:3], highest, atol=1e-6)
    assert best.sum() == pytest.approx(12.6815239582, abs=1e-4)


def test_in_the_middle_of_a_place_and_in_three_dimensions():
    pyramid = on_points.points_of(
        [(2, 2, 2), (1, 1, 1)], [(4, 4, 4), (8, 8, 8)], middle=True
    )
    assert pyramid.at[:2].tolist() == [[2, 2, 2], [2, 2, 6]]
    assert pyramid.at[-1].tolist() == [4, 4, 4]
    box = jnp.array([[0.5, 0.5, 0.5, 5.5, 4.5, 7.5]])
    match = on_points.matched(pyramid, box, jnp.ones(1, bool))
    assert match.tolist() == [0, 0, *[-1] * 7]  # 4.5 is no more than a face away
    to_faces = on_points.faces(jnp.asarray(pyramid.at[:1]), box)
    np.testing.assert_allclose(to_faces, [[1.5, 1.5, 1.5, 3.5, 2.5, 5.5]])
    expected = (1.5 / 3.5 * 1.5 / 2.5 * 1.5 / 5.5) ** (1 / 3)
    np.testing.assert_allclose(on_points.centreness(to_faces), [expected], rtol=1e-6)
    again = on_points.boxes_at(pyramid, jnp.tile(to_faces / 4, (9, 1)))
    np.testing.assert_allclose(again[0], box[0], rtol=1e-6)
