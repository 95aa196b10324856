"""The loop around a step that only counts: what is saved, chosen, tested and told."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_run

from medssl_jax.commands import train
from medssl_jax.evals.base import Evaluator
from medssl_jax.protocols import experiment
from medssl_jax.saved.encoder import load_encoder

BATCH, EPOCHS = 8, 2.5  # of 16 examples: 5 steps, each an update; 2 in an epoch
LOSSES = {2: 0.5, 4: 0.1, 5: 0.9}  # of validation: neither the first nor the last
SETTINGS = tiny_run.SETTINGS | {
    "batch_size": BATCH,
    "micro_batch_size": BATCH,
    "train_epochs": EPOCHS,
    "checkpoint.every_epochs": 1.0,
    "checkpoint.keep": 1,
    "log_every_steps": 1,
}


def counting_step(*_, **__):
    """Return a step that adds one to every parameter; its loss is its number."""

    def step(state, batch):
        del batch
        metrics = {"loss": jnp.float32(state.step), "skipped": jnp.bool_(False)}
        metrics["update"] = state.step + 1
        params = jax.tree.map(lambda leaf: leaf + 1, state.params)
        return state.replace(step=state.step + 1, params=params), metrics

    return step


class Told(list):
    """The steps of the parameters that an evaluator is shown; it answers by them."""

    def __init__(self, task):
        self._first = task.init().params
        self.evaluator = Evaluator(self._during, self._final)

    def steps_of(self, params):
        """Return how many steps parameters are from the first ones, all alike."""
        first = {part: self._first[part] for part in params}
        moved = jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), params, first)
        (steps,) = {round(x) for leaf in jax.tree.leaves(moved) for x in leaf.flat}
        return steps

    def _during(self, params, aux):
        self.append(steps := self.steps_of(params))
        return {"validation_loss": LOSSES[steps]}

    def _final(self, params, aux):
        return {"headline": f"of step {self.steps_of(params)}"}


@pytest.fixture
def counted(monkeypatch):
    """Return a config whose steps only count, and what its evaluators were shown."""
    told = []

    def build(config, folder, of=train.build):
        task = of(config, folder)
        told.append(Told(task))
        return task._replace(evaluator=told[-1].evaluator)

    monkeypatch.setattr(train, "build", build)
    monkeypatch.setattr(train, "make_train_step", counting_step)
    monkeypatch.setattr(train, "_write_views", lambda *_: None)
    config = experiment.load(str(tiny_run.ROOT / "configs/grid.py"), "byol3d:demo")
    return experiment.vary(config, SETTINGS), told


def test_the_checkpoint_of_the_lowest_validation_loss_is_tested_and_exported(
    tmp_path, counted
):
    config, told = counted
    train.run(config, tmp_path)
    assert told[0] == [2, 4, 5]  # once an epoch, and at the end
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == {"headline": "of step 4"}
    encoder = load_encoder(tmp_path / "encoder").variables["params"]
    assert told[0].steps_of({"backbone": encoder}) == 4
    kept = {int(p.name) for p in (tmp_path / "checkpoints").glob("*[0-9]")}
    assert kept == {4, 5}
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    validated = [x for x in lines if "validation_loss" in x]
    assert [(x["step"], x["epoch"]) for x in validated] == [(2, 1), (4, 2), (5, 2.5)]
    assert [x["validation_loss"] for x in validated] == [*LOSSES.values()]
    trained = [(x["step"], x["loss"]) for x in lines if "loss" in x]
    assert trained == [(done, done - 1) for done in range(1, 6)]


def test_a_stop_that_is_asked_in_the_last_step_is_obeyed_too(
    tmp_path, counted, monkeypatch
):
    config, told = counted
    with monkeypatch.context() as asked:
        asked.setattr(train.Interrupt, "asked", lambda self, step: step == 5)
        with pytest.raises(SystemExit, match="143"):
            train.run(config, tmp_path)
    assert not (tmp_path / "results.json").exists()
    train.run(config, tmp_path)
    assert [list(each) for each in told] == [[2, 4, 5], []]
    results = json.loads((tmp_path / "results.json").read_text())
    assert results == {"headline": "of step 4"}
