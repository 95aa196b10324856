"""Optimizers against values measured on the published implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medssl_jax import optim
from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations


@jax.enable_x64(True)
def run_lars(lr_after_momentum):
    random = np.random.RandomState(0)
    params = {"w": random.randn(3, 4), "b": 0.1 * random.randn(4)}
    weights = [random.randn(3, 4) for _ in range(3)]
    biases = [random.randn(4) for _ in range(3)]
    rates = jnp.asarray([0.2, 0.1, 0.05])
    tx = optim.lars(
        lambda update: rates[update],
        weight_decay=0.1,
        momentum=0.9,
        trust_coefficient=0.001,
        mask=optim.is_kernel,
        lr_after_momentum=lr_after_momentum,
    )
    params = jax.tree.map(jnp.asarray, params)
    state = tx.init(params)
    for w, b in zip(weights, biases, strict=True):
        gradient = {"w": jnp.asarray(w), "b": jnp.asarray(b)}
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(np.asarray, params)


def test_lars_in_byols_order_equals_the_reference():
    params = run_lars(lr_after_momentum=True)
    w = [1.7632847319, 0.4000380808, 0.9786478064, 2.2408869387]
    b = [0.2689028956, 0.3764856714, 0.1863345674, 0.0307153487]
    np.testing.assert_allclose(np.sum(params["w"]), 8.978133695039, atol=1e-8)
    np.testing.assert_allclose(params["w"][0], w, atol=1e-8)
    np.testing.assert_allclose(params["b"], b, atol=1e-8)


def test_lars_in_simclrs_order_equals_the_reference():
    params = run_lars(lr_after_momentum=False)
    np.testing.assert_allclose(np.sum(params["w"]), 8.977866262104, atol=1e-8)


def test_what_is_added_does_not_decay():
    shapes = {
        "patch_embed": {"kernel": (4, 4, 1, 8), "bias": (8,)},
        "positions": (3, 3, 8),
        "cls_token": (8,),
        "norm": {"scale": (8,), "bias": (8,)},
    }
    params = jax.tree.map(jnp.ones, shapes, is_leaf=lambda x: isinstance(x, tuple))
    marked = jax.tree_util.tree_leaves_with_path(optim.is_kernel(params))
    assert [jax.tree_util.keystr(path) for path, true in marked if true] == [
        "['patch_embed']['kernel']"
    ]


@jax.numpy_dtype_promotion("standard")  # optax raises a float to an integer's power
def test_adamw_decays_kernels_alone_as_in_its_paper():
    random = np.random.default_rng(0)
    w, b = random.normal(size=(3, 4)), random.normal(size=4)
    gradients = random.normal(size=(3, 4, 4))  # of 3 updates: 3 rows for w, 1 for b
    tx = optim.adamw(0.1, b1=0.9, b2=0.99, weight_decay=0.2)
    params = {"w": jnp.asarray(w, jnp.float32), "b": jnp.asarray(b, jnp.float32)}
    state = tx.init(params)
    first, second, expected = 0.0, 0.0, np.vstack([w, b])
    decay = 0.2 * np.array([[1], [1], [1], [0]])
    for t, gradient in enumerate(gradients, start=1):
        given = jnp.asarray(gradient, jnp.float32)
        updates, state = tx.update({"w": given[:3], "b": given[3]}, state, params)
        params = optax.apply_updates(params, updates)
        # algorithm 2 of arXiv:1711.05101
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        unbiased = first / (1 - 0.9**t), second / (1 - 0.99**t)
        step = unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8) + decay * expected
        expected = expected - 0.1 * step
    ours = np.vstack([params["w"], params["b"]])
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


@jax.numpy_dtype_promotion("standard")  # as above
def test_adam_is_that_of_its_paper():
    random = np.random.default_rng(0)
    expected, gradients = random.normal(size=4), random.normal(size=(3, 4))
    tx = optim.adam(0.1, b1=0.8, b2=0.95)
    params = jnp.asarray(expected, jnp.float32)
    state, first, second = tx.init(params), 0.0, 0.0
    for t, gradient in enumerate(gradients, start=1):
        updates, state = tx.update(jnp.asarray(gradient, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
        # algorithm 1 of arXiv:1412.6980
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        unbiased = first / (1 - 0.8**t), second / (1 - 0.95**t)
        expected = expected - 0.1 * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8)
    np.testing.assert_allclose(params, expected, rtol=1e-5)


def test_lars_trusts_fully_where_a_norm_is_zero():
    tx = optim.lars(
        1.0,
        weight_decay=0.0,
        momentum=0.0,
        trust_coefficient=0.001,
        mask=optim.is_kernel,
        lr_after_momentum=True,
    )
    params, gradient = {"w": jnp.zeros((2, 2))}, {"w": jnp.ones((2, 2))}
    updates, _ = tx.update(gradient, tx.init(params), params)
    np.testing.assert_array_equal(updates["w"], -np.ones((2, 2)))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_equals_torchs_documented_rule_and_decays_kernels_only(nesterov):
    random = np.random.RandomState(0)
    w, b = random.randn(3, 4), random.randn(4)
    gradients = [(random.randn(3, 4), random.randn(4)) for _ in range(3)]
    rates = [0.2, 0.1, 0.05]
    with jax.enable_x64(True):
        table = jnp.asarray(rates)
        tx = optim.sgd(
            lambda update: table[update],
            weight_decay=0.1,
            momentum=0.9,
            nesterov=nesterov,
            mask=optim.is_kernel,
        )
        params = {"w": jnp.asarray(w), "b": jnp.asarray(b)}
        state = tx.init(params)
        for dw, db in gradients:
            gradient = {"w": jnp.asarray(dw), "b": jnp.asarray(db)}
            updates, state = tx.update(gradient, state, params)
            params = optax.apply_updates(params, updates)
    velocity_w, velocity_b = np.zeros((3, 4)), np.zeros(4)
    for (dw, db), rate in zip(gradients, rates, strict=True):
        dw = dw + 0.1 * w
        velocity_w, velocity_b = 0.9 * velocity_w + dw, 0.9 * velocity_b + db
        w = w - rate * (dw + 0.9 * velocity_w if nesterov else velocity_w)
        b = b - rate * (db + 0.9 * velocity_b if nesterov else velocity_b)
    np.testing.assert_allclose(params["w"], w, atol=1e-12)
    np.testing.assert_allclose(params["b"], b, atol=1e-12)


def larc_in_numpy(w, gradients, rates, *, decay, momentum, trust):
    """Return w after each step, from the definition; lengths of 0 are left as apex."""
    path, velocity = [], np.zeros_like(w)
    for gradient, rate in zip(gradients, rates, strict=True):
        length, steepness = np.sqrt(np.sum(w**2)), np.sqrt(np.sum(gradient**2))
        if length > 0 and steepness > 0:
            ratio = trust * length / (steepness + decay * length + 1e-8)
            gradient = ratio * (gradient + decay * w)
        velocity = momentum * velocity + gradient
        w = w - rate * velocity
        path.append(w)
    return path


@pytest.mark.parametrize("decay", [0.1, 1e-7])
@jax.enable_x64(True)
def test_larc_equals_numpy_for_leaves_of_every_rank_with_and_without_length(decay):
    random = np.random.RandomState(0)
    params = {
        "kernel": random.randn(2, 3, 4),
        "bias": random.randn(4),
        "scalar": random.randn(),
        "zero": np.zeros(4),  # as biases start
        "without gradient": random.randn(4),
    }
    scales = 10.0 ** np.arange(-9, 3, 3)  # epsilon counts beside the first ones
    gradients = {
        name: [scale * random.randn(*np.shape(w)) for scale in scales]
        for name, w in params.items()
    }
    gradients["without gradient"][1] = np.zeros(4)  # momentum moves it, decay not
    rates = [0.2, 0.1, 0.4, 0.05]
    settings = {"momentum": 0.9, "trust": 0.02, "decay": decay}
    expected = {
        name: larc_in_numpy(np.asarray(w), gradients[name], rates, **settings)
        for name, w in params.items()
    }
    table = jnp.asarray(rates)
    tx = optim.larc(
        lambda update: table[update],
        weight_decay=decay,
        momentum=0.9,
        trust_coefficient=0.02,
    )
    params = jax.tree.map(jnp.asarray, params)
    state = tx.init(params)
    for step in range(4):
        gradient = {name: jnp.asarray(g[step]) for name, g in gradients.items()}
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        for name, w in params.items():
            np.testing.assert_allclose(w, expected[name][step], rtol=1e-12)


def test_an_unknown_optimizer_lists_the_known():
    durations = Durations(examples=4, batch_size=4, micro_batch_size=4, epochs=1)
    with pytest.raises(ConfigError, match="known: adam, adamw, larc, lars, sgd"):
        optim.optimizer(durations, lambda update: 0.1, name="larsen")
