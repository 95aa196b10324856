"""Heads beside a method's own, in NumPy; labels of slices through views."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from medssl_jax.data.source import UNLABELLED
from medssl_jax.errors import ConfigError
from medssl_jax.methods.auxiliary import auxiliary_heads, of_slices
from medssl_jax.methods.supervised import supervised
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.views.compose import compose
from medssl_jax.views.placed import mask_through, planes_through

RUN = Durations(examples=8, batch_size=4, micro_batch_size=4, epochs=1)
HEADS = {
    "slices": {"planes": True, "weight": 0.5},
    "types": {"findings": (1, 2), "weight": 2.0},
}


def features(seed=0, batch=3):
    """Return maps of six and of three slices, and vectors."""
    rng = np.random.default_rng(seed)
    shapes = (batch, 6, 4, 5, 2), (batch, 3, 2, 2, 3)
    maps = tuple(jnp.asarray(rng.normal(size=s), jnp.float32) for s in shapes)
    return Features(jnp.asarray(rng.normal(size=(batch, 4)), jnp.float32), maps)


def cross_entropy(logits, labels):
    """Return binary cross-entropy in NumPy, 0 where unknown, over all columns."""
    p = expit(np.float64(logits))
    each = -np.where(labels == 1, np.log(p), np.log1p(-p))
    return np.where(labels >= 0, each, 0).mean()


def test_features_of_a_slice_are_those_of_its_plane():
    made = features()
    found = np.asarray(of_slices(made, 6))
    fine, coarse = (np.asarray(x) for x in made.maps)
    pooled = [
        np.concatenate([x.mean((2, 3)), x.max((2, 3))], -1) for x in (fine, coarse)
    ]
    np.testing.assert_allclose(found[..., :4], pooled[0], rtol=1e-5)
    # half way between the middles of two slices twice as thick: a quarter on
    expected = 0.75 * pooled[1][:, 1] + 0.25 * pooled[1][:, 0]
    np.testing.assert_allclose(found[:, 2, 4:], expected, rtol=1e-5)
    np.testing.assert_allclose(found[:, 0, 4:], pooled[1][:, 0], rtol=1e-5)


def test_losses_are_those_of_the_known_labels_each_weighed():
    beside, made = auxiliary_heads(HEADS, dtype=jnp.float32), features()
    assert beside.columns == 3 and beside.planes
    params = beside.init(jax.random.key(0), made)
    assert params["heads"].keys() == HEADS.keys()
    labels = np.array([[0, 1, -1], [1, 0, 1], [1, -1, -1]], np.int32)
    planes = np.array([[0, 1, 1, 0, -1, -1], [-1] * 6, [1, 0, 0, 0, 0, 1]], np.int32)
    total, told = beside.loss(
        params, made, {"label": jnp.asarray(labels), "planes": jnp.asarray(planes)}
    )

    def logits(name, x):
        layer = params["heads"][name]["output"]
        return np.asarray(x) @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])

    types = cross_entropy(logits("types", made.pooled), labels[:, 1:])
    slices = cross_entropy(logits("slices", of_slices(made, 6))[..., 0], planes)
    np.testing.assert_allclose(told["types_loss"], types, rtol=1e-5)
    np.testing.assert_allclose(told["slices_loss"], slices, rtol=1e-5)
    np.testing.assert_allclose(total, 2 * types + 0.5 * slices, rtol=1e-5)


def test_what_is_unknown_moves_nothing():
    beside, made = auxiliary_heads(HEADS, dtype=jnp.float32), features()
    params = beside.init(jax.random.key(0), made)
    unknown = {"label": jnp.full((3, 3), -1), "planes": jnp.full((3, 6), -1)}
    gradient = jax.grad(lambda p: beside.loss(p, made, unknown)[0])(params)
    assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(gradient))


@pytest.mark.parametrize(
    "head, said",
    [
        ({"weight": 1.0}, "config.method.heads.a: a head learns findings"),
        ({"weight": 1.0, "findings": (1,), "planes": True}, "give one of them"),
    ],
)
def test_a_head_learns_one_thing(head, said):
    with pytest.raises(ConfigError, match=said):
        auxiliary_heads({"a": head}, dtype=jnp.float32)


def test_images_have_no_slices():
    flat = Features(jnp.zeros((1, 2)), (jnp.zeros((1, 4, 4, 2)),))
    with pytest.raises(ConfigError, match="needs volumes"):
        of_slices(flat, 4)


VIEWS = {
    "none": {},
    "flipped": {"flip": {"axis": -3, "probability": 1.0}},
    "enlarged": {"affine": {"scale": (0.5, 2.0), "axes": (-3, -2, -1)}},
    "shifted": {"affine": {"translation": (-0.4, 0.4), "axes": (-3,)}},
}


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("seed", range(3))
def test_labels_of_slices_follow_them_through_a_view(name, seed):
    rng = np.random.default_rng(seed)
    planes = rng.integers(0, 2, 7).astype(np.int32)
    image = jnp.asarray(rng.random((7, 6, 6, 1)), jnp.float32)
    placed = compose(VIEWS[name]).placed(jax.random.key(seed), image)
    found = np.asarray(planes_through(placed, jnp.asarray(planes)))
    # a mask whose slices are their labels: 0 is beyond, as of masks
    mask = np.broadcast_to(planes[:, None, None] + 1, (7, 6, 6)).astype(np.uint8)
    through = np.asarray(mask_through(placed, jnp.asarray(mask)))[:, 3, 3].astype(int)
    np.testing.assert_array_equal(found, through - 1)
    assert UNLABELLED == -1


def volumes():
    """Return a backbone whose map is the volume, and whose vectors are its means."""

    def apply(variables, x, train, keys=None):
        del train, keys
        vectors = x.mean(axis=(1, 2, 3)) * variables["params"]["scale"]
        return Features(vectors, (x,)), variables["batch_stats"]

    def init(key, x):
        del key, x
        return {"params": {"scale": jnp.ones(())}, "batch_stats": {}}

    return Network(init, apply)


@pytest.mark.parametrize("own", [{"classes": 2}, {"findings": 1}])
def test_a_method_tells_its_own_labels_and_learns_the_others(own):
    whole = compose({})
    method = supervised(
        volumes(),
        views={"first": whole, "eval": whole},
        durations=RUN,
        axis_name=None,
        dtype=jnp.float32,
        heads=HEADS,
        **own,
    )
    assert (method.columns, method.planes) == (3, True)
    rng = np.random.default_rng(0)
    batch = {
        "image": jnp.asarray(rng.random((4, 6, 5, 5, 2)), jnp.float32),
        "label": jnp.asarray(rng.integers(0, 2, (4, 3)), jnp.int32),
        "planes": jnp.asarray(rng.integers(0, 2, (4, 6)), jnp.int32),
    }
    params, aux = method.init(jax.random.key(0), batch)
    views = jax.vmap(method.views)(jax.random.split(jax.random.key(1), 4), batch)
    total, (_, told) = method.loss(params, aux, views, None, jnp.int32(0))
    layer = params["head"]["output"]
    x = np.asarray(batch["image"]).mean((1, 2, 3))
    logits = x @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    first = cross_entropy(logits, np.asarray(batch["label"])[:, :1])
    np.testing.assert_allclose(told["own_loss"], first, rtol=1e-5)
    expected = first + 2 * told["types_loss"] + 0.5 * told["slices_loss"]
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    p = method.predict(params, aux, batch["image"])["probability"]
    assert p.shape[1] == (2 if "classes" in own else 1)
    np.testing.assert_allclose(p[:, -1], expit(logits)[:, 0], rtol=1e-5)
