"""Segmentation's loss as it runs, against NumPy; its masks, metric and predictions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from scipy.special import expit, softmax

from medssl_jax.errors import ConfigError
from medssl_jax.methods.segment import segment
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.models.unet_decoder import decoder
from medssl_jax.views.compose import View, compose
from medssl_jax.views.op import Op

SHAPE = (8, 8)
SETTINGS = {"background": False, "over_batch": False, "deep_supervision": False}
WEIGHTS = {"dice": 0.7, "cross_entropy": 0.4}


def pyramid():
    """Return a backbone without weights: the image and its means over 2, 4, 8 voxels.

    Its statistics count how often it was trained.
    """

    def apply(variables, x, train, keys=None):
        del keys
        maps = [x]
        for _ in range(3):
            b, h, w, c = maps[-1].shape
            maps.append(maps[-1].reshape(b, h // 2, 2, w // 2, 2, c).mean((2, 4)))
        passes = variables["batch_stats"]["passes"] + int(train)
        return Features(x.mean((1, 2)), tuple(maps)), {"passes": passes}

    stats = {"passes": jnp.int32(0)}
    return Network(lambda key, x: {"params": {}, "batch_stats": stats}, apply)


HALVED = View((Op(lambda key, shape: (), lambda drawn, x: x / 2),))


def method(view=None, **settings):
    views = {"first": view or View(()), "eval": HALVED}
    wholly = {"classes": 3} | WEIGHTS | SETTINGS | settings
    of_run = {"durations": tiny.durations(), "axis_name": None, "dtype": jnp.float32}
    return segment(pyramid(), views=views, **of_run, **wholly)


def batch(structures=3, regions=0):
    random = np.random.default_rng(1)
    shape = (2, *SHAPE, regions) if regions else (2, *SHAPE)
    mask = random.integers(0, 2 if regions else structures, shape, np.uint8)
    return {"image": random.random((2, *SHAPE, 1), np.float32), "mask": mask}


STATELESS = {"params": {}, "batch_stats": {"passes": jnp.int32(0)}}


def loss_and_logits(made, fed, outputs, deep=False):
    """Return the loss, its metrics, and the logits of all sizes, in training."""
    fed = jax.tree.map(jnp.asarray, fed)
    params, aux = made.init(jax.random.key(0), fed)
    head = decoder(outputs=outputs, deep=deep)

    @jax.jit
    def both(params):
        loss, (_, metrics) = made.loss(
            params, aux, fed, jax.random.key(0), jnp.int32(0)
        )
        features, _ = pyramid().apply(STATELESS, fed["image"], True)
        variables = {
            "params": params["head"],
            "batch_stats": aux["batch_stats"]["head"],
        }
        logits, _ = head.apply(variables, (fed["image"], features.maps), True)
        return loss, metrics, logits if deep else (logits,)

    loss, metrics, logits = both(params)
    return loss, metrics, [np.asarray(z, np.float64) for z in logits]


def numpy_loss(logits, mask, *, dice, cross_entropy, background, over_batch):
    """Write out both losses of one size: classes (b, *s), or regions (b, *s, k)."""
    if mask.ndim == logits.ndim:
        p, y = expit(logits), mask.astype(float)
        entropy = -np.where(y == 1, np.log(p), np.log(1 - p)).mean()
        first = 0
    else:
        p, y = softmax(logits, axis=-1), np.eye(logits.shape[-1])[mask]
        entropy = -np.log((p * y).sum(axis=-1)).mean()
        first = 0 if background else 1
    space = tuple(range(int(not over_batch), logits.ndim - 1))
    shared = (p * y).sum(axis=space)
    ratio = (2 * shared + 1e-5) / ((p + y).sum(axis=space) + 1e-5)
    return dice * (1 - ratio[..., first:]).mean() + cross_entropy * entropy


@pytest.mark.parametrize(
    "settings",
    [{}, {"background": True}, {"over_batch": True}, {"dice": 0.0}],
)
def test_the_loss_is_dice_and_cross_entropy_as_numpy_has_them(settings):
    fed = batch()
    loss, _, (logits,) = loss_and_logits(method(**settings), fed, 3)
    forms = WEIGHTS | {"background": False, "over_batch": False} | settings
    assert float(loss) == pytest.approx(
        numpy_loss(logits, fed["mask"], **forms), rel=1e-5
    )


def test_regions_are_each_told_by_a_sigmoid_of_their_own():
    fed = batch(regions=2)
    made = method(classes=0, regions=2)
    loss, _, (logits,) = loss_and_logits(made, fed, 2)
    forms = WEIGHTS | {"background": False, "over_batch": False}
    expected = numpy_loss(logits, fed["mask"], **forms)
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_deep_supervision_weighs_coarser_outputs_by_halves_and_the_coarsest_by_0():
    fed = batch()
    made = method(deep_supervision=True)
    loss, _, logits = loss_and_logits(made, fed, 3, deep=True)
    assert [z.shape[1:3] for z in logits] == [(8, 8), (4, 4), (2, 2)]
    masks = fed["mask"], fed["mask"][:, 1::2, 1::2]  # each coarse voxel's centre
    forms = WEIGHTS | {"background": False, "over_batch": False}
    fine, coarse = (
        numpy_loss(z, mask, **forms) for z, mask in zip(logits, masks, strict=False)
    )
    assert float(loss) == pytest.approx((2 * fine + coarse) / 3, rel=1e-5)


def test_the_mask_follows_the_view_of_its_image():
    flipping = compose({"flip": {"probability": 1.0, "axis": -1}})
    example = {name: jnp.asarray(array[0]) for name, array in batch().items()}
    seen = method(flipping).views(jax.random.key(0), example)
    np.testing.assert_allclose(seen["image"], example["image"][:, ::-1], atol=1e-6)
    np.testing.assert_array_equal(seen["mask"], example["mask"][:, ::-1])


def test_the_metric_is_the_dice_of_the_structures_that_are_there():
    fed = batch(structures=2)  # class 2 is only where it is made up
    _, metrics, (logits,) = loss_and_logits(method(), fed, 3)
    found = logits.argmax(axis=-1)
    each = []
    for mask, one in zip(fed["mask"], found, strict=True):
        there = [k for k in (1, 2) if (mask == k).any() or (one == k).any()]
        pairs = [(mask == k, one == k) for k in there]
        dice = [2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]
        each.append(np.mean(dice))
    assert float(metrics["dice"]) == pytest.approx(np.mean(each), rel=1e-5)


def test_nothing_found_where_nothing_is_counts_as_right():
    made = method(classes=0, regions=1)
    fed = batch(regions=1)
    fed = {"image": jnp.asarray(fed["image"]), "mask": jnp.zeros_like(fed["mask"])}
    params, aux = made.init(jax.random.key(0), fed)
    params["head"]["output0"]["bias"] -= 1e3
    loss = jax.jit(lambda params: made.loss(params, aux, fed, None, jnp.int32(0)))
    assert loss(params)[1][1]["dice"] == 1


@pytest.mark.parametrize("regions", [1, 3])
def test_the_metric_of_regions_is_of_what_is_rather_inside_than_not(regions):
    fed = batch(regions=regions)
    made = method(classes=0, regions=regions)
    _, metrics, (logits,) = loss_and_logits(made, fed, regions)
    found, truth = logits > 0, fed["mask"] == 1
    both = 2 * (found & truth).sum((1, 2)) / (found.sum((1, 2)) + truth.sum((1, 2)))
    assert float(metrics["dice"]) == pytest.approx(both.mean(), rel=1e-5)


@pytest.mark.parametrize(
    "settings", [{"classes": 3, "deep_supervision": True}, {"classes": 0, "regions": 3}]
)
def test_predictions_are_of_the_view_of_evaluation_by_running_statistics(settings):
    made, fed = method(**settings), jax.tree.map(jnp.asarray, batch())
    params, aux = made.init(jax.random.key(0), fed)
    random = np.random.default_rng(2)
    statistics = jax.tree.map(
        lambda x: x + jnp.float32(0.05 * random.standard_normal(x.shape)),
        aux["batch_stats"]["head"],
    )
    aux = {"batch_stats": {**aux["batch_stats"], "head": statistics}}
    head = decoder(outputs=3, deep=settings["classes"] > 0)

    @jax.jit
    def both(params):
        p = made.predict(params, aux, fed["image"])["mask"]
        halved = fed["image"] / 2
        features, _ = pyramid().apply(STATELESS, halved, False)
        variables = {"params": params["head"], "batch_stats": statistics}
        return p, head.apply(variables, (halved, features.maps), False)[0]

    p, z = both(params)
    z = np.float64(z[0] if settings["classes"] else z)
    expected = softmax(z, axis=-1) if settings["classes"] else expit(z)
    assert np.ptp(p, axis=(1, 2)).min() > 0.01  # voxels are told apart
    np.testing.assert_allclose(p, expected, rtol=1e-4)


def test_statistics_of_both_parts_are_kept():
    made, fed = method(), jax.tree.map(jnp.asarray, batch())
    params, aux = made.init(jax.random.key(0), fed)
    loss = jax.jit(lambda aux: made.loss(params, aux, fed, None, jnp.int32(0)))
    _, (after, _) = loss(aux)
    before, after = aux["batch_stats"], after["batch_stats"]
    assert after["backbone"]["passes"] == 1
    moved = jax.tree.map(
        lambda a, b: np.abs(a - b).max(), before["head"], after["head"]
    )
    assert min(jax.tree.leaves(moved)) > 0


def test_epochs_of_freezing_are_counted_in_updates():
    # 4 updates an epoch, of two micro-batches each
    assert method(frozen_epochs=1.5).frozen == {"backbone": 6}


@pytest.mark.parametrize(
    "settings, named",
    [
        ({"classes": 0}, "method.classes 0 and method.regions 0"),
        ({"classes": 1}, "method.classes 1"),
        ({"classes": 3, "regions": 2}, "method.classes 3 and method.regions 2"),
        ({"dice": 0.0, "cross_entropy": 0.0}, "and both are 0"),
    ],
)
def test_classes_exclude_regions_and_a_loss_has_a_weight(settings, named):
    with pytest.raises(ConfigError, match=named):
        method(**settings)
