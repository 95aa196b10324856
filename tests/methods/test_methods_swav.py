"""SwAV against its formulas in NumPy; modalities, queue, labels, frozen prototypes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import swav_numpy

from medssl_jax.errors import ConfigError
from medssl_jax.methods import ring, usage
from medssl_jax.methods.swav import swav
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.optim.durations import Durations
from medssl_jax.optim.optimizers import optimizer
from medssl_jax.step.parallel import AXIS, parallel
from medssl_jax.step.state import init_state, make_train_step
from medssl_jax.views.compose import View
from medssl_jax.views.op import Op

SETTINGS = {
    "hidden_size": 24,
    "output_size": 5,
    "crops": {"assigned": 2, "small": 2},
    "prototypes": 7,
    "temperature": 0.1,
    "epsilon": 0.05,
    "iterations": 3,
    "frozen_updates": 0,
    "queue_length": 0,
    "queue_from_epoch": 0.0,
}
RUN = Durations(examples=64, batch_size=16, micro_batch_size=16, epochs=8)


def rows():
    """A backbone whose features are its first eight voxels: known by hand."""

    def apply(variables, x, train, keys=None):
        del keys
        flat = x.reshape(len(x), -1)[:, :8]
        vectors = flat * variables["params"]["scale"][None]
        passes = variables["batch_stats"]["passes"] + int(train)
        return Features(vectors, ()), {"passes": passes}

    def init(key, x):
        del key, x
        stats = {"passes": jnp.int32(0)}
        return {"params": {"scale": jnp.ones(8)}, "batch_stats": stats}

    return Network(init, apply)


def view(apply):
    """Return the view that gives apply(key, image)."""
    return View((Op(lambda key, shape: key, apply),))


VIEWS = {
    "assigned": view(lambda key, x: x + 0.3 * jax.random.normal(key, x.shape)),
    "small": view(lambda key, x: x[:3] * jax.random.uniform(key)),
}


def method(axis_name=None, **changed):
    given = {"views": VIEWS, "durations": RUN} | SETTINGS | changed
    return swav(rows(), axis_name=axis_name, dtype=jnp.float32, **given)


def batch(seed=0, size=16):
    random = np.random.default_rng(seed)
    return {
        "image": jnp.float32(random.standard_normal((size, 4, 4, 1))),
        "label": jnp.int32(random.integers(-1, 3, size)),
    }


def fed(made, arrays, seed=5):
    keys = jax.random.split(jax.random.key(seed), len(arrays["image"]))
    return jax.vmap(made.views)(keys, arrays)


def numpys(params, views, queue=None, modalities=("all",), beta=0.0, alpha=1.0):
    """Return the loss by the transcription, of the views as they were drawn."""
    params = jax.tree.map(np.float64, params)
    crops = [np.moveaxis(np.asarray(views[k]), 1, 0) for k in ("assigned", "small")]
    flat = np.concatenate([c.reshape(*c.shape[:2], -1)[..., :8] for c in crops])
    z = swav_numpy.head(flat.reshape(-1, 8).astype(np.float64), params["projector"])
    z = z.reshape(*flat.shape[:2], -1)
    kept = {name: None if queue is None else queue[name] for name in modalities}
    loss = alpha * sum(
        swav_numpy.swapped(
            z[:, place :: len(modalities)],
            params["prototypes"][name],
            assigned=2,
            temperature=0.1,
            epsilon=0.05,
            iterations=3,
            queue=kept[name],
        )
        for place, name in enumerate(modalities)
    )
    if beta:
        head = params["head"]["output"]
        logits = flat[:2].reshape(-1, 8) @ head["kernel"] + head["bias"]
        labels = np.tile(np.asarray(views["label"]), 2)
        loss += beta * swav_numpy.cross_entropy(logits, labels)
    return loss


def loss_of(made, params, aux, views, update=0):
    step = jax.jit(made.loss)
    return step(params, aux, views, jax.random.key(0), jnp.int32(update))


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"modalities": ("ct", "mr")},
        {"modalities": ("ct", "mr", "xray", "us"), "alpha": 0.7},
        {"alpha": 0.5, "beta": 2.0, "classes": 3},
    ],
)
def test_the_loss_is_the_printed_one(changed):
    made = method(**changed)
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    loss, _ = loss_of(made, params, aux, views)
    names = changed.get("modalities", ("all",))
    weights = {name: changed[name] for name in ("alpha", "beta") if name in changed}
    expected = numpys(params, views, modalities=names, **weights)
    np.testing.assert_allclose(loss, expected, rtol=2e-5)


def test_every_crop_of_every_example_has_a_key_of_its_own():
    noise = view(lambda key, x: x + jax.random.normal(key, x.shape))
    arrays = batch(1)
    made = fed(method(views={"assigned": noise, "small": noise}), arrays)
    drawn = np.concatenate(
        [made[kind][:, i] - arrays["image"] for kind in VIEWS for i in range(2)]
    ).reshape(64, -1)
    assert 0.8 < drawn.std() < 1.2
    correlation = np.corrcoef(np.float64(drawn)) - np.eye(64)
    assert np.abs(correlation).max() < 0.95


def test_statistics_are_those_of_all_crops_one_size_after_the_other():
    made = method()
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    _, (after, _) = loss_of(made, params, aux, views)
    assert after["batch_stats"]["backbone"]["passes"] == 2
    crops = [np.moveaxis(np.float64(views[kind]), 1, 0) for kind in VIEWS]
    flat = [crop.reshape(32, -1)[:, :8] for crop in crops]
    hidden = jax.tree.map(np.float64, params["projector"]["hidden"])
    x = np.concatenate(flat) @ hidden["kernel"] + hidden["bias"]
    found = after["batch_stats"]["projector"]["norm"]
    np.testing.assert_allclose(found["mean"], 0.1 * x.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found["var"], 0.9 + 0.1 * x.var(0), rtol=1e-4)


def test_prototypes_in_use_are_told_of_as_many_samples_as_there_are_crops():
    """10 samples for each of 7 prototypes are 3 micro-batches of 16 images, 2 crops."""
    made = method()
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    idle = {"all": jnp.full(7, 3, jnp.int32)}
    _, (after, metrics) = loss_of(made, params, aux | {"idle": idle}, views)
    used = np.asarray(after["idle"]["all"]) == 0
    assert 0 < used.sum() < 7 and set(np.asarray(after["idle"]["all"])) == {0, 4}
    assert float(metrics["prototypes_in_use"]) == pytest.approx(used.mean())


def test_prototypes_of_one_modality_do_not_see_the_others():
    made = method(modalities=("ct", "mr"))
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))

    def of_ct(params):
        metrics = made.loss(params, aux, views, None, jnp.int32(0))[1][1]
        return metrics["cross_entropy/ct"]

    gradient = jax.jit(jax.grad(of_ct))(params)["prototypes"]
    assert np.abs(gradient["ct"]).max() > 0
    assert not gradient["mr"].any()


def full(names=("all",), length=32, seed=9):
    """Return rings that are full of rows of unit length."""
    random = np.random.default_rng(seed)
    rings = {}
    for name in names:
        kept = swav_numpy.l2(random.standard_normal((2, length, 5)))
        rings[name] = ring.push(ring.empty((2, length, 5)), jnp.float32(kept))
    return rings


@pytest.mark.parametrize("names", [("all",), ("ct", "mr")])
def test_a_full_queue_takes_part_scored_with_todays_prototypes(names):
    changed = {} if names == ("all",) else {"modalities": names}
    made = method(queue_length=32, **changed)
    params, aux = made.init(jax.random.key(0), batch())
    views, aux = fed(made, batch(1)), aux | {"queue": full(names)}
    for key in (1, 2):  # other prototypes, other scores of the same embeddings
        moved = jax.tree.map(
            lambda c, key=key: jax.random.normal(jax.random.key(key), c.shape) / 2,
            params["prototypes"],
        )
        params = params | {"prototypes": moved}
        loss, _ = loss_of(made, params, aux, views)
        kept = {name: np.float64(aux["queue"][name]["rows"]) for name in names}
        expected = numpys(params, views, queue=kept, modalities=names)
        np.testing.assert_allclose(loss, expected, rtol=2e-5)
        alone = numpys(params, views, modalities=names)
        assert abs(alone - expected) > 1e-3


def test_the_queue_waits_for_its_epoch_and_until_it_is_full():
    # 2 updates an epoch, of two micro-batches each, which add 16 rows
    run = Durations(examples=64, batch_size=32, micro_batch_size=16, epochs=8)
    made = method(queue_length=32, queue_from_epoch=2.0, durations=run)
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    expected = numpys(params, views)
    early, _ = loss_of(made, params, aux | {"queue": full()}, views, update=3)
    np.testing.assert_allclose(early, expected, rtol=2e-5)
    empty, (_, metrics) = loss_of(made, params, aux, views, update=4)
    np.testing.assert_allclose(empty, expected, rtol=2e-5)
    kept = {"all": np.float64(full()["all"]["rows"])}
    used, _ = loss_of(made, params, aux | {"queue": full()}, views, update=4)
    np.testing.assert_allclose(used, numpys(params, views, queue=kept), rtol=2e-5)
    assert metrics["cross_entropy"] == empty


def test_no_gradient_reaches_the_queue():
    made = method(queue_length=32)
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))

    def loss(queue):
        return made.loss(params, aux | {"queue": queue}, views, None, jnp.int32(0))[0]

    rings = full()
    gradient = jax.jit(jax.grad(loss, allow_int=True))(rings)
    assert not gradient["all"]["rows"].any()


def test_a_ring_keeps_the_newest_rows_in_its_places():
    ten = jnp.arange(10.0)[None, :, None]
    found = ring.empty((1, 4, 1))
    for start in (0, 3, 6):
        assert not bool(ring.is_full(found)) or start
        found = ring.push(found, ten[:, start : start + 3])
    np.testing.assert_array_equal(found["rows"][0, :, 0], [8, 5, 6, 7])
    assert bool(ring.is_full(found)) and int(found["next"]) == 1


def test_the_embeddings_of_the_assigned_crops_enter_the_queue():
    made = method(queue_length=48)
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    _, (aux, _) = loss_of(made, params, aux, views)
    _, (aux, _) = loss_of(made, params, aux, views)
    rows = aux["queue"]["all"]["rows"]
    np.testing.assert_allclose(rows[:, :16], rows[:, 16:32], atol=1e-5)
    assert not rows[:, 32:].any()
    np.testing.assert_allclose(np.linalg.norm(rows[:, :32], axis=-1), 1, rtol=1e-5)
    crops = np.asarray(views["assigned"])
    flat = np.moveaxis(crops, 1, 0).reshape(2, 16, -1)[..., :8]
    small = np.moveaxis(np.asarray(views["small"]), 1, 0).reshape(2, 16, -1)[..., :8]
    every = np.concatenate([flat, small]).reshape(-1, 8)
    projector = jax.tree.map(np.float64, params["projector"])
    expected = swav_numpy.head(every, projector)[:32].reshape(2, 16, 5)
    np.testing.assert_allclose(rows[:, :16], expected, atol=1e-5)


def test_examples_without_a_label_do_not_move_the_head():
    made = method(beta=1.0, classes=3)
    params, aux = made.init(jax.random.key(0), batch())
    arrays = batch(1)
    gradient = jax.jit(
        jax.grad(lambda p, v: made.loss(p, aux, v, None, jnp.int32(0))[0])
    )
    none = gradient(params, fed(made, arrays | {"label": np.full(16, -1, np.int32)}))
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(none))
    assert not any(leaf.any() for leaf in jax.tree.leaves(none["head"]))
    some = gradient(params, fed(made, arrays))
    unlabelled = jnp.float32(arrays["label"] < 0)
    other = arrays["image"] + unlabelled[:, None, None, None]
    unlabelled_moved = gradient(params, fed(made, arrays | {"image": other}))
    jax.tree.map(
        functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7),
        some["head"],
        unlabelled_moved["head"],
    )
    assert np.abs(some["head"]["output"]["kernel"]).max() > 0


def trained(count, devices=1, **changed):
    made = method(AXIS, **changed)
    tx = optimizer(
        RUN,
        lambda update: 0.3,
        name="sgd",
        weight_decay=0.1,
        momentum=0.9,
        nesterov=False,
        frozen=made.frozen,
    )
    on = parallel("shard_map", jax.devices()[:devices])
    step = on.compile(make_train_step(made, tx, axis_name=AXIS))
    make = jax.jit(functools.partial(init_state, made, tx))
    state = on.replicate(make(jax.random.key(0), batch()))
    states = [jax.device_get(state)]
    for seed in range(count):
        state, _ = step(state, on.shard(batch(seed)))
        states.append(jax.device_get(state))
    return states


def test_frozen_prototypes_keep_their_bits_and_then_have_unit_length():
    states = trained(4, frozen_updates=2)
    first, *later = [state.params["prototypes"]["all"] for state in states]
    np.testing.assert_array_equal(later[0], first)
    np.testing.assert_array_equal(later[1], first)
    assert np.abs(later[2] - first).max() > 1e-4
    np.testing.assert_allclose(np.linalg.norm(later[3], axis=1), 1, rtol=1e-6)
    scale = [state.params["backbone"]["scale"] for state in states]
    assert np.abs(scale[1] - scale[0]).max() > 0


@pytest.mark.slow
def test_eight_devices_equal_one_with_modalities_and_a_queue():
    changed = {"modalities": ("ct", "mr"), "queue_length": 16, "frozen_updates": 1}
    one, many = (trained(4, devices, **changed) for devices in (1, 8))
    check = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=1e-5)
    jax.tree.map(check, one[-1].params, many[-1].params)
    jax.tree.map(check, one[-1].aux, many[-1].aux)
    assert int(one[-1].aux["queue"]["ct"]["filled"]) == 16


def test_prototypes_in_use_are_those_that_the_last_samples_were_nearest_to():
    idle = usage.never(4)
    assert usage.share(idle, samples=8) == 0
    # 10 samples for each of 4 prototypes are 5 micro-batches of 8
    for nearest in ([0], [1], [1], [1], [1]):
        scores = jnp.eye(4)[jnp.array(nearest * 8)][None]
        idle = usage.after(idle, scores, None)
    assert usage.share(idle, samples=8) == 0.5
    idle = usage.after(idle, scores, None)
    assert usage.share(idle, samples=8) == 0.25


def test_entropy_is_one_for_uniform_codes_and_zero_for_certain_ones():
    assert float(usage.entropy(jnp.full((2, 3, 6), 1 / 6))) == pytest.approx(1)
    assert float(usage.entropy(jnp.eye(6)[None])) == 0


def test_a_network_that_sees_no_difference_is_called_stuck_at_ln_k():
    """All images alike: the loss of a real step, not a number made up."""
    made = method(modalities=("ct", "mr"))
    params, aux = made.init(jax.random.key(0), batch())
    views = fed(made, batch(1))
    alike = {
        name: jnp.zeros_like(view) if name != "label" else view
        for name, view in views.items()
    }
    _, (_, metrics) = loss_of(made, params, aux, alike)
    assert float(metrics["cross_entropy/ct"]) == pytest.approx(math.log(7), rel=1e-5)
    words = made.verdict({name: float(value) for name, value in metrics.items()})
    assert "ct: the loss 1.946 is not below ln 7 = 1.946" in words and "; mr:" in words
    fine = {
        f"{what}/{m}": 0.5
        for m in ("ct", "mr")
        for what in ("cross_entropy", "prototypes_in_use")
    }
    assert made.verdict(fine) == ""
    few = made.verdict(fine | {"prototypes_in_use/mr": 0.05})
    assert few == "mr: only 5.0% of 7 prototypes are in use"


@pytest.mark.parametrize(
    "changed, said",
    [
        ({"prototypes": 1}, "method.prototypes is 1; use 2 or more"),
        ({"crops": {"assigned": 1}}, "two or more crops called 'assigned'"),
        ({"crops": {"assigned": 2, "tiny": 1}}, "config.views has no view of that"),
        ({"beta": 1.0}, "method.classes 0 and method.findings 0"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(changed, said):
    with pytest.raises(ConfigError) as error:
        method(**changed)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "changed, said",
    [
        (
            {"modalities": ("a", "b", "c")},
            "16 samples on each, not divisible by 3 modalities; use a multiple of 3",
        ),
        ({"queue_length": 8}, "method.queue_length 8 is less than the 16 embeddings"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(changed, said):
    made = method(**changed)
    params, aux = made.init(jax.random.key(0), batch())
    with pytest.raises(ConfigError) as error:
        loss_of(made, params, aux, fed(made, batch(1)))
    assert said in str(error.value)


def test_a_queue_that_devices_cannot_share_is_named():
    with pytest.raises(
        ConfigError, match="method.queue_length 20 is not divisible by 8"
    ):
        trained(1, 8, queue_length=20)
