"""What a config stands for: its start, and data that a method cannot use."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from ml_collections import ConfigDict
from reference.layers_numpy import randomised
from test_configs import load

from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.models.resnet import resnet
from medssl_jax.protocols import experiment
from medssl_jax.run.recipe import _init
from medssl_jax.run.suitable import (
    check_data,
    frozen_warning,
    input_warning,
    statistics_warning,
)
from medssl_jax.run.task import build
from medssl_jax.saved.encoder import Encoder

CONFIGS = Path(__file__).parents[2] / "configs"
HOST = {"shape": [4, 8, 8], "spacing_mm": None, "window": "none", "frames": "all"}


def backbone():
    return resnet(**tiny.MODEL, dtype=jnp.float32, axis_name=None)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Return an encoder's folder and its variables, none of which is an initial one."""
    folder, model = tmp_path_factory.mktemp("encoder"), {"name": "resnet", **tiny.MODEL}
    first = jax.jit(backbone().init)(jax.random.key(9), tiny.batch(0)["image"][:1])
    known = jax.device_get(randomised(first))
    Encoder(known, {"model": model, "view": {}, "host": HOST}).save(folder)
    return folder, known


def started(name, init_from, seed=0):
    """Return the method, and its state as a run begins."""
    made = functools.partial(tiny.method, name, None)
    config = ConfigDict(
        {
            "init_from": str(init_from),
            "seed": seed,
            "model": {"name": "resnet", **tiny.MODEL},
        }
    )
    example = {key: array[0] for key, array in tiny.batch(0).items()}
    init = _init(
        config,
        lambda network: made(backbone=network),
        backbone(),
        tiny.optimizer(),
        0.5,
        example,
    )
    state = jax.device_get(init())
    assert state.rate == 0.5
    return made(backbone=backbone()), state


def equal(one, other):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, other)))


@pytest.mark.parametrize("name", ["byol", "simclr", "swav", "supervised", "segment"])
def test_a_run_starts_from_the_encoder_that_it_names_to_the_bit(pretrained, name):
    folder, known = pretrained
    method, state = started(name, folder)
    assert equal(method.encoder(state.params, state.aux), known)
    if name == "byol":
        assert equal(state.aux["target"]["backbone"], known["params"])
        assert equal(state.aux["target"]["projector"], state.params["projector"])
    others = state.params.keys() - {"backbone"}
    _, again = started(name, folder, seed=1)
    assert equal(again.params["backbone"], known["params"])
    assert not any(equal(again.params[part], state.params[part]) for part in others)


def test_without_an_encoder_a_run_starts_from_random_weights_of_its_seed(pretrained):
    _, known = pretrained
    found = [started("supervised", "", seed)[1] for seed in (0, 0, 1)]
    first, same, other, third = (
        [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 1]  # the kernels
        for params in (*(s.params["backbone"] for s in found), known["params"])
    )
    assert equal(first, same)
    assert not any(map(np.array_equal, first, other))
    assert not any(map(np.array_equal, first, third))


def test_what_a_run_exports_is_fed_as_its_evaluation(tmp_path):
    config = load("byol3d", "demo")
    config.data.update(cache="", count=20)
    config.update(batch_size=8, micro_batch_size=4)
    task = build(config, tmp_path)
    assert task.spec["view"] == config.views.eval.to_dict()
    assert task.spec["view"] != config.views.first.to_dict()
    assert tuple(task.spec["host"]["shape"]) == tuple(config.data.shape)
    assert task.spec["model"] == config.model.to_dict() and task.spec["channels"] == 1
    assert task.durations.examples == len(task.sampler) == len(task.sources["train"])
    assert task.durations.accumulation == 2
    assert task.draw.shape == tuple(config.data.shape)


def source(labels=None, count=6):
    return Examples([f"scan-{i}" for i in range(count)], dict, labels=labels)


def mixture(*modalities):
    return Mixture([source() for _ in modalities], modalities)


@pytest.mark.parametrize(
    "given, order, said",
    [
        (("ct", "mr"), "modalities", None),
        (("mr", "ct"), "modalities", "takes turns between are mr, ct: give both"),
        (("ct", "mr"), "shuffled", "takes turns between are none: give both"),
    ],
)
def test_a_methods_modalities_are_those_that_rows_take_turns_between(
    given, order, said
):
    train = mixture(*given)
    rows = sampler(order, train, batch_size=4, seed=0)
    method = tiny.method("swav", modalities=("ct", "mr"), beta=0.0)
    if said is None:
        return check_data(method, rows, train)
    with pytest.raises(ConfigError) as error:
        check_data(method, rows, train)
    assert f"method.modalities are ct, mr, and those that data.sampler {said}" in str(
        error.value
    )


@pytest.mark.parametrize(
    "labels, said",
    [
        (None, "none of the 6 training examples has one"),
        (np.full(6, -1), "none of the 6 training examples has one"),
        (np.array([0, 1, 2, 3, -1, 0]), "scan-3 has the label 3, and method.classes"),
        (np.zeros((6, 2), int), "2 findings, not classes"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels, said):
    train = source(labels)
    rows = sampler("shuffled", train, batch_size=4, seed=0)
    with pytest.raises(ConfigError) as error:
        check_data(tiny.method("swav"), rows, train)
    assert said in str(error.value)


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"method.name": "swav"}, "config.method.base_tau is no setting of swav"),
        (
            {"model.name": "in_plane_densenet"},
            "config.model.block, layers, stem, width",
        ),
        (
            {"evaluation": ({"name": "probe", "k": 3},)},
            r"config.evaluation\[0\].k is no",
        ),
    ],
)
def test_settings_of_another_part_are_refused_before_data_is_opened(
    tmp_path, changes, said
):
    config = experiment.load(str(CONFIGS / "grid.py"), "byol3d:nifti")
    config.data.root = str(tmp_path / "none")
    with pytest.raises(ConfigError, match=said):
        build(experiment.vary(config, changes), tmp_path)


def test_some_labels_are_enough():
    train = source(np.array([-1, -1, 2, -1, -1, -1]))
    rows = sampler("shuffled", train, batch_size=4, seed=0)
    check_data(tiny.method("swav"), rows, train)


def test_random_weights_that_are_frozen_are_warned_of():
    updates = round(1.5 * tiny.durations().updates_per_epoch)
    for name in ("supervised", "segment"):
        frozen, free = (tiny.method(name, frozen_epochs=e) for e in (1.5, 0.0))
        assert f"frozen for {updates} updates" in frozen_warning(frozen, "")
        assert frozen_warning(frozen, "runs/a") == frozen_warning(free, "") == ""


def test_an_encoder_that_is_fed_otherwise_than_it_was_trained_is_told(pretrained):
    plain, known = pretrained
    standardised = plain.parent / "standardised"
    spec = {"model": {"name": "resnet", **tiny.MODEL}, "host": HOST}
    Encoder(known, spec | {"view": {"standardise": {}}}).save(standardised)
    assert input_warning(str(plain), {}) == input_warning("", {"standardise": {}}) == ""
    assert input_warning(str(standardised), {"standardise": {}}) == ""
    said = input_warning(str(standardised), {"flip": {}})
    assert "was trained on standardised images" in said and "add 'standardise'" in said
    said = input_warning(str(plain), {"standardise": {}})
    assert "was not trained on standardised" in said and "remove 'standardise'" in said


def test_a_frozen_encoder_that_saw_patches_is_told(pretrained):
    whole, known = pretrained
    patches = str(whole.parent / "patches")
    model = {"name": "resnet", **tiny.MODEL}
    spec = {"model": model, "host": HOST, "view": {}, "provenance": {"patches": True}}
    Encoder(known, spec).save(Path(patches))
    frozen = {"frozen_epochs": 1.0, "frozen_statistics": True}
    follows, free = (
        frozen | {"frozen_statistics": False},
        frozen | {"frozen_epochs": 0.0},
    )
    assert "config.method.frozen_statistics" in statistics_warning(frozen, patches)
    for method in (follows, free, {"name": "simclr"}):
        assert statistics_warning(method, patches) == ""
    for other in (str(whole), "", "weights.safetensors"):
        assert statistics_warning(frozen, other) == ""
