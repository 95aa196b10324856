"""A frozen backbone: weights and statistics to the bit, then both move."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import tiny

from medssl_jax.methods import base
from medssl_jax.models.network import Network
from medssl_jax.optim import optimizer
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import init_state, make_train_step

FROZEN, ACCUMULATION, STEPS = 2, 2, 8
EPOCHS = FROZEN / tiny.durations().updates_per_epoch


def method(frozen_epochs=EPOCHS, axis_name=AXIS):
    return tiny.method("supervised", axis_name=axis_name, frozen_epochs=frozen_epochs)


@functools.cache
def run(devices=1, frozen_epochs=EPOCHS):
    """Return () -> the first state, and (state, seed of a batch) -> state, metrics."""
    made = method(frozen_epochs)
    tx = optimizer(
        tiny.durations(ACCUMULATION),
        lambda update: 0.1,
        name="adamw",  # momentum and decay move what has no gradient
        b1=0.9,
        b2=0.99,
        weight_decay=0.1,
        frozen=made.frozen,
    )
    on = parallel("shard_map", jax.devices()[:devices])
    step = on.compile(make_train_step(made, tx, axis_name=AXIS))
    init = jax.jit(functools.partial(init_state, made, tx))

    def moved(state, seed):
        state, metrics = step(on.replicate(state), on.shard(tiny.batch(seed)))
        return jax.device_get(state), jax.device_get(metrics)

    return lambda: jax.device_get(init(jax.random.key(0), tiny.batch(0))), moved


@functools.cache
def trained(devices=1):
    """Return the states before all micro-batches and after each, and the metrics."""
    start, moved = run(devices)
    states, metrics = [start()], []
    for seed in range(STEPS):
        state, measured = moved(states[-1], seed)
        states.append(state)
        metrics.append(measured)
    return states, metrics


def same_bits(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def all_differ(one, other):
    return not any(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


def test_weights_and_statistics_keep_their_bits_and_then_both_move():
    states, _ = trained()
    weights = [state.params["backbone"] for state in states]
    statistics = [state.aux["batch_stats"] for state in states]
    thawed = FROZEN * ACCUMULATION
    for i in range(1, thawed + 1):
        assert same_bits(weights[i], weights[0])
        assert same_bits(statistics[i], statistics[0])
    assert all_differ(statistics[thawed + 1], statistics[0])  # by the next micro-batch
    assert same_bits(weights[thawed + 1], weights[0])
    assert all_differ(weights[thawed + ACCUMULATION], weights[0])  # by the next update


def test_the_head_learns_from_the_first_update():
    states, _ = trained()
    heads = [state.params["head"] for state in states[::ACCUMULATION]]
    for before, after in itertools.pairwise(heads):
        assert all_differ(before, after)


def test_a_frozen_backbone_is_used_as_in_evaluation():
    made = method(axis_name=None)
    batch = tiny.batch(1)
    params, aux = jax.jit(made.init)(jax.random.key(0), batch)
    key = jax.random.key(0)

    @jax.jit
    def loss(update):
        return made.loss(params, aux, batch, key, update)[0]

    predicted = jax.jit(made.predict)(params, aux, batch["image"])
    p = np.asarray(predicted["probability"])
    expected = -np.log(p[np.arange(8), batch["label"]]).mean()
    assert float(loss(jnp.int32(FROZEN - 1))) == pytest.approx(expected, rel=1e-5)
    assert float(loss(jnp.int32(FROZEN))) != pytest.approx(expected, rel=1e-2)


@pytest.mark.slow
def test_eight_devices_equal_one_before_and_after():
    (one, one_metrics), (many, many_metrics) = trained(1), trained(8)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-3, atol=1e-4)
    for i in (FROZEN * ACCUMULATION, FROZEN * ACCUMULATION + 1):
        jax.tree.map(close, many[i].params, one[i].params)
        jax.tree.map(close, many[i].aux, one[i].aux)
        assert float(many_metrics[i]["loss"]) == pytest.approx(
            float(one_metrics[i]["loss"]), rel=1e-4
        )
    assert same_bits(many[FROZEN * ACCUMULATION].aux, one[0].aux)


@pytest.mark.parametrize("stop", [3, 5])  # frozen and thawed, between two updates
def test_a_run_goes_on_from_its_checkpoint_to_the_same_bits(tmp_path, stop):
    states, _ = trained()
    start, moved = run()
    with ocp.StandardCheckpointer() as disk:
        disk.save(tmp_path / "state", states[stop])
        disk.wait_until_finished()
        state = disk.restore(tmp_path / "state", start())
    for seed in range(stop, STEPS):
        state, _ = moved(state, seed)
    assert same_bits(state, states[-1])


def times_w(variables, x, train, keys=None):
    """A network: x times its weight, and how often it was trained."""
    del keys
    count = variables["batch_stats"]["count"]
    return x * variables["params"], {"count": count + 1 if train else count}


def applied(start, w, x, update, statistics=True):
    variables = {"params": w, "batch_stats": {"count": jnp.float32(5)}}
    network = Network(init=None, apply=times_w)
    return base.train_from(start, network, variables, x, update, None, statistics)


def test_a_frozen_network_hands_on_the_gradient_of_its_input():
    step = jax.value_and_grad(functools.partial(applied, 2), (0, 1), has_aux=True)
    for update, of_w, count in ((1, 0.0, 5.0), (2, 7.0, 6.0)):
        (_, stats), gradient = jax.jit(step)(3.0, 7.0, jnp.int32(update))
        assert gradient == (of_w, 3.0) and stats["count"] == count


def test_statistics_that_are_not_frozen_follow_from_the_first_update():
    free = functools.partial(applied, 2, statistics=False)
    step = jax.value_and_grad(free, (0, 1), has_aux=True)
    for update, of_w in ((1, 0.0), (2, 7.0)):
        (_, stats), gradient = jax.jit(step)(3.0, 7.0, jnp.int32(update))
        assert gradient == (of_w, 3.0) and stats["count"] == 6.0


@pytest.mark.parametrize("name", ["supervised", "segment"])
def test_a_method_freezes_the_statistics_unless_told_not_to(name):
    batch = tiny.batch(1)
    for frozen in (True, False):
        settings = {"frozen_epochs": EPOCHS, "frozen_statistics": frozen}
        made = tiny.method(name, axis_name=None, **settings)
        params, aux = jax.jit(made.init)(jax.random.key(0), batch)
        views = jax.vmap(made.views)(jax.random.split(jax.random.key(1), 8), batch)
        args = params, aux, views, jax.random.key(0), jnp.int32(0)
        _, (new, _) = jax.jit(made.loss)(*args)
        before, after = (x["batch_stats"]["backbone"] for x in (aux, new))
        assert (same_bits if frozen else all_differ)(before, after)


def test_without_freezing_there_is_nothing_to_choose():
    def program(start):
        made = functools.partial(applied, start)
        return str(jax.make_jaxpr(made)(3.0, 7.0, jnp.int32(0)))

    assert "cond" in program(1) and "cond" not in program(0)
    assert method(0.0).frozen == {} and method().frozen == {"backbone": FROZEN}
