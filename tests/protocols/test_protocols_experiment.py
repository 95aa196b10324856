"""Experiments inside protocols: composed, varied, told apart."""

import json
import time

import numpy as np
import pytest
import tiny_run
from ml_collections import ConfigDict

from medssl_jax import resolve
from medssl_jax.errors import ConfigError, Diverged, Part, UserError
from medssl_jax.evals.base import Context, Evaluator
from medssl_jax.evals.validation import validation
from medssl_jax.protocols import choice, experiment

CONFIGS = str(tiny_run.ROOT / "configs/grid.py")


def test_an_experiment_is_the_other_files_config():
    found = experiment.load(CONFIGS, "finetune_mrnet:mrnet")
    assert found.name == "finetune-mrnet-mrnet" and found.data.plane == "sagittal"
    assert experiment.load(CONFIGS, "finetune_mrnet").name == "finetune-mrnet-demo"
    with pytest.raises(ValueError, match="unknown experiment 'finetune_knee'"):
        experiment.load(CONFIGS, "finetune_knee:demo")
    with pytest.raises(ValueError, match="unknown variant 'knee'; known: demo"):
        experiment.load(CONFIGS, "finetune_mrnet:knee")


def test_a_variation_changes_the_named_fields_alone():
    config = experiment.load(CONFIGS, "finetune_mrnet:demo")
    before = config.to_json()
    varied = experiment.vary(config, {"schedule.peak": 1, "data.split_seed": 3})
    assert config.to_json() == before
    changed = json.loads(before)
    changed["schedule"]["peak"], changed["data"]["split_seed"] = 1, 3
    assert json.loads(varied.to_json()) == changed
    for field in ("schedule.paek", "optimiser.b1", "peak"):
        with pytest.raises(ConfigError, match=f"has no field {field} to vary"):
            experiment.vary(config, {field: 1})


def _leave(folder, config, outcome):
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config.to_dict()))
    (folder / "results.json").write_text(json.dumps(outcome))


def test_a_run_is_done_when_its_report_is_there_or_it_diverged(tmp_path, monkeypatch):
    trained = []

    def train(config, folder):
        trained.append(folder.name)
        if folder.name == "steep":
            raise Diverged("not finite")
        _leave_results(folder)

    def _leave_results(folder):
        (folder / "results.json").write_text('{"values": 1}')

    monkeypatch.setattr(experiment.train, "run", train)
    config = ConfigDict({"name": "x", "data": {"cache": "cache"}, "peak": 1.0})
    inner = ConfigDict({"name": "x/flat", "data": {"cache": "../cache"}, "peak": 1.0})
    _leave(tmp_path / "flat", inner, {"values": 0})  # killed before its report
    found = experiment.complete(config, tmp_path / "flat", within=tmp_path)
    assert found == {"values": 1} and trained == ["flat"]
    (tmp_path / "flat/report.html").touch()
    experiment.complete(config, tmp_path / "flat", within=tmp_path)
    assert trained == ["flat"]

    inner.name = "x/steep"
    (tmp_path / "steep").mkdir()
    (tmp_path / "steep/config.json").write_text(json.dumps(inner.to_dict()))
    for _ in range(2):
        found = experiment.complete(config, tmp_path / "steep", within=tmp_path)
        assert found["diverged"] == "not finite"
    assert trained == ["flat", "steep"]

    config.peak = 2.0
    with pytest.raises(ConfigError, match=r"flat holds a run .*peak: 1.0 there, 2.0"):
        experiment.complete(config, tmp_path / "flat", within=tmp_path)


def test_a_fault_of_the_inner_config_says_where_that_is(tmp_path, monkeypatch):
    def refuse(config, folder):
        part = Part("optimizer", "adam", ("b1",))
        raise ConfigError("config.optimizer.b1 is missing", part=part)

    monkeypatch.setattr(experiment.train, "run", refuse)
    config = ConfigDict({"name": "x", "data": {"cache": ""}})
    with pytest.raises(
        ConfigError, match="; config is config.experiment here"
    ) as error:
        experiment.complete(config, tmp_path / "run", within=tmp_path)
    assert error.value.part.field == "experiment.optimizer"


class _Untouchable:
    """A test set that may not be looked at."""

    def __getattribute__(self, name):
        raise AssertionError(f"the test examples' {name} was asked for")


def test_validation_asks_nothing_of_the_test_examples(monkeypatch):
    given = {}

    def judge(context, *, classes):
        given.update(context=context, classes=classes)

        def during(params, aux):
            p = context.predict(params, aux, None)["probability"]
            return {"validation_loss": float(p.sum()), "validation_AUC": 0.75}

        return Evaluator(during, lambda params, aux: context.sources["test"].labels)

    monkeypatch.setattr(resolve, "factory", lambda package, name: judge)
    p = np.array([0.25, 0.25])
    context = _context(predict=lambda *_: {"probability": p})
    judged = validation(context, of=[{"name": "judge", "classes": 3}])
    found = judged.final(None, None)
    assert given["classes"] == 3
    assert judged.during(None, None) == {"validation_loss": 0.5, "validation_AUC": 0.75}
    assert found["values"]["validation_loss"] == {"value": 0.5}
    assert found["tables"][0]["rows"] == [["loss", 0.5], ["AUC", 0.75]]
    p[0] = np.nan
    with pytest.raises(Diverged):
        judged.during(None, None)


def _context(predict):
    sources = {"validation": [0, 1], "test": _Untouchable()}
    nothing = dict.fromkeys(Context._fields)
    return Context(**nothing | {"predict": predict, "sources": sources})


def test_the_lowest_finite_loss_is_chosen():
    nan = float("nan")
    losses = nan, 0.7, 0.5, 0.5, nan
    attempts = [{}, *({"validation_loss": loss} for loss in losses)]
    said = {"at": "the grid", "field": "config.grid.peak"}
    assert choice.lowest(attempts, **said) == 3
    with pytest.raises(UserError, match=r"run of the grid diverged; lower config.grid"):
        choice.lowest([{}, {"validation_loss": nan}], **said)


def test_an_unknown_command_lists_the_known_ones():
    with pytest.raises(ConfigError, match="command 'trian' is unknown") as caught:
        resolve.command("trian")
    known = str(caught.value).partition("known: ")[2].split(", ")
    here = {"compare", "features", "grid", "label_efficiency", "train", "transfer"}
    assert here <= set(known) and "experiment" not in known and known == sorted(known)
    with pytest.raises(ConfigError, match="command 'losses' is unknown"):
        resolve.command("losses")
    assert resolve.command("train") is experiment.train.run


def test_the_time_that_is_left_is_told_over_the_runs_that_were_made(
    tmp_path, capsys, monkeypatch
):
    folders = [tmp_path / name for name in "abcd"]
    for folder in folders:
        folder.mkdir()

    def make(folder):
        (folder / "results.json").write_text("{}")

    make(folders[0])  # of an earlier start: it tells nothing of how long one takes
    times = iter([0.0, 60.0, 100.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(times))
    pace = experiment.Pace(folders)
    pace.tell()
    make(folders[1])
    pace.tell()
    make(folders[2])
    pace.tell()
    make(folders[3])
    pace.tell()
    assert capsys.readouterr().out.splitlines() == [
        "1 of 3 runs made, about 02:00 for the others",
        "2 of 3 runs made, about 00:50 for the others",
    ]
