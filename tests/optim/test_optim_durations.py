"""Durations by hand."""

import pytest

from medssl_jax.errors import ConfigError
from medssl_jax.optim.durations import Durations


def test_the_published_recipe_in_updates():
    """MRNet: 1,130 exams, 4 x 64, 200 epochs."""
    d = Durations(examples=1130, batch_size=256, micro_batch_size=4, epochs=200)
    assert d.accumulation == 64
    assert d.updates == 883  # 200 * 1130 / 256 = 882.8
    assert d.steps == 883 * 64
    assert d.to_updates(10) == 44
    assert d.epoch(1130) == 4.0
    assert d.to_steps(2) == 565  # micro-batches of 4
    assert d.updates_per_epoch == 1130 / 256


def test_a_short_positive_duration_is_one_update():
    d = Durations(examples=10, batch_size=100, micro_batch_size=10, epochs=1)
    assert d.updates == 1
    assert d.to_updates(0) == 0


def test_an_indivisible_batch_is_named():
    with pytest.raises(ConfigError, match="batch_size 10 is not divisible by micro"):
        Durations(examples=10, batch_size=10, micro_batch_size=4, epochs=1)
