"""Several tasks on one backbone: loss, gradient and words are those of each alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from emitter import AS_USERS

from medssl_jax import resolve
from medssl_jax.errors import ConfigError
from medssl_jax.methods import base
from medssl_jax.models.features import Features
from medssl_jax.models.network import Network
from medssl_jax.models.unet import unet

TASKS = {  # without their weights
    name: {k: x for k, x in settings.items() if k != "weight"}
    for name, settings in tiny.SETTINGS["joint"]["tasks"].items()
}
IMAGE_ITSELF = Network(
    lambda key, x: {"params": {}, "batch_stats": {}},
    lambda variables, x, train, keys=None: (Features(x.reshape(len(x), -1), (x,)), {}),
)
SMALL = unet(ndim=3, width=2, levels=1)  # it has batch statistics, and compiles soon
KEY, UPDATE = jax.random.key(1), jnp.int32(0)


def joint(backbone=IMAGE_ITSELF, **tasks):
    tasks = {name: {"weight": 1.0, **settings} for name, settings in tasks.items()}
    return tiny.method("joint", None, backbone, tasks=tasks)


def arrays(seed):
    return jax.tree.map(jnp.asarray, tiny.batch(seed))


def gradient_of(method):
    def of(params, aux, views):
        return jax.value_and_grad(method.loss, has_aux=True)(
            params, aux, views, KEY, UPDATE
        )

    return jax.jit(of, compiler_options=AS_USERS)


@functools.cache
def alone(name):
    """Return a task without others: itself, its state, its views, and its gradient."""
    method = tiny.method(name, None, SMALL, **TASKS[name])
    state = jax.jit(method.init)(KEY, arrays(0))
    (key,) = jax.random.split(KEY, 1)
    views = jax.jit(jax.vmap(method.views, (None, 0)))(key, arrays(1))
    return method, state, views, gradient_of(method)


def named(name, parts):
    return {k if k == "backbone" else f"{name}_{k}": x for k, x in parts.items()}


def state_named(name, params, aux):
    others = {k: x for k, x in aux.items() if k != "batch_stats"}
    stats = {"batch_stats": named(name, aux["batch_stats"])}
    return named(name, params), stats | named(name, others)


def assert_equal(actual, expected, **tolerance):
    tolerance = tolerance or {"rtol": 1e-4, "atol": 1e-5}
    check = functools.partial(np.testing.assert_allclose, **tolerance)
    jax.tree.map(check, actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", TASKS)
def test_one_task_of_weight_1_is_that_task(name):
    method, state, views, gradient = alone(name)
    only = joint(SMALL, **{name: TASKS[name]})
    here = state_named(name, *state)
    made = jax.jit(jax.vmap(only.views, (None, 0)))(KEY, arrays(1))
    assert_equal(made, named(name, views), rtol=0, atol=0)
    (loss, (aux, metrics)), expected = gradient(*state, views)
    (joined, (after, measured)), found = gradient_of(only)(*here, made)
    assert_equal(joined, loss)
    told = {"loss": loss, **metrics}
    assert_equal(measured, {f"{k}/{name}": x for k, x in told.items()})
    assert_equal((found, after), state_named(name, expected, aux))
    moved = jax.jit(method.after_update)(expected, aux, UPDATE)
    moved_here = jax.jit(only.after_update)(found, after, UPDATE)
    assert_equal(moved_here, state_named(name, *moved))


@pytest.fixture(scope="module")
def both():
    """Return the joint state, views, and its loss with gradient."""
    method = tiny.method("joint", None, SMALL)
    params, aux = jax.jit(method.init)(KEY, arrays(0))
    views = jax.jit(jax.vmap(method.views, (None, 0)))(KEY, arrays(1))
    return params, aux, views, gradient_of(method)(params, aux, views)


def part_of(name, parts):
    start = f"{name}_"
    own = {k.removeprefix(start): x for k, x in parts.items() if k.startswith(start)}
    return own | {k: x for k, x in parts.items() if k == "backbone"}


def state_of(name, params, aux):
    stats = {"batch_stats": part_of(name, aux["batch_stats"])}
    return part_of(name, params), stats | part_of(name, aux)


def test_weights_weigh_and_statistics_are_moved_in_turn(both):
    params, aux, views, ((loss, (after, metrics)), gradient) = both
    weights = {"byol": 2.0, "rotation": 0.5}
    total, backbone = 0.0, []
    for name, weight in weights.items():  # in the order of their names
        gradient_alone = alone(name)[-1]
        of_name = state_of(name, params, aux)
        (one, (own_aux, _)), own = gradient_alone(*of_name, part_of(name, views))
        total += weight * one
        backbone.append(jax.tree.map(lambda x, w=weight: w * x, own["backbone"]))
        heads = {k: x for k, x in own.items() if k != "backbone"}
        found = {k: gradient[f"{name}_{k}"] for k in heads}
        assert_equal(found, jax.tree.map(lambda x, w=weight: w * x, heads))
        assert_equal(metrics[f"loss/{name}"], one)
        aux = {**aux, "batch_stats": aux["batch_stats"] | own_aux["batch_stats"]}
    assert_equal(loss, total)
    assert_equal(gradient["backbone"], jax.tree.map(jnp.add, *backbone))
    statistics = after["batch_stats"]["backbone"]
    assert_equal(statistics, aux["batch_stats"]["backbone"])


def test_tasks_start_from_one_backbone_and_draw_apart(both):
    params, aux, views, _ = both
    assert {*params} == {
        "backbone",
        "byol_projector",
        "byol_predictor",
        "rotation_head",
    }
    assert_equal(aux["byol_target"]["backbone"], params["backbone"], rtol=0, atol=0)
    assert views["rotation_images"].shape[2:] == (4, 4, 4, 1)  # rotation_first
    assert views["byol_first"].shape[1:] == tiny.SHAPE
    method = joint(exemplar=tiny.SETTINGS["exemplar"], byol=TASKS["byol"])
    made = jax.vmap(method.views, (None, 0))(KEY, arrays(1))
    assert np.abs(made["byol_first"] - made["exemplar_first"]).min() > 0


def test_what_networks_draw_in_training_is_anothers_for_each_task():
    seen = []

    def apply(variables, x, train, keys=None):
        seen.extend([] if keys is None else jax.random.key_data(keys))
        return Features(x.reshape(len(x), -1), (x,)), {}

    contrastive = {name: tiny.SETTINGS[name] for name in ("exemplar", "simclr")}
    method = joint(IMAGE_ITSELF._replace(apply=apply), **contrastive)
    params, aux = jax.jit(method.init)(KEY, arrays(0))
    views = jax.vmap(method.views, (None, 0))(KEY, arrays(1))
    views[base.KEYS] = jax.random.split(KEY, 8)
    method.loss(params, aux, views, KEY, UPDATE)
    assert len({tuple(key.tolist()) for key in seen}) == 2 * 2 * 8  # tasks, views


def test_what_one_task_asks_of_the_data_all_do():
    swav = tiny.SETTINGS["swav"] | {"modalities": ("ct", "mr"), "frozen_updates": 3}
    method = joint(swav=swav, byol=TASKS["byol"], rotation=TASKS["rotation"])
    assert (method.in_batch, method.strangers) == ("assignments to prototypes", False)
    assert method.modalities == ("ct", "mr") and method.learns == (3, 0)
    assert method.frozen == {"swav_prototypes": 3} and method.predict is None
    compared = {name: tiny.SETTINGS[name] for name in ("cpc", "exemplar", "simclr")}
    method = joint(swav=swav, **compared)
    assert method.in_batch == "negatives and assignments to prototypes"
    assert method.strangers
    method = joint(segment=tiny.SETTINGS["segment"], byol=TASKS["byol"])
    assert method.voxels == base.Voxels(3, 0) and not method.in_batch


GRADES = ("supervised", {"classes": 3, "ordered": True})


@pytest.mark.parametrize(
    "task, settings",
    [*((name, x) for name, x in tiny.SETTINGS.items() if name != "joint"), GRADES],
)
def test_one_task_asks_for_what_it_does_alone(task, settings):
    method = tiny.method(task, None, IMAGE_ITSELF, **settings)
    only = joint(**{task.partition(" ")[0]: settings})
    told = {k for k, x in method._asdict().items() if not (x is None or callable(x))}
    assert {"in_batch", "learns", "ordered", "voxels"} <= told
    for field in told - {"frozen"}:
        assert getattr(only, field) == getattr(method, field), field


def test_a_task_with_labels_predicts_as_it_does_alone():
    backbone = IMAGE_ITSELF
    method = joint(supervised={"classes": 3}, rotation=TASKS["rotation"])
    assert method.learns == (3, 0)
    params, aux = jax.jit(method.init)(KEY, arrays(0))
    params["supervised_head"]["output"]["bias"] += jnp.float32([0.0, 1.0, 2.0])
    images = arrays(1)["image"]
    (found,) = method.predict(params, aux, images).values()
    flat = np.asarray(images).reshape(8, -1)
    layer = params["supervised_head"]["output"]
    logits = flat @ np.asarray(layer["kernel"]) + np.asarray(layer["bias"])
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, p, rtol=1e-4)
    alone = tiny.method("supervised", None, backbone)
    expected = alone.predict(*state_of("supervised", params, aux), images)
    np.testing.assert_allclose(found, expected["probability"], rtol=1e-6)


def test_each_task_tells_of_its_own_metrics():
    method = joint(
        jigsaw=tiny.SETTINGS["jigsaw"],
        rotation=TASKS["rotation"],
        swav=tiny.SETTINGS["swav"] | {"modalities": ("ct", "mr")},
    )
    fine = {"pretext_accuracy": 0.5, "loss_of_guessing": 0.7, "spread": 0.4}
    clusters = {"cross_entropy": 0.5, "prototypes_in_use": 0.9}
    metrics = {"loss": 1.0} | {
        f"{k}/{task}": x for task in ("jigsaw", "rotation") for k, x in fine.items()
    }
    metrics |= {f"{k}/{m}/swav": x for m in ("ct", "mr") for k, x in clusters.items()}
    assert method.early(metrics) == method.verdict(metrics) == ""
    early = method.early(metrics | {"pretext_accuracy/jigsaw": 0.999})
    assert early.startswith("jigsaw: solved in the first epoch (99.9%")
    wrong = {"loss_of_guessing/rotation": 0.99, "prototypes_in_use/mr/swav": 0.01}
    said = method.verdict(metrics | wrong)
    assert said.startswith("rotation: at chance")
    assert said.endswith("; swav: mr: only 1.0% of 6 prototypes are in use")


@pytest.mark.parametrize(
    "tasks, said",
    [
        ({}, "config.method.tasks is empty"),
        ({"rotate": {"weight": 1.0}}, "config.method.tasks: unknown name 'rotate'"),
        ({"rotation": {}}, "config.method.tasks.rotation.weight is missing"),
        ({"rotation": {"weight": 0}}, "config.method.tasks.rotation.weight is 0: it"),
        (
            {"rotation": {"weight": 1.0, "hidden": ()}},
            "config.method.tasks.rotation.hidden is no setting of rotation",
        ),
        (
            {"rotation": {"weight": 1.0, "hidden_sizes": (0,)}},
            r"config.method.tasks.rotation.hidden_sizes is \(0,\): 0 should be",
        ),
        (
            {"rotation": {"weight": 1.0, "views": ()}},
            "config.method.tasks.rotation.views is no setting",
        ),
        ({"rotation": 3}, "config.method.tasks is .*: 3 should be a valid dict"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_before_anything_is_built(tasks, said):
    settings = {"name": "joint", "tasks": tasks}
    given = dict.fromkeys(("views", "durations", "axis_name", "dtype"))
    with pytest.raises(ConfigError, match=said):
        resolve.check_named("method", "medssl_jax.methods", settings, None, **given)


def test_what_a_task_refuses_is_told_in_its_name():
    with pytest.raises(ConfigError, match=r"tasks\.cpc: method.negatives is 'x'"):
        joint(cpc=tiny.SETTINGS["cpc"] | {"negatives": "x"})
    method = joint(jigsaw=tiny.SETTINGS["jigsaw"] | {"jitter": 9})
    with pytest.raises(
        ConfigError, match=r"config\.method\.tasks\.jigsaw: .*jitter is 9"
    ):
        method.views(KEY, {"image": arrays(0)["image"][0]})


def test_tasks_that_cannot_be_on_one_backbone_are_refused():
    labels = {"classes": 3, "frozen_epochs": 1.0}
    with pytest.raises(ConfigError, match="tasks.supervised keeps the backbone frozen"):
        joint(supervised=labels, rotation=TASKS["rotation"])
    with pytest.raises(ConfigError, match=r"differ in learns: .*supervised \(2, 0\)"):
        joint(supervised={"classes": 2}, swav=tiny.SETTINGS["swav"])
