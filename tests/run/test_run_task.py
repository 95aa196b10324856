"""Data that a method cannot use is refused before the first step, by name."""

from pathlib import Path

import numpy as np
import pytest
import tiny

from medssl_jax.data.order.mixture import Mixture
from medssl_jax.data.order.sampler import sampler
from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError
from medssl_jax.protocols import experiment
from medssl_jax.run.suitable import check_data
from medssl_jax.run.task import build

CONFIGS = Path(__file__).parents[2] / "configs"


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
