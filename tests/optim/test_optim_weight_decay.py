"""Weight decay over updates: optimizers by hand in NumPy, at other decays each time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medssl_jax import optim
from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.schedules import weight_decay

UPDATES, ACCUMULATION = 5, 2
DURATIONS = Durations(examples=UPDATES * 4, batch_size=4, micro_batch_size=2, epochs=1)
DECAY = {"start": 0.04, "end": 0.4}
# DINO's np.cos over np.arange(updates), written out
DECAYS = 0.4 - 0.36 * (1 + np.cos(np.pi * np.arange(UPDATES) / UPDATES)) / 2
RATE, MOMENTUM, TRUST = 0.3, 0.9, 0.02


def by_adamw(w, gradients, decays):
    first = second = 0.0
    for t, (gradient, decay) in enumerate(zip(gradients, decays, strict=True), 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.99 * second + 0.01 * gradient**2
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.99**t)) + 1e-8)
        w = w - RATE * (step + decay * w)
    return w


def by_sgd(w, gradients, decays):
    velocity = 0.0
    for gradient, decay in zip(gradients, decays, strict=True):
        velocity = MOMENTUM * velocity + gradient + decay * w
        w = w - RATE * velocity
    return w


def by_lars(w, gradients, decays):
    velocity = 0.0
    for gradient, decay in zip(gradients, decays, strict=True):
        decayed = gradient + decay * w
        ratio = TRUST * np.linalg.norm(w) / np.linalg.norm(decayed)
        velocity = MOMENTUM * velocity + ratio * decayed
        w = w - RATE * velocity
    return w


def by_larc(w, gradients, decays):
    velocity = 0.0
    for gradient, decay in zip(gradients, decays, strict=True):
        length, steepness = np.linalg.norm(w), np.linalg.norm(gradient)
        ratio = TRUST * length / (steepness + decay * length + 1e-8)
        velocity = MOMENTUM * velocity + ratio * (gradient + decay * w)
        w = w - RATE * velocity
    return w


LARC = {"momentum": MOMENTUM, "trust_coefficient": TRUST}
BY_HAND = {
    "adamw": (by_adamw, {"b1": 0.9, "b2": 0.99}),
    "larc": (by_larc, LARC),
    "lars": (by_lars, LARC | {"lr_after_momentum": True}),
    "sgd": (by_sgd, {"momentum": MOMENTUM, "nesterov": False}),
}
every_optimizer = pytest.mark.parametrize("name", BY_HAND)


def optimizer(name, weight_decay=DECAY, **settings):
    settings = BY_HAND[name][1] | settings
    return optim.optimizer(
        DURATIONS, lambda update: RATE, name=name, weight_decay=weight_decay, **settings
    )


def data():
    """Return first weights (6, 7) and the micro-batches' gradients of them."""
    random = np.random.default_rng(0)
    return random.normal(size=(6, 7)), random.normal(size=(UPDATES, ACCUMULATION, 6, 7))


def trained(tx):
    """Return a part's weights after five updates, under the name "part"."""
    w, gradients = data()
    params = {"part": {"w": jnp.asarray(w, jnp.float32)}}
    state, update = tx.init(params), jax.jit(tx.update)
    for gradient in gradients.reshape(-1, *w.shape):
        given = {"part": {"w": jnp.asarray(gradient, jnp.float32)}}
        moves, state = update(given, state, params)
        params = optax.apply_updates(params, moves)
    return np.asarray(params["part"]["w"])


@every_optimizer
def test_each_update_decays_by_its_own_number(name):
    by_hand, _ = BY_HAND[name]
    w, gradients = data()
    expected = by_hand(w, gradients.mean(axis=1), DECAYS)
    np.testing.assert_allclose(trained(optimizer(name)), expected, rtol=2e-5)
    # so that the above is not true of a decay that stays
    stays = by_hand(w, gradients.mean(axis=1), np.full(UPDATES, DECAYS[0]))
    assert np.abs(expected - stays).max() > 1e-3


@every_optimizer
def test_a_part_that_was_frozen_starts_at_the_decay_of_its_update(name):
    by_hand, _ = BY_HAND[name]
    w, gradients = data()
    expected = by_hand(w, gradients.mean(axis=1)[2:], DECAYS[2:])
    found = trained(optimizer(name, frozen={"part": 2}))
    np.testing.assert_allclose(found, expected, rtol=2e-5)


def test_it_ends_where_it_is_told_to():
    decay = weight_decay(DURATIONS, {"start": 0.4, "end": 0.1})
    assert float(decay(0)) == pytest.approx(0.4)
    assert float(decay(UPDATES)) == pytest.approx(0.1)


def test_a_number_leaves_the_state_as_it_was_before_there_were_schedules():
    params = {"w": jnp.ones((2, 3))}
    count = jnp.zeros((), jnp.int32)
    larc = (
        optax.EmptyState(),
        optax.TraceState(params),
        optax.ScaleByScheduleState(count),
    )
    found = optimizer("larc", 0.1).init(params).inner_opt_state
    assert jax.tree.structure(found) == jax.tree.structure(larc)


@pytest.mark.parametrize(
    "setting, said",
    [
        (-0.1, r"weight_decay is -0\.1; use a number, 0 or more"),
        (float("nan"), "weight_decay is nan"),
        ({"start": -1, "end": 0.1}, r"weight_decay\.start is -1"),
        ({"start": 0.1, "end": float("inf")}, r"weight_decay\.end is inf"),
        ({"start": 0.1}, "weight_decay has start; it takes a number, or start and end"),
        ({"start": 0.1, "stop": 0.2}, "weight_decay has start, stop"),
        ({}, "weight_decay has no fields"),
    ],
)
def test_a_decay_that_cannot_be_is_named(setting, said):
    with pytest.raises(ConfigError, match=rf"config\.optimizer\.{said}"):
        optimizer("adamw", setting)
