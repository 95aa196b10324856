"""Every row of benchmarks/steps.py is a step that there is, without PyTorch."""

import importlib
import sys
from pathlib import Path

import jax
import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
steps = importlib.import_module("steps")


@pytest.mark.parametrize("name", steps.ROWS)
def test_a_row_has_a_network_views_and_a_loss(name):
    row = steps.ROWS[name]
    config = steps.config_of(row, {"running.recompute": True, "model.no": 1})
    assert config.running.recompute and "no" not in config.model
    method = steps.method_of(row, config, {})
    batch = steps.batch_of(config, method)
    params, aux = jax.eval_shape(method.init, jax.random.key(0), batch)
    keys = jax.eval_shape(
        lambda: jax.random.split(jax.random.key(0), len(batch["image"]))
    )
    views = jax.eval_shape(jax.vmap(method.views), keys, batch)
    loss, _ = jax.eval_shape(method.loss, params, aux, views, jax.random.key(0), 0)
    assert loss.shape == ()
