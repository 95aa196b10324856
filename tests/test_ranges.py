"""Numbers of a config: what is none of its type is refused where it enters, by name."""

import functools
import importlib.util
import inspect
import math
import operator
import typing
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from annotated_types import BaseMetadata, GroupedMetadata
from ml_collections import ConfigDict
from pydantic.fields import FieldInfo

from medssl_jax import resolve
from medssl_jax.data.host import HostTransform, Prepare
from medssl_jax.data.order import roles
from medssl_jax.errors import UserError
from medssl_jax.optim import optimizers, schedules
from medssl_jax.ranges import (
    Count,
    Decay,
    Natural,
    Ndim,
    NotNegative,
    Part,
    Parts,
    Positive,
    Seed,
    Share,
    Workers,
    misfit,
)
from medssl_jax.run import task
from medssl_jax.run.provenance import flat, plain

NAN, INF = math.nan, math.inf
CONFIGS = Path(__file__).parents[1] / "configs"
PACKAGES = ("methods", "models", "evals", "data.sources")
_SIGNED = ("rotation_degrees", "log_gamma", "axes", "axis", "window_hu")  # -7 is fine
OTHERS = [
    HostTransform,
    Prepare,
    roles.sources,
    task._Batching,
    schedules.schedule,
    *(schedules._cosine, schedules._swav, schedules._multistep, schedules._per_epoch),
    *(optimizers.optimizer, optimizers.lars, optimizers.larc, optimizers.sgd),
    *(optimizers.adam, optimizers.adamw),
]


@pytest.mark.parametrize(
    "annotation, fits, others",
    [
        (Count, (1, 10**9), (0, -1, 1.0, NAN, True, "1", None)),
        (Natural, (0, 3), (-1, 0.5)),
        (Seed, (0, 2**32 - 1), (-1, 2**32)),
        (Positive, (1, 1e-30), (0, -1.0, NAN, INF, "1", True)),
        (NotNegative, (0, 0.5), (-1e-9, NAN, INF)),
        (Share, (0, 1, 0.5), (-0.1, 1.1, NAN)),
        (Part, (1, 0.01), (0, 1.1)),
        (Decay, (0, 0.99), (1, -0.1)),
        (Ndim, (2, 3), (1, 4)),
        (Workers, (0, 256), (-1, 257)),
        (Parts, ((0.1, 1),), ((), (0.1, 0), (1.1,), 0.5)),
        (tuple[Count, ...] | None, (None, (4, 5), [4, 5]), ((4.5, 16), (4, 0), 4)),
        (Mapping[str, Count], ({"a": 1},), ({"a": 0}, {"a": 1.5}, ())),
        (ConfigDict, (3, "of no plain type"), ()),
    ],
)
def test_what_fits_a_type_and_what_does_not(annotation, fits, others):
    assert [misfit(value, annotation) for value in fits] == [""] * len(fits)
    assert all(misfit(value, annotation) for value in others)


def test_the_value_in_a_sequence_is_told():
    assert misfit((4.5, 16), tuple[Count, ...]) == "4.5 should be a valid integer"
    assert misfit(0, Count) == "it should be greater than or equal to 1"


def factories():
    for package in PACKAGES:
        name = f"medssl_jax.{package}"
        for known in resolve.known(name):
            yield resolve.factory(name, known)
    yield from OTHERS


def bare_numbers(annotation) -> bool:
    """Say whether a type lets any number pass."""
    if annotation in (int, float):
        return True
    if typing.get_origin(annotation) is typing.Annotated:
        limits = (FieldInfo, BaseMetadata, GroupedMetadata)
        return not any(isinstance(one, limits) for one in annotation.__metadata__)
    return any(map(bare_numbers, typing.get_args(annotation)))


def test_every_number_that_a_config_states_has_a_range():
    found = [
        f"{factory.__qualname__}: {field.name}"
        for factory in factories()
        for field in inspect.signature(factory, eval_str=True).parameters.values()
        if field.kind is field.KEYWORD_ONLY or inspect.isclass(factory)
        if bare_numbers(field.annotation)
    ]
    # a decay can be a schedule, and is looked at as one; frozen is the method's; joint's
    # tasks are looked at by the methods that they name, heads by `auxiliary.head`
    assert {name.split(": ")[1] for name in found} == {
        "weight_decay",
        "frozen",
        "tasks",
        "heads",
    }


def every_config():
    for path in sorted(CONFIGS.glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        config = module.get_config()
        if config.get("command") == "train" and config.data.get("root") != "":
            slow = () if path.stem == "segment" else pytest.mark.slow
            yield pytest.param(config, id=path.stem, marks=slow)


@pytest.mark.parametrize("config", list(every_config()))
def test_a_number_that_cannot_be_is_named_before_an_example_is_read(
    config, tmp_path, monkeypatch
):
    """Every number of a config, also in a sequence, at -7, nan and (counts) a half."""

    def read(self, record, name):
        raise AssertionError("an example was read")

    monkeypatch.setattr(Prepare, "__call__", read)
    passed = []
    for field, value in flat(config).items():
        for bad in _bad(value):
            if field.endswith(_SIGNED) and -7 in np.ravel(bad):
                continue
            with pytest.raises((UserError, AssertionError)) as error:
                task.build(_with(config, field, bad), tmp_path)
            if field.rpartition(".")[2] not in str(error.value):
                passed.append(f"{field}={bad}: {error.value}")
    assert passed == [], "\n".join(passed)


def _with(config: ConfigDict, field: str, value) -> ConfigDict:
    changed = ConfigDict(plain(config))  # unlocked
    *parents, leaf = field.split(".")
    part = functools.reduce(operator.getitem, parents, changed)
    with part.ignore_type():
        part[leaf] = value
    return changed


def _bad(value):
    if isinstance(value, bool):
        return []
    if isinstance(value, int):
        return [-7, NAN, 1.5]
    if isinstance(value, float):
        return [-7.0, NAN]
    if isinstance(value, list) and value:
        return [(bad, *value[1:]) for bad in _bad(value[0])]
    return []
