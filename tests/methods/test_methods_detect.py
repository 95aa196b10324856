"""Detection: its losses against torchvision's formulas, and that it learns to find."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from medssl_jax.boxes import iou
from medssl_jax.data.source import NO_BOX
from medssl_jax.errors import ConfigError
from medssl_jax.losses import giou_loss, sigmoid_focal
from medssl_jax.methods import points as on_points
from medssl_jax.methods.detect import decoded, detect, likeliest
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.models.resnet import resnet
from medssl_jax.optim.durations import Durations
from medssl_jax.views.compose import View

SETTINGS = tiny.SETTINGS["detect"]


@pytest.fixture(scope="module")
def made():
    return tiny.method("detect", axis_name=None)


def losses(method, params, aux, views):
    run = jax.jit(method.loss)
    total, (_, metrics) = run(params, aux, views, jax.random.key(0), jnp.int32(0))
    return float(total), jax.tree.map(float, metrics)


def test_every_examples_loss_is_its_own(made):
    batch = tiny.batch(1)
    params, aux = jax.jit(made.init)(jax.random.key(0), batch)
    views = jax.vmap(made.views)(jax.random.split(jax.random.key(1), 8), batch)
    # of a backbone that normalises over the batch: by its running statistics
    frozen = tiny.method("detect", axis_name=None, frozen_epochs=1.0)
    whole, _ = losses(frozen, params, aux, views)
    parts = [
        losses(frozen, params, aux, jax.tree.map(lambda x, i=i: x[i : i + 2], views))[0]
        for i in range(0, 8, 2)
    ]
    np.testing.assert_allclose(np.mean(parts), whole, rtol=1e-6)


def test_an_image_without_boxes_weighs_no_more_than_others(made):
    batch = tiny.batch(1)
    params, aux = jax.jit(made.init)(jax.random.key(0), batch)
    views = jax.vmap(made.views)(jax.random.split(jax.random.key(1), 8), batch)
    views["boxes"] = jnp.full_like(views["boxes"], NO_BOX)
    few = tiny.method("detect", axis_name=None, least_points=1.0)
    more, metrics = losses(few, params, aux, views)
    less, _ = losses(made, params, aux, views)
    assert metrics["points"] == metrics["giou"] == metrics["centreness"] == 0
    np.testing.assert_allclose(more, SETTINGS["least_points"] * less, rtol=1e-6)
    slope = jax.jit(
        jax.grad(lambda p: made.loss(p, aux, views, None, jnp.int32(0))[0])
    )(params)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(slope))


def test_a_backbone_of_fewer_maps_is_refused():
    with pytest.raises(ConfigError, match="levels is 3, and config.model has 2 maps"):
        jax.eval_shape(
            tiny.method("detect", axis_name=None, levels=3).init,
            jax.random.key(0),
            tiny.batch(0),
        )


def whole(image_views):
    """Return views that leave images as they are."""
    return dict.fromkeys(image_views, View(()))


def blank(maps):
    """Return a backbone whose maps these are, of an image."""

    def apply(variables, x, train, keys=None):
        del keys, train
        shapes = [tuple(n // s for n in x.shape[1:-1]) for s in maps]
        made = tuple(jnp.zeros((len(x), *shape, 4)) for shape in shapes)
        return Features(jnp.zeros((len(x), 4)), made), variables["batch_stats"]

    return Network(lambda key, x: {"params": {}, "batch_stats": {}}, apply)


def test_the_losses_are_those_of_the_formulas():
    """On a head that says the same everywhere, written out for each image."""
    method = detect(
        blank([8, 16]),
        views=whole(["first", "eval"]),
        durations=Durations(8, 2, 2, 1),
        axis_name=None,
        dtype=jnp.float32,
        **SETTINGS | {"middle": False, "coarser": 0, "kinds": 2, "least_points": 8.0},
    )
    boxes = np.array([[4, 4, 20, 28], [0] * 4, [8, 10, 58, 60], [30, 30, 41, 38]]) / 64
    kinds = [[0], [NO_BOX], [1], [0]]  # the last is one: -1 would be it
    rows = np.concatenate([boxes, kinds], axis=1).astype(np.float32)
    one = np.concatenate([rows[:1], [[0] * 4 + [NO_BOX]] * 3]).astype(np.float32)
    image = np.zeros((2, 64, 64, 1), np.float32)
    batch = {"image": image, "boxes": np.stack([rows, one])}
    params, aux = jax.jit(method.init)(jax.random.key(0), batch)
    params = jax.tree.map(jnp.zeros_like, params)
    params["head"]["kinds"]["bias"] = jnp.array([-1.0, 0.5])
    params["head"]["faces"]["bias"] = jnp.array([0.5, 0.75, 1.0, 1.25])
    params["head"]["middle"]["bias"] = jnp.array([0.25])
    views = jax.vmap(method.views)(jax.random.split(jax.random.key(0), 2), batch)
    total, metrics = losses(method, params, aux, views)

    points = on_points.points_of([(8, 8), (4, 4)], [(8, 8), (16, 16)], middle=False)
    expected = {"focal": [], "giou": [], "centreness": [], "points": []}
    for own in (rows[[0, 2, 3]], one[:1]):
        corners, kinds = jnp.asarray(own[:, :4] * 64), own[:, 4]
        match = on_points.matched(points, corners, jnp.ones(len(own), bool))
        sums = {"focal": 0.0, "giou": 0.0, "centreness": 0.0}
        for i, j in enumerate(match.tolist()):
            right = jnp.array([j >= 0 and kinds[j] == k for k in range(2)])
            focal = sigmoid_focal(jnp.array([-1.0, 0.5]), right, alpha=0.25, gamma=2.0)
            sums["focal"] += float(focal.sum())
            if j < 0:
                continue
            away = np.float32([0.5, 0.75, 1.0, 1.25]) * np.tile(points.strides[i], 2)
            box = np.concatenate([points.at[i] - away[:2], points.at[i] + away[2:]])
            apart = giou_loss(jnp.asarray(box[None], jnp.float32), corners[j][None])
            sums["giou"] += float(apart[0])
            near = on_points.centreness(on_points.faces(points.at[i], corners[j]))
            cross = optax.sigmoid_binary_cross_entropy(jnp.float32(0.25), near)
            sums["centreness"] += float(cross)
        count = int((match >= 0).sum())
        expected["points"].append(count)
        for name, value in sums.items():
            expected[name].append(value / max(count, 8))
    for name, values in expected.items():
        np.testing.assert_allclose(metrics[name], np.mean(values), rtol=1e-5)
    assert min(expected["points"]) < 8 < max(expected["points"])
    three = sum(metrics[name] for name in ("focal", "giou", "centreness"))
    np.testing.assert_allclose(total, three, rtol=1e-6)


def test_decoding_keeps_the_likeliest_of_each_kind_within_the_image():
    points = on_points.points_of([(2, 2)], [(8, 8)], middle=True)
    kinds = jnp.array([[4.0, -9.0], [3.0, -9.0], [-9.0, 2.0], [-9.0, -9.0]])
    distances = jnp.array([[1.0, 1, 1, 1], [1, 2, 1, 0], [0.5] * 4, [0, 0, 0, 0]])
    sides = jnp.array([16.0, 16.0])
    told = decoded(points, kinds, distances, jnp.zeros(4), sides)
    found = likeliest(*told.values(), candidates=8, most=9, overlap=0.5)
    # the second lies on the first; the fourth has no extent
    assert found["kind"].tolist()[:2] == [0, 1]
    np.testing.assert_allclose(found["boxes"][0], [0, 0, 0.75, 0.75])
    np.testing.assert_allclose(found["boxes"][1], [0.5, 0, 1.0, 0.5])
    expected = np.sqrt(0.5 / (1 + np.exp([-4.0, -2.0])))
    np.testing.assert_allclose(found["score"][:2], expected, rtol=1e-6)
    assert len(found["score"]) == 9
    empty = np.asarray(found["kind"]) == -1
    assert (np.asarray(found["score"])[empty] == 0).all() and empty[-1]
    low, high = np.split(np.asarray(found["boxes"])[~empty], 2, axis=1)
    assert (high > low).all()


@pytest.fixture
def optimized():
    """Let XLA optimize: of 150 steps compiling is the smaller part."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.mark.usefixtures("optimized")
@pytest.mark.parametrize("ndim", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_learns_to_find_a_bright_box(ndim):
    """And its size and kind, of images that it has not seen."""
    side = 20 if ndim == 2 else 12
    backbone = resnet(
        ndim=ndim,
        layers=(1, 1),
        block="basic",
        width=8,
        stem="small",
        dtype=jnp.float32,
        axis_name=None,
    )
    settings = SETTINGS | {"coarser": 0, "width": 16, "least_points": 4.0}
    method = detect(
        backbone,
        views=whole(["first", "eval"]),
        durations=Durations(8, 8, 8, 1),
        axis_name=None,
        dtype=jnp.float32,
        **settings | {"candidates": 50},
    )
    train = drawn(np.random.default_rng(0), 64, side, ndim)
    test = drawn(np.random.default_rng(1), 32, side, ndim)
    params, aux = jax.jit(method.init)(jax.random.key(0), train)
    tx = optax.adam(3e-3)

    @jax.jit
    def step(state, i):
        params, aux, opt_state = state
        chosen = jax.tree.map(
            lambda x: jnp.take(x, (jnp.arange(16) + 16 * i) % 64, axis=0), train
        )
        views = jax.vmap(method.views)(jax.random.split(jax.random.key(0), 16), chosen)
        gradient, (aux, _) = jax.grad(method.loss, has_aux=True)(
            params, aux, views, jax.random.key(0), jnp.int32(0)
        )
        updates, opt_state = tx.update(gradient, opt_state)
        return optax.apply_updates(params, updates), aux, opt_state

    state = params, aux, tx.init(params)
    with jax.numpy_dtype_promotion("standard"):  # optax counts in int32
        for i in range(150):
            state = step(state, i)
    params, aux, _ = state
    said = jax.jit(lambda *given: method.decide(method.predict(*given)))
    found = said(params, aux, test["image"])
    truth = test["boxes"][:, 0]
    near = jax.vmap(lambda a, b: iou(a[None], b[None])[0, 0])
    overlap = near(found["boxes"][:, 0], jnp.asarray(truth[:, :-1]))
    assert np.median(overlap) > 0.6
    assert np.mean(np.asarray(found["kind"][:, 0]) == truth[:, -1]) > 0.9


def drawn(random, count, side, ndim):
    """Return noise with one bright box in it, of a kind by how bright it is."""
    image = random.random((count, *(side,) * ndim, 1)).astype(np.float32) * 0.2
    size = random.integers(side // 4, side // 2, (count, ndim))
    low = (random.random((count, ndim)) * (side - size)).astype(int)
    kind = random.integers(0, 2, count)
    for i in range(count):
        inside = tuple(slice(a, a + n) for a, n in zip(low[i], size[i], strict=True))
        image[i][inside] += 0.4 + 0.4 * kind[i]
    rows = np.concatenate([low / side, (low + size) / side, kind[:, None]], axis=1)
    return {"image": image, "boxes": rows[:, None].astype(np.float32)}
