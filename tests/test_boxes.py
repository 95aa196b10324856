"""Boxes against torchvision's values and a loop on NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax import boxes as on_boxes
from medssl_jax.losses import giou_loss, sigmoid_focal


def drawn(random, count, axes=2):
    """Return boxes as the reference draws them."""
    low = random.rand(count, axes) * 10
    return np.concatenate([low, low + random.rand(count, axes) * 5 + 0.5], axis=1)


def test_focal_loss_equals_the_reference_values():
    random = np.random.RandomState(0)
    logits, targets = random.randn(4, 3), random.randint(0, 2, (4, 3))
    with jax.enable_x64(True):
        loss, gradient = jax.value_and_grad(
            lambda x: sigmoid_focal(x, jnp.asarray(targets), alpha=0.25, gamma=2).sum()
        )(jnp.asarray(logits))
    np.testing.assert_allclose(loss, 1.5381469174, atol=1e-8)
    row = [0.7740693203, -0.0408796632, -0.0137446639]
    np.testing.assert_allclose(gradient[0], row, atol=1e-8)


def test_focal_loss_without_focus_is_half_the_cross_entropy_and_never_overflows():
    logits = jnp.array([-1e4, -3.0, 0.0, 3.0, 1e4, 1e4])
    targets = jnp.array([0, 1, 1, 0, 1, 0])
    plain = sigmoid_focal(logits, targets, alpha=0.5, gamma=0)
    expected = 0.5 * np.logaddexp(0, np.where(targets, -logits, logits))
    np.testing.assert_allclose(plain, expected, rtol=1e-6)
    slope = jax.grad(lambda x: sigmoid_focal(x, targets, alpha=0.25, gamma=2).sum())
    assert np.isfinite(slope(logits)).all()


@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0])
def test_focal_loss_has_a_slope_where_what_is_right_is_certain(gamma):
    logits = jnp.array([200.0, -200.0, 30.0, 0.0])
    targets = jnp.array([1, 0, 1, 1])
    loss = lambda x: sigmoid_focal(x, targets, alpha=0.5, gamma=gamma).sum()
    slope = jax.grad(loss)(logits)
    np.testing.assert_array_equal(slope[:2], 0.0)
    assert abs(slope[2]) < 1e-6
    z = 1e-6  # (1 - p)^gamma log p at p = .5, by differences
    at = lambda x: 0.5 * np.log1p(np.exp(-x)) * (1 / (1 + np.exp(x))) ** gamma
    assert slope[3] == pytest.approx((at(z) - at(-z)) / (2 * z), rel=1e-4)


def test_boxes_of_whole_pixels_may_be_integers():
    whole = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [40, 40, 50, 60]])
    first, second = jnp.asarray(whole, jnp.int32), jnp.asarray(whole, jnp.float32)
    np.testing.assert_array_equal(
        on_boxes.iou(first, first), on_boxes.iou(second, second)
    )
    np.testing.assert_array_equal(
        giou_loss(first, first[::-1]), giou_loss(second, second[::-1])
    )
    scores, kinds = jnp.array([0.9, 0.8, 0.7]), jnp.zeros(3, jnp.int32)
    kept = on_boxes.nms(first, scores, kinds, iou=0.3)
    assert kept.tolist() == [True, False, True]


def test_giou_loss_equals_the_reference_values():
    random = np.random.RandomState(1)
    first, second = drawn(random, 5), drawn(random, 5)
    with jax.enable_x64(True):
        first, second = jnp.asarray(first), jnp.asarray(second)
        each = giou_loss(first, second)
        gradient = jax.grad(lambda a: giou_loss(a, second).sum())(first)
        total = on_boxes.iou(first, second).sum()
    expected = [1.479693104, 1.5935195338, 1.9060599865, 0.9077855911, 1.8377383589]
    np.testing.assert_allclose(each, expected, atol=1e-8)
    slope = [0.0521439072, 0.0033977638, -0.1598911063, -0.1057215024]
    np.testing.assert_allclose(gradient[0], slope, atol=1e-8)
    np.testing.assert_allclose(total, 0.7578617194, atol=1e-8)


def test_volumes_overlap_by_their_volume():
    first = jnp.array([[0.0, 0.0, 0.0, 2.0, 3.0, 4.0]])
    second = jnp.array([[1.0, 1.0, 1.0, 3.0, 4.0, 5.0], [5.0, 5.0, 5.0, 6.0, 6.0, 6.0]])
    np.testing.assert_allclose(
        on_boxes.iou(first, second), [[6 / (2 * 24 - 6), 0.0]], rtol=1e-6
    )
    apart = giou_loss(first, second[1:])
    np.testing.assert_allclose(apart, [1 + (6**3 - 24 - 1) / 6**3], rtol=1e-6)


def test_boxes_without_extent_overlap_with_nothing():
    point = jnp.array([[1.0, 1.0, 1.0, 1.0]])
    assert on_boxes.iou(point, point) == 0
    loss, slope = jax.value_and_grad(lambda a: giou_loss(a, point).sum())(point)
    assert np.isfinite(loss) and np.isfinite(slope).all()


KEPT = {
    0.5: "17 22 16 26 24 29 1 25 20 7 15 0 14 8 13 11 5 2 19 28 23 12 9 3 21 4 10 18 27 6",
    0.3: "17 22 26 24 29 1 25 20 15 0 14 8 13 2 19 28 12 9 3 21 4 10 18 6",
}


@pytest.mark.parametrize("threshold", KEPT)
def test_nms_keeps_what_torchvision_keeps(threshold):
    random = np.random.RandomState(2)
    boxes, scores = drawn(random, 30), random.rand(30)
    kinds = random.randint(0, 3, 30)
    kept = on_boxes.nms(*map(jnp.asarray, (boxes, scores, kinds)), iou=threshold)
    best_first = [i for i in np.argsort(-scores) if kept[i]]
    assert best_first == list(map(int, KEPT[threshold].split()))


def greedy(boxes, scores, kinds, threshold):
    """Return what is kept, one box at a time."""
    kept = []
    overlaps = np.asarray(on_boxes.iou(jnp.asarray(boxes), jnp.asarray(boxes)))
    for i in np.argsort(-scores, kind="stable"):
        rivals = [j for j in kept if kinds[j] == kinds[i]]
        if all(overlaps[i, j] <= threshold for j in rivals):
            kept.append(i)
    return np.isin(np.arange(len(boxes)), kept)


@pytest.mark.parametrize("axes", [2, 3])
def test_nms_equals_the_greedy_loop_on_crowds(axes):
    """With chains of boxes that drop each other, and scores that are equal."""
    random = np.random.RandomState(3)
    boxes = drawn(random, 200, axes)
    boxes[:60, 0] = np.linspace(0, 6, 60)  # a chain: each covers its neighbours
    boxes[:60, axes] = boxes[:60, 0] + 2
    for axis in range(1, axes):
        boxes[:60, axis], boxes[:60, axes + axis] = 0, 1
    scores = np.round(random.rand(200), 2)
    scores[:60] = np.linspace(1, 0.5, 60)
    kinds = random.randint(0, 2, 200)
    kinds[:60] = 0
    for threshold in (0.05, 0.5):
        kept = on_boxes.nms(*map(jnp.asarray, (boxes, scores, kinds)), iou=threshold)
        np.testing.assert_array_equal(kept, greedy(boxes, scores, kinds, threshold))
        assert 0 < kept.sum() < 200


def test_nms_is_vmapped_over_images():
    random = np.random.RandomState(4)
    boxes = np.stack([drawn(random, 40) for _ in range(3)])
    scores, kinds = random.rand(3, 40), random.randint(0, 3, (3, 40))
    run = jax.vmap(lambda b, s, k: on_boxes.nms(b, s, k, iou=0.3))
    kept = run(*map(jnp.asarray, (boxes, scores, kinds)))
    for i in range(3):
        np.testing.assert_array_equal(
            kept[i], greedy(boxes[i], scores[i], kinds[i], 0.3)
        )


def test_equal_overlap_survives():
    boxes = jnp.array([[0.0, 0.0, 2.0, 2.0], [0.0, 1.0, 2.0, 2.0]])  # half of it
    arguments = boxes, jnp.array([1.0, 0.5]), jnp.zeros(2, int)
    assert on_boxes.nms(*arguments, iou=0.5).all()
    assert on_boxes.nms(*arguments, iou=0.49).tolist() == [True, False]
