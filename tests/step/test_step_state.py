"""What holds for the step under every method in the package."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from medssl_jax.errors import ConfigError
from medssl_jax.methods.base import KEYS
from medssl_jax.optim.schedules import byol_tau
from medssl_jax.run.suitable import accumulation_warning
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import make_train_step, to_unit, views_fed

DROP_PATH = 0.5  # of the last block: networks draw too
ACCUMULATION = 3  # two micro-batches leave their mean, the third an update
# one that pretrains, one with labels, one with masks, at once; .ci/run has them all
FEW = ("byol", "supervised", "segment")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
        for name in tiny.METHODS
    ],
)
def name(request):
    """Name each method in turn: pytest runs all tests of one before those of the next.

    What was compiled for it is let go: that of all methods would be gigabytes.
    """
    yield request.param
    compiled.cache_clear()
    jax.clear_caches()


@functools.cache
def compiled(name, kind="shard_map", devices=1):
    step = make_train_step(
        tiny.method(name, drop_path=DROP_PATH),
        tiny.optimizer(ACCUMULATION),
        axis_name=AXIS,
    )
    on = parallel(kind, jax.devices()[:devices])
    mapped = on.compile(step)

    def run(state, batch):
        return mapped(state, on.shard(batch))

    run.mapped = mapped
    run.replicate = on.replicate
    return run


def train(name, batches, state=None, **kwargs):
    """Return the states after each batch, on the host, and the last metrics."""
    run = compiled(name, **kwargs)
    state = run.replicate(state or tiny.state(name, ACCUMULATION))
    states = [jax.device_get(state)]
    for batch in batches:
        state, metrics = run(state, batch)
        states.append(jax.device_get(state))
    return states, jax.device_get(metrics)


def assert_trees_equal(actual, expected, **tolerance):
    check = functools.partial(np.testing.assert_allclose, **tolerance)
    jax.tree.map(check, actual, expected)


def fed(method, batch, step):
    """Return what the step makes of a micro-batch, by the rule that is written down."""
    key = jax.random.fold_in(jax.random.key(0), step)
    view_key, _, network_key = jax.random.split(key, 3)
    views = jax.vmap(method.views)(jax.random.split(view_key, 8), batch)
    return {**views, KEYS: jax.random.split(network_key, 8)}


def largest_difference(a, b):
    return max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), a, b)))


def rounding(gradient):
    """Return what another order of summation may change: it grows with the largest."""
    return 8e-6 * max(1.0, *(np.abs(leaf).max() for leaf in jax.tree.leaves(gradient)))


def test_eight_devices_equal_one(name):
    check_eight_devices("shard_map", name)


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "supervised" else pytest.mark.slow)
        for name in FEW
    ],
    indirect=True,
)
def test_eight_devices_equal_one_by_pmap(name):
    check_eight_devices("pmap", name)


def check_eight_devices(kind, name):
    batches = [tiny.batch(seed) for seed in range(ACCUMULATION)]
    one, one_metrics = train(name, batches)
    many, many_metrics = train(name, batches, kind=kind, devices=8)
    # after the first micro-batch the accumulator holds the gradient itself
    gradients = one[1].opt_state.acc_grads, many[1].opt_state.acc_grads
    close = {"rtol": 1e-4, "atol": rounding(gradients[0])}
    assert_trees_equal(*gradients, **close)
    assert_trees_equal(many[-1].params, one[-1].params, **close)
    assert_trees_equal(many[-1].aux, one[-1].aux, **close)
    assert_trees_equal(many_metrics, one_metrics, **close)


def test_the_step_compiles_once(name):
    train(name, [tiny.batch(seed) for seed in range(3)])
    assert compiled(name).mapped._cache_size() == 1


def test_params_move_on_the_last_micro_batch_of_an_update(name):
    states, _ = train(name, [tiny.batch(seed) for seed in range(6)])
    moved = [
        largest_difference(a.params, b.params) > 0
        for a, b in itertools.pairwise(states)
    ]
    assert moved == [False, False, True] * 2


def test_an_update_is_as_long_as_the_rate_says():
    batches = [tiny.batch(seed) for seed in range(ACCUMULATION)]
    start = jax.device_get(tiny.state("supervised", ACCUMULATION))
    whole, half = (
        train("supervised", batches, start.replace(rate=np.float32(rate)))[0][-1]
        for rate in (1.0, 0.5)
    )
    moves = [
        jax.tree.map(lambda new, old: new - old, end.params, start.params)
        for end in (whole, half)
    ]
    doubled = jax.tree.map(lambda move: 2 * move, moves[1])
    assert_trees_equal(doubled, moves[0], rtol=1e-3, atol=1e-6)


def test_target_moves_only_when_the_optimizer_does():
    """By tau (1 - tau at the first update), with the params after the update."""
    states, _ = train("byol", [tiny.batch(seed) for seed in range(6)])
    targets = [state.aux["target"] for state in states]
    for k in (1, 2, 4, 5):
        assert largest_difference(targets[k - 1], targets[k]) == 0
    updates = tiny.durations().updates
    for update, k in enumerate([3, 6]):
        tau = float(byol_tau(0.9, updates)(update))
        online = {name: states[k].params[name] for name in targets[0]}
        expected = jax.tree.map(
            lambda target, new, tau=tau: tau * target + (1 - tau) * new,
            targets[k - 1],
            online,
        )
        assert_trees_equal(targets[k], expected, rtol=1e-5, atol=1e-7)


def test_no_gradient_reaches_the_target():
    method = tiny.method("byol", axis_name=None)
    batch = jax.tree.map(jnp.asarray, tiny.batch(0))
    params, aux = method.init(jax.random.key(0), batch)
    views = {name: jnp.asarray(tiny.batch(1)["image"]) for name in ("first", "second")}

    def loss(aux):
        return method.loss(params, aux, views, jax.random.key(0), jnp.int32(0))[0]

    gradient = jax.jit(jax.grad(lambda target: loss({**aux, "target": target})))(
        aux["target"]
    )
    assert all(not leaf.any() for leaf in jax.tree.leaves(gradient))


def test_every_micro_batch_gets_its_own_views(name):
    """Of one state and batch, two steps have two gradients: nothing else differs."""
    (start, after), _ = train(name, [tiny.batch(0)])
    later = start.replace(step=np.int32(1))
    (_, other), _ = train(name, [tiny.batch(0)], later)
    (_, again), _ = train(name, [tiny.batch(0)], start)
    first, second, same = (s.opt_state.acc_grads for s in (after, other, again))
    assert largest_difference(first, same) == 0
    assert largest_difference(first, second) > 100 * rounding(first)


def test_no_key_is_used_twice(name):
    """Else what a view draws would be told by what its label is drawn by."""
    method = tiny.method(name, axis_name=None)
    batch = jax.tree.map(jnp.asarray, tiny.batch(0))
    example = {field: array[0] for field, array in batch.items()}
    with jax.debug_key_reuse(True):
        jax.make_jaxpr(method.views)(jax.random.key(0), example)
        jax.make_jaxpr(method.init)(jax.random.key(0), batch)


def test_what_is_told_is_of_the_gradient_and_of_the_update_that_it_makes():
    batches = [tiny.batch(seed) for seed in range(6)]
    states, metrics = train("byol", batches[:1])
    squares = [
        np.square(x).sum() for x in jax.tree.leaves(states[1].opt_state.acc_grads)
    ]
    assert float(metrics["gradient_norm"]) == pytest.approx(
        sum(squares) ** 0.5, rel=1e-4
    )
    assert metrics["update"] == 0
    _, metrics = train("byol", batches)  # the last of the second update
    tau = byol_tau(0.9, tiny.durations().updates)
    assert float(metrics["tau"]) == pytest.approx(float(tau(1)), rel=1e-6)
    assert metrics["update"] == 2


def test_the_views_that_are_shown_are_those_that_are_fed():
    start = jax.device_get(tiny.state("byol", ACCUMULATION))
    _, metrics = train("byol", [tiny.batch(0)], start.replace(step=np.int32(5)))
    params, aux, batch = jax.tree.map(
        jnp.asarray, (start.params, start.aux, tiny.batch(0))
    )
    method = tiny.method("byol", axis_name=None, drop_path=DROP_PATH)

    @jax.jit
    def loss():
        given = {"key": jax.random.key(0), "step": 5, "global_size": 8}
        shown = views_fed(method, batch, **given)
        views = {**fed(method, batch, step=5), **shown}
        return method.loss(params, aux, views, None, jnp.int32(0))[0]

    assert float(metrics["loss"]) == pytest.approx(float(loss()), rel=1e-5)


def test_accumulation_is_the_mean_of_the_micro_batches_gradients(name):
    batches = [tiny.batch(seed) for seed in range(2)]
    states, _ = train(name, batches)
    method = tiny.method(name, axis_name=None, drop_path=DROP_PATH)

    def gradient(state, batch):
        views = fed(method, batch, state.step)
        loss = functools.partial(
            method.loss, views=views, key=jax.random.key(0), update=jnp.int32(0)
        )
        return jax.grad(lambda params: loss(params, state.aux)[0])(state.params)

    first, second = map(jax.jit(gradient), states[:2], batches)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, first, second)
    close = {"rtol": 1e-4, "atol": rounding(expected)}
    assert_trees_equal(states[2].opt_state.acc_grads, expected, **close)


def test_a_micro_batch_that_is_not_finite_changes_nothing(name):
    bad = tiny.batch(2)
    bad["image"][3] = np.nan
    good = [tiny.batch(seed) for seed in range(3)]
    # in mid-accumulation, and right after an update
    states, _ = train(name, [good[0], bad, *good[1:], bad, good[0]])
    for before, after in ((1, 2), (4, 5)):
        a, b = states[before], states[after]
        assert b.step == a.step + 1
        assert_trees_equal((b.params, b.aux), (a.params, a.aux))
        assert_trees_equal(b.opt_state.acc_grads, a.opt_state.acc_grads)
        assert bool(b.opt_state.skip_state["should_skip"])
    assert int(states[6].opt_state.gradient_step) == 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(states[6].params))


def test_integers_become_the_unit_interval():
    np.testing.assert_allclose(to_unit(jnp.uint8([0, 51, 255])), [0, 0.2, 1])
    half = to_unit(jnp.float16([0.5]))
    assert half.dtype == jnp.float32 and half == 0.5


def test_a_partner_is_cast_as_the_image_and_the_second_view_is_made_of_it():
    batch = tiny.batch(0)
    pixels = np.random.default_rng(4).integers(0, 256, batch["image"].shape, np.uint8)
    method = tiny.method("simclr")
    fed = jax.jit(
        functools.partial(
            views_fed, method, key=jax.random.key(0), step=5, global_size=8
        )
    )
    alone, paired = fed(batch), fed({**batch, "partner": pixels})
    of_partner = fed({"image": np.float32(pixels) / 255})
    close = functools.partial(np.testing.assert_allclose, atol=1e-6)
    close(paired["first"], alone["first"])
    close(paired["second"], of_partner["second"])
    assert largest_difference(paired["second"], alone["second"]) > 0.1


@pytest.mark.parametrize("name", ["simclr", "exemplar", "cpc"])
def test_a_batch_without_negatives_is_refused(name):
    step = compiled(name)
    batch = {field: array[:1] for field, array in tiny.batch(0).items()}
    with pytest.raises(ConfigError, match="micro_batch_size is 1"):
        step(step.replicate(tiny.state(name, ACCUMULATION)), batch)


@pytest.mark.parametrize(
    "name, accumulation, said",
    [("simclr", 2, "negatives come from one"), ("simclr", 1, ""), ("byol", 2, "")],
)
def test_accumulation_is_warned_of_where_it_adds_no_negatives(name, accumulation, said):
    warning = accumulation_warning(tiny.method(name), tiny.durations(accumulation))
    assert said in warning and bool(warning) == bool(said)
    if said:
        assert "batch_size 16" in warning and "micro-batches of 8" in warning
