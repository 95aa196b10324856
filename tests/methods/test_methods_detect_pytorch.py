"""The detector against what torchvision's FCOS computes with the same weights."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.methods.detect import detect
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.models.pyramid import detector
from medssl_jax.models.resnet import resnet
from medssl_jax.optim.durations import Durations
from medssl_jax.views.compose import View

# tests/reference/torch_detector.py makes it
REFERENCE = Path(__file__).parents[1] / "reference" / "torch_detector.npz"
STRIDES, SIDES = (8, 16, 32), np.float32([64, 128])
HEAD = {"kinds": 2, "levels": 3, "coarser": 2, "width": 6, "depth": 2}
ROWS_FIRST = [1, 0, 3, 2]  # of x0, y0, x1, y1
LOSSES = {
    "focal": "classification",
    "giou": "bbox_regression",
    "centreness": "bbox_ctrness",
}
# ours, counted from the coarsest map, but for the last two; torchvision's
LAYERS = {
    **{f"lateral{i}": f"backbone.pyramid.inner_blocks.{2 - i}.0" for i in range(3)},
    **{f"level{i}": f"backbone.pyramid.layer_blocks.{2 - i}.0" for i in range(3)},
    **{f"coarser{i}": f"backbone.pyramid.extra_blocks.p{6 + i}" for i in range(2)},
    "kinds": "head.classification_head.cls_logits",
    "faces": "head.regression_head.bbox_reg",
    "middle": "head.regression_head.bbox_ctrness",
    "kinds_tower": "head.classification_head.conv",
    "faces_tower": "head.regression_head.conv",
}


def maps(x):
    """Return some of each place's pixels, as the reference's backbone does."""
    return tuple(
        jnp.concatenate([x[:, ::s, i::s] for i in range(4)], axis=-1) for s in STRIDES
    )


def method():
    def apply(variables, x, train, keys=None):
        del train, keys
        return Features(jnp.zeros((len(x), 1)), maps(x)), variables["batch_stats"]

    return detect(
        Network(lambda key, x: {"params": {}, "batch_stats": {}}, apply),
        views=dict.fromkeys(("first", "eval"), View(())),
        durations=Durations(8, 2, 2, 1),
        axis_name=None,
        dtype=jnp.float32,
        middle=False,
        alpha=0.25,
        gamma=2.0,
        least_points=1.0,
        candidates=342,
        most=100,
        overlap=0.3,
        **HEAD,
    )


@pytest.fixture(scope="module")
def arrays():
    with np.load(REFERENCE, allow_pickle=False) as file:
        return dict(file)


@pytest.fixture(scope="module")
def images(arrays):
    return jnp.asarray(arrays["pixels"][..., None] / np.float32(255))


@pytest.fixture(scope="module")
def weights(arrays, images):
    """Return the head's parameters, those of torchvision."""

    def weight(path, like):
        layer, *inner, last = (key.key for key in path)
        name = f"tensors/{LAYERS[layer]}"
        if inner:  # conv0, norm0, ReLU, conv1, ...
            number = 3 * int(inner[0][-1]) + inner[0].startswith("norm")
            name = f"{name}.{number}"
        array = arrays[f"{name}.{'bias' if last == 'bias' else 'weight'}"]
        if layer == "faces":
            array = array[ROWS_FIRST]
        if array.ndim > 1:  # (out, in, *k)
            array = np.moveaxis(array, (0, 1), (-1, -2))
        assert array.shape == like.shape
        return jnp.asarray(array)

    made = jax.eval_shape(detector(**HEAD).init, jax.random.key(0), maps(images))
    return jax.tree_util.tree_map_with_path(weight, made["params"])


@pytest.fixture(scope="module")
def state(weights):
    stats = {"backbone": {}, "head": {}}
    return {"backbone": {}, "head": weights}, {"batch_stats": stats}


def test_the_head_says_at_each_point_what_torchvisions_does(arrays, images, weights):
    network = detector(**HEAD)
    found, _ = jax.jit(network.apply, static_argnums=2)(
        {"params": weights, "batch_stats": {}}, maps(images), False
    )
    expected = {name: arrays[f"said/{name}"] for name in ("cls_logits", "bbox_ctrness")}
    close = {"rtol": 1e-4, "atol": 1e-5}
    np.testing.assert_allclose(found.kinds, expected["cls_logits"], **close)
    np.testing.assert_allclose(found.middle, expected["bbox_ctrness"][..., 0], **close)
    distances = arrays["said/bbox_regression"][..., ROWS_FIRST]
    np.testing.assert_allclose(found.distances, distances, **close)


def test_losses_of_an_image_and_their_gradient_are_torchvisions(arrays, images, state):
    """Also of one without boxes. Of several images they are not: see `detect`."""
    boxes = arrays["boxes"].astype(np.float32)
    corners = boxes[..., ROWS_FIRST] / np.tile(SIDES, 2)
    rows = jnp.asarray(np.concatenate([corners, boxes[..., 4:]], axis=-1))
    made = method()

    @jax.jit
    def of_one(image, rows):
        def loss(image):
            views = {"image": image, "boxes": rows}
            total, (_, metrics) = made.loss(*state, views, None, jnp.int32(0))
            return total, metrics

        return jax.grad(loss, has_aux=True)(image)

    for i in range(3):
        gradient, metrics = of_one(images[i][None], rows[i][None])
        for name, theirs in LOSSES.items():
            expected = arrays[f"losses/{theirs}"][i]
            np.testing.assert_allclose(metrics[name], expected, rtol=1e-5)
        expected = arrays["gradient"][i]
        largest = np.abs(expected).max()
        np.testing.assert_allclose(gradient[0, ..., 0], expected, atol=1e-4 * largest)


def test_boxes_that_points_tell_of_and_that_are_found_are_torchvisions(
    arrays, images, state
):
    made = method()
    told = jax.jit(made.predict)(*state, images)
    found = jax.jit(made.decide)(told)
    close = {"rtol": 1e-4, "atol": 1e-5}
    expected = arrays["said/boxes"][..., ROWS_FIRST] / np.tile(SIDES, 2)
    np.testing.assert_allclose(told["boxes"], expected, **close)
    np.testing.assert_allclose(found["score"], arrays["found/scores"], **close)
    np.testing.assert_array_equal(found["kind"], arrays["found/labels"])
    expected = arrays["found/boxes"][..., ROWS_FIRST] / np.tile(SIDES, 2)
    np.testing.assert_allclose(found["boxes"], expected, **close)


def test_the_published_detector_has_as_many_parameters_as_torchvisions():
    """Which says 32,269,600 of fcos_resnet50_fpn, of 91 kinds and frozen batch norms."""
    backbone = resnet(
        ndim=2, layers=(3, 4, 6, 3), block="bottleneck", width=64, stem="imagenet"
    )
    head = detector(kinds=91, levels=3, coarser=2, width=256, depth=4)

    def make(x):
        key = jax.random.key(0)
        variables = backbone.init(key, x)
        features, _ = backbone.apply(variables, x, False)
        return variables["params"], head.init(key, features.maps)["params"]

    made = jax.eval_shape(make, jnp.zeros((1, 64, 64, 3)))
    count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))
    assert count == 32_269_600 + 53_120


@pytest.mark.parametrize("seed", range(3))
def test_no_face_of_a_new_detector_is_held_at_0(seed):
    """Held there, as half of torchvision's are at first, it has no gradient."""
    made = maps(jax.random.normal(jax.random.key(seed), (2, 64, 128, 3)))
    head = detector(**HEAD, dtype=jnp.float32)
    variables = head.init(jax.random.key(seed), made)
    found, _ = head.apply(variables, made, True)
    np.testing.assert_array_less(0.5, found.distances)
