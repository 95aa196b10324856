"""Every row of benchmarks/steps.py is a step that there is, without PyTorch."""

import importlib
import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "benchmarks"))
steps = importlib.import_module("steps")
FEW = ("byol", "gmml")  # .ci/run has them all


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in FEW else pytest.mark.slow)
        for name in steps.ROWS
    ],
)
def test_a_row_has_a_network_views_and_a_loss(name):
    row, kept = steps.ROWS[name], []
    for recompute in (False, True):
        changes = {"running.recompute": recompute, "model.no": 1}
        config = steps.config_of(row, changes)
        assert "no" not in config.model
        method = steps.method_of(row, config)
        kept.append(steps.kept_mb(method, steps.batch_of(config, method)))
    assert 0 < kept[1] < kept[0]
