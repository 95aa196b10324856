"""Schedules against values measured on the published implementations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.optim import schedules
from medssl_jax.optim.durations import Durations


@pytest.mark.parametrize(
    "scaling, peak, batch_size, expected",
    [
        ("linear", 0.3, 4096, 4.8),  # SimCLR's default, arXiv:2002.05709, section 2.2
        ("sqrt", 0.075, 4096, 4.8),  # the two agree there, app. B.1
        ("sqrt", 0.075, 1024, 2.4),
        ("none", 0.3, 4096, 0.3),
    ],
)
def test_scaling_gives_simclrs_learning_rates(scaling, peak, batch_size, expected):
    durations = Durations(
        examples=8 * batch_size, batch_size=batch_size, micro_batch_size=256, epochs=10
    )
    settings = {"name": "cosine", "peak": peak, "warmup_epochs": 1.0}
    rate = schedules.schedule(durations, **settings, scaling=scaling)
    np.testing.assert_allclose(rate(8), expected, rtol=1e-6)
    if scaling == "none":
        assert rate(5) == schedules.schedule(durations, **settings)(5)


@pytest.mark.parametrize(
    ("update", "tau"),
    [
        (0, 0.99),
        (1, 0.9900000247),
        (250, 0.9914644661),
        (500, 0.995),
        (999, 0.9999999753),
        (1000, 1.0),
    ],
)
def test_tau_equals_byols(update, tau):
    with jax.enable_x64(True):
        actual = schedules.byol_tau(0.99, 1000)(jnp.asarray(update))
        np.testing.assert_allclose(actual, tau, atol=1e-10)


@pytest.mark.parametrize(
    ("update", "rate"),
    [
        (0, 0.0),
        (50, 3.6),
        (99, 7.128),
        (100, 7.2),
        (101, 7.19997807),
        (550, 3.6),
        (999, 2.193e-5),
    ],
)
def test_learning_rate_equals_byols(update, rate):
    with jax.enable_x64(True):
        actual = schedules.warmup_cosine(0.45 * 4096 / 256, 100, 1000)(
            jnp.asarray(update)
        )
        np.testing.assert_allclose(actual, rate, rtol=1e-8, atol=5e-9)


def test_multistep_falls_at_its_fractions_of_the_run():
    durations = Durations(examples=40, batch_size=4, micro_batch_size=2, epochs=10)
    rate = schedules.schedule(
        durations, name="multistep", peak=1e-4, factor=0.1, at=(0.6, 0.8)
    )
    rates = [float(rate(update)) for update in (0, 59, 60, 79, 80, 99)]
    np.testing.assert_allclose(rates, [1e-4, 1e-4, 1e-5, 1e-5, 1e-6, 1e-6], rtol=1e-5)


def test_per_epoch_decay_falls_once_an_epoch():
    durations = Durations(examples=40, batch_size=4, micro_batch_size=2, epochs=3)
    rate = schedules.schedule(durations, name="per_epoch", peak=1.0, factor=0.98)
    rates = [float(rate(update)) for update in (0, 9, 10, 20)]
    np.testing.assert_allclose(rates, [1.0, 1.0, 0.98, 0.98**2], rtol=1e-6)


SWAV = {"name": "swav", "peak": 0.3, "start": 0.01875, "end": 0.0003}


@pytest.mark.parametrize(
    "update, rate", [(0, 0.3), (3129, 4.8), (3130, 4.8), (31299, 0.00480001)]
)
def test_learning_rate_equals_swavs(update, rate):
    durations = Durations(
        examples=313 * 4096, batch_size=4096, micro_batch_size=4096, epochs=100
    )
    with jax.enable_x64(True):
        schedule = schedules.schedule(
            durations, warmup_epochs=10, scaling="linear", **SWAV
        )
        actual = schedule(jnp.asarray(update))
        np.testing.assert_allclose(actual, rate, atol=5e-9)  # all digits given


@pytest.mark.parametrize("warmup", [0, 1, 2, 7])
def test_swavs_learning_rate_equals_numpy_at_every_update(warmup):
    durations = Durations(examples=40, batch_size=4, micro_batch_size=2, epochs=4)
    schedule = schedules.schedule(durations, warmup_epochs=warmup / 10, **SWAV)
    t = np.arange(40 - warmup)
    fall = 0.0003 + 0.5 * (0.3 - 0.0003) * (1 + np.cos(np.pi * t / (40 - warmup)))
    expected = np.concatenate([np.linspace(0.01875, 0.3, warmup), fall])
    actual = [float(schedule(update)) for update in range(40)]
    np.testing.assert_allclose(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(
    "name, ends", [("cosine", {}), ("swav", {"start": 0.0, "end": 0.0})]
)
def test_a_warmup_as_long_as_the_run_says_what_to_change(name, ends):
    durations = Durations(examples=40, batch_size=4, micro_batch_size=2, epochs=4)
    with pytest.raises(ConfigError, match="lower schedule.warmup_epochs"):
        schedules.schedule(durations, name=name, peak=1.0, warmup_epochs=4, **ends)


def test_an_unknown_schedule_or_scaling_lists_the_known():
    durations = Durations(examples=4, batch_size=4, micro_batch_size=4, epochs=1)
    with pytest.raises(ConfigError, match="known: cosine, multistep, per_epoch, swav"):
        schedules.schedule(durations, name="cosin", peak=1.0)
    with pytest.raises(ConfigError, match="known: none, linear, sqrt"):
        schedules.schedule(durations, name="cosine", peak=1.0, scaling="square")
