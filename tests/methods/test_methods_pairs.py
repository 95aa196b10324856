"""BYOL, SimCLR and MICLe as they run, against their papers' formulas in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from linear import linear

from medssl_jax.methods.byol import byol
from medssl_jax.methods.simclr import simclr
from medssl_jax.optim.durations import Durations
from medssl_jax.views.compose import View
from medssl_jax.views.op import Op

RUN = Durations(examples=64, batch_size=16, micro_batch_size=8, epochs=4)
SIZE = 8


def view(scale):
    def apply(key, x):
        return x * scale + 0.3 * jax.random.normal(key, x.shape)

    return View((Op(lambda key, shape: key, apply),))


VIEWS = {"first": view(1.0), "second": view(0.5)}
GIVEN = {"views": VIEWS, "durations": RUN, "axis_name": None, "dtype": jnp.float32}


def batch(**more):
    image = np.random.default_rng(0).standard_normal((SIZE, 4, 4, 1))
    return {"image": jnp.float32(image), **more}


def started(made, arrays):
    """Return perturbed parameters, so that no part is a copy of another's start."""
    params, aux = made.init(jax.random.key(3), arrays)
    random = np.random.default_rng(1)

    def moved(leaf):
        return leaf + jnp.float32(0.1 * random.standard_normal(leaf.shape))

    params = jax.tree.map(moved, params)
    aux = jax.tree.map(lambda x: moved(x) if x.ndim else x, aux)
    return params, aux


def fed(made, arrays, seed=5):
    keys = jax.random.split(jax.random.key(seed), SIZE)
    return jax.vmap(made.views)(keys, arrays)


def norm(x, params=None):
    """Batch norm by the batch's own statistics."""
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    params = params or {}
    return x * params.get("scale", 1) + params.get("bias", 0)


def kept(statistics, *batches):
    """Return running statistics after the mean of those of some batches (n, d)."""
    return {
        "mean": 0.9 * statistics["mean"]
        + 0.1 * np.mean([x.mean(0) for x in batches], 0),
        "var": 0.9 * statistics["var"] + 0.1 * np.mean([x.var(0) for x in batches], 0),
    }


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-4, atol=1e-6)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def hidden(x, params):
    return x @ params["hidden"]["kernel"] + params["hidden"]["bias"]


def head_of_byol(x, params):
    x = hidden(x, params)
    return np.maximum(norm(x, params["norm"]), 0) @ params["output"]["kernel"]


def byols_loss(online, target, first, second):
    """arXiv:2006.07733, eq. 2 and the line below it: both ways, summed."""

    def projected(params, x):
        features = x.reshape(SIZE, -1) @ params["backbone"]["matrix"]
        return head_of_byol(features, params["projector"])

    total = 0
    for v, other in ((first, second), (second, first)):
        q = unit(head_of_byol(projected(online, v), online["predictor"]))
        z = unit(projected(target, other))
        total = total + ((q - z) ** 2).sum(axis=1)
    return total.mean()


def double(tree):
    return jax.tree.map(np.float64, tree)


def tau(update):
    """1 - (1 - base) (cos(pi k / K) + 1) / 2, of 16 updates."""
    return 1 - 0.1 * (np.cos(np.pi * update / 16) + 1) / 2


def test_byols_statistics_are_the_mean_of_both_views():
    made = byol(linear(), hidden_size=12, output_size=5, base_tau=0.9, **GIVEN)
    params, aux = started(made, batch())
    views = fed(made, batch())
    _, (after, _) = jax.jit(made.loss)(
        params, aux, views, jax.random.key(0), jnp.int32(0)
    )
    known, before = double(params), double(aux["batch_stats"])
    x = [np.float64(views[v]).reshape(SIZE, -1) for v in VIEWS]
    x = [one @ known["backbone"]["matrix"] for one in x]
    for part in ("projector", "predictor"):
        each = [hidden(one, known[part]) for one in x]
        expected = kept(before[part]["norm"], *each)
        assert_close(after["batch_stats"][part]["norm"], expected)
        x = [head_of_byol(one, known[part]) for one in x]
    assert after["batch_stats"]["backbone"]["passes"] == 2  # both views in one


def test_byols_loss_is_the_papers():
    made = byol(linear(), hidden_size=12, output_size=5, base_tau=0.9, **GIVEN)
    params, aux = started(made, batch())
    views = fed(made, batch())
    loss, (_, metrics) = jax.jit(made.loss)(
        params, aux, views, jax.random.key(0), jnp.int32(11)
    )
    np.testing.assert_allclose(metrics["tau"], tau(11), rtol=1e-6)
    online, target = double(params), double(aux["target"])
    pair = np.float64(views["first"]), np.float64(views["second"])
    np.testing.assert_allclose(loss, byols_loss(online, target, *pair), rtol=1e-5)
    # a wrong pairing, or no predictor, is another number
    assert abs(loss - byols_loss(online, target, pair[0], pair[0])) > 1e-2


def test_byols_gradient_does_not_reach_the_target_and_is_the_papers():
    """By central differences of the transcription, along a random direction."""
    made = byol(linear(), hidden_size=12, output_size=5, base_tau=0.9, **GIVEN)
    params, aux = started(made, batch())
    views = fed(made, batch())

    def loss(params, target):
        given = {**aux, "target": target}
        return made.loss(params, given, views, jax.random.key(0), jnp.int32(0))[0]

    gradient, of_target = jax.jit(jax.grad(loss, (0, 1)))(params, aux["target"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(of_target))
    random = np.random.default_rng(2)
    way = jax.tree.map(lambda x: random.standard_normal(x.shape), params)
    pair = np.float64(views["first"]), np.float64(views["second"])
    ends = [
        byols_loss(
            jax.tree.map(lambda x, w, h=h: x + h * w, double(params), way),
            double(aux["target"]),
            *pair,
        )
        for h in (1e-5, -1e-5)
    ]
    slope = sum(
        (np.float64(g) * w).sum()
        for g, w in zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
    )
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-3)


def test_byols_target_follows_by_tau_of_the_update():
    """arXiv:2006.07733, eq. 1."""
    made = byol(linear(), hidden_size=12, output_size=5, base_tau=0.9, **GIVEN)
    params, aux = started(made, batch())
    same, after = made.after_update(params, aux, jnp.int32(11))
    expected = jax.tree.map(
        lambda t, o: tau(11) * t + (1 - tau(11)) * o,
        double(aux["target"]),
        {name: double(params[name]) for name in aux["target"]},
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        after["target"],
        expected,
    )
    jax.tree.map(np.testing.assert_array_equal, same, params)
    assert set(after["target"]) == {"backbone", "projector"}


@pytest.mark.parametrize("layers", [2, 3])
def test_simclrs_loss_is_the_papers(layers):
    """arXiv:2002.05709, eq. 1, over the 2N views, and half of its code's number."""
    made = simclr(
        linear(), hidden_size=12, output_size=5, layers=layers, temperature=0.2, **GIVEN
    )
    params, aux = started(made, batch())
    views = fed(made, batch())
    loss, (after, _) = jax.jit(made.loss)(
        params, aux, views, jax.random.key(0), jnp.int32(0)
    )
    known, before = double(params), double(aux["batch_stats"])
    after = after["batch_stats"]["projector"]
    x = np.concatenate([np.float64(views[v]).reshape(SIZE, -1) for v in VIEWS])
    x = x @ known["backbone"]["matrix"]
    head = known["projector"]
    for place in ("", "_2")[: layers - 1]:
        x = x @ head[f"hidden{place}"]["kernel"]
        # of both views together
        expected = kept(before["projector"][f"norm{place}"], x)
        assert_close(after[f"norm{place}"], expected)
        x = np.maximum(norm(x, head[f"norm{place}"]), 0)
    z = unit(norm(x @ head["output"]["kernel"], head["output_norm"]))
    scores = np.exp(z @ z.T / 0.2)
    total = 0
    for i in range(2 * SIZE):
        others = scores[i].sum() - scores[i, i]
        total -= np.log(scores[i, (i + SIZE) % (2 * SIZE)] / others)
    np.testing.assert_allclose(loss, total / (2 * SIZE), rtol=1e-5)


@pytest.mark.parametrize("make", ["byol", "simclr"])
def test_the_two_views_are_of_two_keys_and_each_of_its_own_kind(make):
    made = {
        "byol": lambda: byol(
            linear(), hidden_size=12, output_size=5, base_tau=0.9, **GIVEN
        ),
        "simclr": lambda: simclr(
            linear(), hidden_size=4, output_size=5, layers=2, temperature=1.0, **GIVEN
        ),
    }[make]()
    arrays = batch()
    views = fed(made, arrays)
    noise = {
        "first": (views["first"] - arrays["image"]) / 0.3,
        "second": (views["second"] - 0.5 * arrays["image"]) / 0.3,
    }
    one, other = (np.float64(x).reshape(SIZE, -1) for x in noise.values())
    assert 0.8 < one.std() < 1.2 and 0.8 < other.std() < 1.2
    # of two views, and of two examples: nothing is drawn twice
    drawn = np.concatenate([one, other])
    correlation = np.corrcoef(drawn) - np.eye(len(drawn))
    assert np.abs(correlation).max() < 0.9


def test_the_partner_is_the_second_view_of_micle():
    made = simclr(
        linear(), hidden_size=4, output_size=5, layers=2, temperature=1.0, **GIVEN
    )
    partner = jnp.full((SIZE, 4, 4, 1), 100.0)
    views = fed(made, batch(partner=partner))
    assert abs(float(views["first"].mean())) < 1
    np.testing.assert_allclose(views["second"].mean(), 50.0, atol=0.5)
