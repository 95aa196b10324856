"""Frozen parts: untouched to the bit, then as new; the others never know."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from medssl_jax import optim
from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations

LARC = {"weight_decay": 0.1, "momentum": 0.9, "trust_coefficient": 0.02}
SETTINGS = {
    "larc": LARC,
    "lars": LARC | {"lr_after_momentum": False},
    "sgd": {"weight_decay": 0.1, "momentum": 0.9, "nesterov": True},
    "adam": {"b1": 0.9, "b2": 0.99},
    "adamw": {"b1": 0.9, "b2": 0.99, "weight_decay": 0.1},
}
UPDATES, FROZEN, ACCUMULATION = 5, 2, 2
RATES = np.array([0.1, 0.4, 0.2, 0.3, 0.5], np.float32)

every_optimizer = pytest.mark.parametrize("name", SETTINGS)


def rate(update):
    return jnp.asarray(RATES)[update]


def transformation(name, frozen=None, rate=rate):
    durations = Durations(
        examples=8, batch_size=2 * ACCUMULATION, micro_batch_size=2, epochs=1
    )
    return optim.optimizer(durations, rate, name=name, frozen=frozen, **SETTINGS[name])


def start():
    random = np.random.default_rng(0)
    return {
        "backbone": {"kernel": random.normal(size=(3, 4)), "bias": np.zeros(4)},
        "prototypes": {"ct": random.normal(size=(5, 4)), "bias": random.normal(size=4)},
        "projector": random.normal(size=(4, 2)),
    }


def single(tree):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), tree)


def gradient(step):
    random = np.random.default_rng(step + 1)
    return single(jax.tree.map(lambda w: random.normal(size=w.shape), start()))


def train(tx, params, steps, state=None, pick=lambda tree: tree):
    """Return params and states before all steps and after each."""
    params = single(params)
    state = tx.init(params) if state is None else state
    update = jax.jit(tx.update)
    path, states = [params], [state]
    for step in steps:
        moves, state = update(pick(gradient(step)), state, params)
        params = optax.apply_updates(params, moves)
        path.append(params)
        states.append(state)
    return jax.device_get(path), states


@functools.cache
def runs(name):
    """Return the run with frozen prototypes, and the one without."""
    steps = range(UPDATES * ACCUMULATION)
    frozen = train(transformation(name, {"prototypes": FROZEN}), start(), steps)
    return frozen, train(transformation(name), start(), steps)


def assert_same_bits(actual, expected):
    jax.tree.map(np.testing.assert_array_equal, actual, expected)


@every_optimizer
def test_nothing_of_a_frozen_part_moves_until_its_update(name):
    (path, states), (free, _) = runs(name)
    last = (FROZEN + 1) * ACCUMULATION  # the micro-batch of the first move
    for params, state in zip(path[:last], states[:last], strict=True):
        assert_same_bits(params["prototypes"], path[0]["prototypes"])
        parts = state.inner_opt_state.parts
        assert_same_bits(parts, states[0].inner_opt_state.parts)
    for w, before in zip(*map(jax.tree.leaves, (path[last], path[0])), strict=True):
        assert np.all(w != before)
    # so that the above is not true of anything
    moved = free[ACCUMULATION]["prototypes"]["ct"]
    assert np.all(moved != free[0]["prototypes"]["ct"])


@every_optimizer
def test_the_other_parts_are_those_of_a_run_without_freezing(name):
    (path, _), (free, _) = runs(name)
    for part in ("backbone", "projector"):
        assert_same_bits([p[part] for p in path], [p[part] for p in free])


@every_optimizer
def test_a_part_begins_as_new_but_at_the_schedules_rate(name):
    (path, _), _ = runs(name)
    begin = FROZEN * ACCUMULATION
    new, _ = train(
        transformation(name, rate=lambda update: rate(update + FROZEN)),
        {"prototypes": start()["prototypes"]},
        range(begin, UPDATES * ACCUMULATION),
        pick=lambda tree: {"prototypes": tree["prototypes"]},
    )
    actual = [{"prototypes": p["prototypes"]} for p in path[begin:]]
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), actual, new)


def test_thawed_sgd_equals_numpy():
    (path, _), _ = runs("sgd")
    w, velocity = start()["prototypes"]["ct"], 0.0
    for update in range(FROZEN, UPDATES):
        micro = range(update * ACCUMULATION, (update + 1) * ACCUMULATION)
        mean = np.mean([gradient(step)["prototypes"]["ct"] for step in micro], axis=0)
        mean = mean + 0.1 * w
        velocity = 0.9 * velocity + mean
        w = w - RATES[update] * (mean + 0.9 * velocity)
    np.testing.assert_allclose(path[-1]["prototypes"]["ct"], w, rtol=1e-5)


@pytest.mark.parametrize("frozen", [None, {}, {"prototypes": 0}])
def test_without_frozen_updates_it_is_the_same_program(frozen):
    params = single(start())

    def program(tx):
        return str(jax.make_jaxpr(tx.update)(params, tx.init(params), params))

    assert program(transformation("larc", frozen)) == program(transformation("larc"))
    other = transformation("larc", {"prototypes": 1})
    assert program(other) != program(transformation("larc"))


def test_parts_thaw_each_at_its_own_update():
    tx = transformation("sgd", {"prototypes": 1, "projector": 2})
    path, _ = train(tx, start(), range(3 * ACCUMULATION))
    pairs = list(itertools.pairwise(path[::ACCUMULATION]))
    ct = [np.any(b["prototypes"]["ct"] != a["prototypes"]["ct"]) for b, a in pairs]
    assert ct == [False, True, True]
    projector = [np.any(b["projector"] != a["projector"]) for b, a in pairs]
    assert projector == [False, False, True]


def test_a_frozen_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path):
    (path, states), _ = runs("adam")
    tx = transformation("adam", {"prototypes": FROZEN})
    for stop in (3, 7):  # frozen and thawed, both between two updates
        with ocp.StandardCheckpointer() as disk:
            disk.save(tmp_path / str(stop), states[stop])
            disk.wait_until_finished()
            state = disk.restore(tmp_path / str(stop), states[0])
        steps = range(stop, UPDATES * ACCUMULATION)
        again, _ = train(tx, path[stop], steps, state)
        assert_same_bits(again, path[stop:])


def test_a_part_that_is_not_there_is_named_beside_those_that_are():
    tx = transformation("larc", {"prototype": 3})
    has = "'prototype' is not .*: backbone, projector, prototypes"
    with pytest.raises(ConfigError, match=has):
        tx.init(single(start()))
