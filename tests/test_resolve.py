"""Settings meet the functions that they are for: what does not fit is named."""

import functools
import traceback

import numpy as np
import pytest

from medssl_jax import optim, resolve
from medssl_jax.data.host import HostTransform
from medssl_jax.data.order import roles
from medssl_jax.errors import ConfigError
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations
from medssl_jax.saved import encoder

DURATIONS = Durations(examples=64, batch_size=8, micro_batch_size=8, epochs=4.0)


def method(backbone, *, views, tau, width=3):
    return backbone, views, tau, width


GIVEN = functools.partial(method, "resnet", views=())


def test_settings_and_what_is_given_arrive_where_they_belong():
    assert resolve.call("method", GIVEN, {"tau": 0.9}) == ("resnet", (), 0.9, 3)


@pytest.mark.parametrize(
    "stated, said",
    [
        (
            {"tau": 0.9, "widht": 4},
            "config.method.widht is no setting of method; known: tau, width",
        ),
        ({"width": 4}, "config.method.tau is missing: method needs it"),
        # what the code gives is no setting, whether by name or by place
        ({"tau": 0.9, "views": ()}, "config.method.views is no setting"),
        ({"tau": 0.9, "backbone": ""}, "config.method.backbone is no setting"),
    ],
)
def test_a_setting_that_does_not_fit_is_named_with_those_that_do(stated, said):
    with pytest.raises(ConfigError) as error:
        resolve.call("method", GIVEN, stated)
    assert said in str(error.value)


def faulty(**settings):
    def inner(argument):
        return argument

    return inner(**settings)


def test_a_type_error_of_our_own_keeps_its_traceback():
    with pytest.raises(TypeError, match="unexpected keyword argument 'seed'") as error:
        resolve.call("data", faulty, {"seed": 1})
    assert "faulty" in [frame.name for frame in traceback.extract_tb(error.tb)]


PHANTOM = {"name": "phantom_slices", "count": 4, "seed": 0, "size_pixels": (16, 16)}


def opened(tmp_path, source, splits):
    host = HostTransform(
        shape=(16, 16), spacing_mm=None, window="percentiles", frames="all"
    )
    return roles.sources(
        source,
        splits,
        host.prepare,
        0,
        tmp_path,
        cache="",
        on_error="raise",
        balance="",
    )


@pytest.mark.parametrize(
    "data, test, said",
    [
        ({"sede": 1}, {}, "config.data.sede is no setting of phantom_slices; known"),
        ({}, {"sede": 1}, "config.splits.test.sede is no setting of phantom_slices"),
        (
            {"sources": ()},
            {},
            "config.data.name, count, seed, size_pixels are no settings",
        ),
    ],
)
def test_a_setting_that_no_part_of_the_data_takes_is_named(tmp_path, data, test, said):
    with pytest.raises(ConfigError) as error:
        opened(tmp_path, PHANTOM | data, {"test": {"seed": 1} | test})
    assert said in str(error.value)


def test_a_fault_inside_a_source_is_no_fault_of_the_config(tmp_path, monkeypatch):
    real = resolve.factory
    monkeypatch.setattr(
        resolve,
        "factory",
        lambda package, name: faulty if name == "faulty" else real(package, name),
    )
    source = {"name": "faulty", "seed": 1}
    for data in (source, {"sources": ({**source, "modality": "ct"},)}):
        with pytest.raises(TypeError, match="unexpected keyword argument"):
            opened(tmp_path, data, {})


def test_a_role_can_have_several_sources_where_training_has_one(tmp_path):
    several = tuple(PHANTOM | {"modality": m, "seed": 1} for m in ("ct", "mr"))
    found = opened(tmp_path, PHANTOM, {"test": {"sources": several}})
    assert len(found["train"]) == 4 and len(found["test"]) == 8


def test_a_source_that_is_used_whole_takes_how_it_is_read_alone(tmp_path):
    host = HostTransform(
        shape=(16, 16), spacing_mm=None, window="percentiles", frames="all"
    )
    data = PHANTOM | {"on_error": "raise"}
    found = roles.whole(data, host.prepare, tmp_path)
    assert len(found) == 4 and not (tmp_path / "kept").exists()
    kept = roles.whole(data | {"cache": "kept"}, host.prepare, tmp_path)
    np.testing.assert_array_equal(kept[1]["image"], found[1]["image"])
    assert (tmp_path / "kept").is_dir()
    with pytest.raises(ConfigError, match="config.data.balance is no setting"):
        roles.whole(data | {"balance": "oversample"}, host.prepare, tmp_path)
    with pytest.raises(ConfigError, match="config.data.on_error is missing"):
        roles.whole(PHANTOM, host.prepare, tmp_path)


@pytest.mark.parametrize(
    "stated, said",
    [
        (
            {"name": "adam", "b1": 0.9, "b2": 0.999, "momentum": 0.9},
            "config.optimizer.momentum is no setting of adam; known: b1, b2",
        ),
        (
            {"name": "adam", "momentum": 0.9, "trust_coefficient": 1e-3},
            "config.optimizer.momentum, trust_coefficient are no settings of adam; known",
        ),
        ({"name": "adam", "b1": 0.9}, "config.optimizer.b2 is missing: adam needs it"),
        ({"name": "adam"}, "config.optimizer.b1, b2 are missing: adam needs them"),
        ({"name": "sgd", "mask": None}, "config.optimizer.mask is no setting of sgd"),
        ({"b1": 0.9}, "config.optimizer.name is missing"),
        # beside settings that go on to another function
        ({"name": "adam", "frozen": {}}, "config.optimizer.frozen is no setting"),
    ],
)
def test_settings_of_another_optimizer_are_named(stated, said):
    given = functools.partial(
        optim.optimizer, DURATIONS, lambda update: 0.1, frozen={"backbone": 3}
    )
    with pytest.raises(ConfigError) as error:
        resolve.call("optimizer", given, stated)
    assert said in str(error.value)


def test_settings_of_another_schedule_are_named():
    given = functools.partial(schedules.schedule, DURATIONS)
    stated = {"name": "cosine", "peak": 0.1, "warmup_epochs": 0.0, "start": 0.1}
    with pytest.raises(ConfigError, match="config.schedule.start is no setting of"):
        resolve.call("schedule", given, stated)


def test_a_field_that_a_model_does_not_have_is_named():
    with pytest.raises(ConfigError, match="config.model.widht is no setting of resnet"):
        encoder.backbone(
            {"name": "resnet", "widht": 8}, dtype=np.float32, axis_name=None
        )
