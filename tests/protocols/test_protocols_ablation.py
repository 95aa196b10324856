"""Variants side by side: what is trained, and what is said of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from medssl_jax.data.source import Examples
from medssl_jax.errors import ConfigError, Diverged, UserError
from medssl_jax.evals.predictions import write_predictions
from medssl_jax.protocols import ablation as protocol
from medssl_jax.protocols import experiment
from medssl_jax.protocols.cases import Cases

N = 40
# how far a variant's scores tell the classes apart
APART = {"base": 0.3, "types": 1.0, "both": 3.0}


def cases(offset, seed=0):
    """Return cases with one measure, the mean of numbers around `offset`."""
    numbers = offset + np.random.default_rng(seed).normal(0, 0.1, N)
    names = [str(i) for i in range(N)]
    measure = {"AUC": lambda chosen: float(numbers[chosen].mean())}
    return Cases(names, None, measure, "AUC", ["any"])


def test_differences_are_paired_with_the_first_and_the_one_before():
    runs = {
        name: [cases(offset, seed) for seed in range(3)]
        for name, offset in (("base", 0.5), ("types", 0.6), ("both", 0.65))
    }
    found = protocol.summarise(runs, seed=0)
    rows = {row[1]: row for row in found["tables"][0]["rows"]}
    assert list(rows) == ["base", "types", "both"]
    # the same draws but for the offset: paired differences are exact
    for name, other, expected in (
        ("types", "base", 0.1),
        ("both", "base", 0.15),
        ("both", "types", 0.05),
    ):
        gain = found["values"][f"AUC: {name} - {other}"]
        assert gain["value"] == pytest.approx(expected)
        assert gain["low"] == pytest.approx(gain["high"])
    assert rows["base"][4:] == ["", ""]
    assert rows["both"][4].startswith("+0.150") and rows["both"][5].startswith("+0.050")
    assert "base 0.498 ± 0.004; types 0.598 ± 0.004, +0.100 (" in found["headline"]
    mean = np.mean([np.mean(cases(0.5, s).measures["AUC"](range(N))) for s in range(3)])
    assert found["values"]["AUC, base"]["value"] == pytest.approx(mean)


def trained(made, diverging=""):
    """Return what stands in the place of training: it leaves predictions."""

    def train(one: ConfigDict, folder: Path):
        made.append(folder.parent.name + folder.name)
        assert one.seed == 5 + int(folder.name)
        if folder.parent.name == diverging:
            raise Diverged("not finite")
        rng = np.random.default_rng(one.seed)
        labels = np.arange(N) % 2
        score = rng.normal(0, 1, N) + APART[folder.parent.name] * labels
        p = 1 / (1 + np.exp(-score))
        source = Examples([str(i) for i in range(N)], str, labels)
        write_predictions(folder / "predictions.csv", source, np.stack([1 - p, p], 1))
        facts = {"data": {}, "durations": {"updates": 3}, "parameters": 9}
        (folder / "run.json").write_text(json.dumps(facts))
        (folder / "config.json").write_text(one.to_json_best_effort())
        (folder / "results.json").write_text(json.dumps({"headline": ""}))
        (folder / "report.html").write_text("")

    return train


def config(**changes):
    found = ConfigDict()
    found.command, found.name, found.repeats = "ablation", "ablation-test", 2
    found.variants = ConfigDict()
    for name in APART:
        one = experiment.load(
            str(Path(__file__).parents[2] / "configs/x.py"), "finetune"
        )
        one.seed = 5
        found.variants[name] = one
    found.order = tuple(APART)
    found.update(changes)
    return found


def test_all_variants_are_trained_before_the_next_seed(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(experiment.train, "run", trained(made))
    protocol.run(config(), tmp_path)
    assert made == ["base0", "types0", "both0", "base1", "types1", "both1"]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results["values"]["AUC: both - base"]["low"] > 0
    assert (tmp_path / "report.html").exists()
    protocol.run(config(), tmp_path)  # and not again
    assert len(made) == 6


def test_one_that_diverges_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.train, "run", trained([], "types"))
    with pytest.raises(UserError, match="types/0 diverged: not finite"):
        protocol.run(config(), tmp_path)


@pytest.mark.parametrize(
    "order", [(), ("base",), ("base", "other"), ("base", "types", "both", "both")]
)
def test_the_order_names_variants_that_there_are_once_each(tmp_path, order):
    with pytest.raises(ConfigError, match="config.order is"):
        protocol.run(config(order=order), tmp_path)
