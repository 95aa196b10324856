"""Rates chosen for each initialisation and share of the labels, and what is said of it."""

import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError, Diverged, UserError
from medssl_jax.protocols import experiment, rates
from medssl_jax.protocols import label_efficiency as protocol
from medssl_jax.run import provenance

CONFIG = Path(__file__).parents[2] / "configs/label_efficiency.py"
RATES = (0.001, 0.01, 0.1, 1.0)
# validation loss at each rate, by initialisation and share, in runs made to choose
LOSSES = {
    ("SimCLR", 0.5): (0.6, 0.4, 0.5, np.nan),
    ("SimCLR", 1.0): (0.3, 0.4, 0.5, np.nan),
    ("random", 0.5): (0.7, 0.6, 0.5, np.nan),
    ("random", 1.0): (0.7, 0.2, 0.2, 0.9),
}
CHOSEN = {
    ("SimCLR", 0.5): 0.01,
    ("SimCLR", 1.0): 0.001,
    ("random", 0.5): 0.1,
    ("random", 1.0): 0.01,
}


def config(**settings):
    found = experiment.load(str(CONFIG), "label_efficiency:finetune_mrnet:demo")
    found.update(repeats=2, fractions=(0.5, 1.0), rates=RATES)
    found.initialisations = ("SimCLR=simclr", "random=")
    found.experiment.method.frozen_epochs = 5.0
    found.experiment.optimizer.backbone_rate = 0.1
    found.experiment.data.cache = ""
    found.update(settings)
    return found


class Trained:
    """In the place of training: losses that are known, and what a run leaves."""

    def __init__(self, losses=LOSSES):
        self.losses, self.made = losses, []

    def __call__(self, config: ConfigDict, folder: Path):
        self.made.append(folder)
        place = "SimCLR" if config.init_from else "random", config.data.label_fraction
        provenance.write_config(folder / "config.json", config)
        (folder / "run.json").write_text(json.dumps(FACTS))
        if provenance.plain(config.evaluation)[0]["name"] == "validation":
            rate = RATES.index(config.schedule.peak)
            loss = self.losses[place][rate]
            if not np.isfinite(loss):
                raise Diverged("not finite")
            values = {
                "validation_loss": {"value": loss},
                "validation_AUC": {"value": 1},
            }
        else:
            # the test, and the validation of what is measured, like other rates
            values = {"validation_loss": {"value": -config.schedule.peak}}
            (folder / "predictions.csv").write_text(predictions(config.schedule.peak))
            line = {"epoch": 1.0, "validation_AUC": 0.5}
            (folder / "metrics.jsonl").write_text(f"{json.dumps(line)}\n")
        results = {"headline": "", "tables": [], "values": values}
        (folder / "results.json").write_text(json.dumps(results))
        (folder / "report.html").touch()


COUNTS = {"count": 4, "label_counts": {"0": 2, "1": 2}, "repeated_frames": None}
COUNTS |= {"distinct": 4, "patients": 4}
FACTS = {
    "data": {"train": COUNTS, "validation": COUNTS},
    "durations": {"updates": 8},
    "parameters": 1,
    "seconds": 1.0,
}


def predictions(rate):
    rows = "".join(
        f"scan-{i},p{i},{i % 2},{0.5},{0.5 + i % 2 * rate}\n" for i in range(8)
    )
    return f"name,patient,label,probability_0,probability_1\n{rows}"


@pytest.fixture
def trained(monkeypatch):
    found = Trained()
    monkeypatch.setattr(experiment.train, "run", found)
    monkeypatch.setattr(protocol.encoder, "check_start", lambda *_: None)
    return found


@pytest.fixture
def untold(monkeypatch):
    """Leave out bootstrap and report, which are not looked at."""
    monkeypatch.setattr(protocol, "_results", lambda *_: {})
    monkeypatch.setattr(protocol.outcome, "finish", lambda *_: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a protocol's folder, and all its runs' configs by their place in it."""
    workdir = tmp_path_factory.mktemp("rates")
    with pytest.MonkeyPatch.context() as monkeypatch:
        trained = Trained()
        monkeypatch.setattr(experiment.train, "run", trained)
        monkeypatch.setattr(protocol.encoder, "check_start", lambda *_: None)
        protocol.run(config(), workdir)
    return workdir, runs_of(trained, workdir)


def runs_of(trained, workdir):
    return {
        folder.relative_to(workdir).as_posix(): json.loads(
            (folder / "config.json").read_text()
        )
        for folder in trained.made
    }


def of_kind(runs, kind):
    return {path: run for path, run in runs.items() if path.startswith(f"{kind}/")}


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def test_each_start_is_measured_at_the_rate_that_its_own_validation_chose(finished):
    workdir, runs = finished
    measured = of_kind(runs, "runs")
    assert len(measured) == 8
    for (name, fraction), rate in CHOSEN.items():
        for seed in (0, 1):
            run = measured[f"runs/{name}/{fraction:g}/{seed}"]
            assert run["schedule"]["peak"] == rate
            assert run["evaluation"][0]["name"] == "classify"
    told = {f"{name}, {fraction:g}": rate for (name, fraction), rate in CHOSEN.items()}
    assert results(workdir)["rates"] == told


def test_a_choice_is_of_another_seed_and_by_validation_alone(finished):
    workdir, runs = finished
    tried, measured = (of_kind(runs, kind) for kind in ("rates", "runs"))
    assert set(tried) == {
        f"rates/{name}/{fraction:g}/{rate:g}"
        for name, fraction in LOSSES
        for rate in RATES
    }
    seeds = {run["seed"] for run in tried.values()}
    assert len(seeds) == 1 and not seeds & {run["seed"] for run in measured.values()}
    for path, run in tried.items():
        assert run["evaluation"][0]["name"] == "validation"
        assert run["evaluation"][0]["of"][0]["name"] == "classify"
        assert not (workdir / path / "predictions.csv").exists()


def test_starts_differ_in_nothing_but_weights_rate_and_what_is_frozen(finished):
    for path, run in finished[1].items():
        other = finished[1][path.replace("SimCLR", "random")]
        one, other = (provenance.flat(ConfigDict(each)) for each in (run, other))
        unlike = {name for name in one if one[name] != other[name]}
        if path.startswith("runs"):
            unlike -= {"schedule.peak"}
        own = {"name", "init_from", "method.frozen_epochs", "optimizer.backbone_rate"}
        assert unlike == (own if "SimCLR" in path else set())


def test_only_pretrained_weights_are_held_back(finished):
    workdir, runs = finished
    for path, run in runs.items():
        assert run["method"]["frozen_epochs"] == (5.0 if "SimCLR" in path else 0.0)
        assert run["optimizer"]["backbone_rate"] == (0.1 if "SimCLR" in path else 1.0)
    note = results(workdir)["tables"][0]["note"]
    assert "frozen for the first 5 epochs and learn at 0.1 of the rate, " in note
    assert "random ones never" in note


def test_the_table_has_every_rates_loss_and_the_edges_are_told(finished):
    workdir, _ = finished
    found = results(workdir)
    (table,) = [t for t in found["tables"] if t["title"].startswith("Learning rates")]
    rows = {(row[1], row[0]): row[2:] for row in table["rows"]}
    for (name, fraction), losses in LOSSES.items():
        *told, chosen = rows[name, f"{100 * fraction:g} %"]
        assert told == [None if np.isnan(loss) else loss for loss in losses]
        assert float(chosen) == CHOSEN[name, fraction]
    assert "a seed that none of these has (1000)" in table["note"]
    # .1 is no edge: a higher one was tried, and diverged
    assert "lowest rate, 0.001, was chosen for SimCLR with 100 %: the" in table["note"]
    assert "of 0.001, 0.01, 0.1, 1, that its own validation chose" in found["headline"]
    with (workdir / "rates.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert len(written) == 16 and CHOSEN == {
        (row["initialisation"], float(row["fraction"])): float(row["rate"])
        for row in written
        if row["chosen"] == "yes"
    }


@pytest.mark.parametrize(
    "chosen, said",
    [
        ((0.1, 0.1), ""),
        ((1.0, 0.1), "the highest rate, 1, was chosen for a with 5 %: the best may"),
        ((0.01, 1.0), "1, was chosen for b with 100 %; the lowest rate, 0.01, was"),
    ],
)
def test_rates_at_an_end_of_the_grid_are_told(chosen, said):
    tried = {rate: {} for rate in (0.01, 0.1, 1.0)}
    choices = {
        line: rates.Choice(rate, tried)
        for line, rate in zip(((0.05, "a"), (1.0, "b")), chosen, strict=True)
    }
    found = rates.at_edge(choices)
    assert said in found if said else found == ""


def test_what_is_finished_is_not_made_again_and_repeats_can_be_added(
    trained, untold, tmp_path, capsys
):
    protocol.run(config(), tmp_path)
    assert len(trained.made) == 16 + 8
    said = capsys.readouterr()
    # runs of the choice count in what is left
    told = re.findall(r"(\d+) of (\d+) runs made", said.out)
    assert told[-1] == ("23", "24")
    assert "warning: the lowest rate, 0.001, was chosen for SimCLR" in said.err
    trained.made.clear()
    protocol.run(config(), tmp_path)
    assert trained.made == []
    protocol.run(config(repeats=3), tmp_path)
    assert [folder.name for folder in trained.made] == ["2"] * 4
    changed = config()
    changed.experiment.batch_size *= 2
    with pytest.raises(ConfigError, match=r"rates/SimCLR/0.5/0.001 holds a run"):
        protocol.run(changed, tmp_path)


def test_a_killed_choice_goes_on(trained, untold, tmp_path):
    protocol.run(config(), tmp_path)
    before = runs_of(trained, tmp_path)
    last = tmp_path / "rates/random/1/0.1"
    (last / "results.json").unlink()
    shutil.rmtree(tmp_path / "runs")
    trained.made.clear()
    protocol.run(config(), tmp_path)
    assert trained.made[0] == last
    after = runs_of(trained, tmp_path)
    assert of_kind(after, "runs") == of_kind(before, "runs") and len(after) == 9


def test_where_every_rate_diverges_is_said_before_anything_is_measured(
    trained, tmp_path
):
    trained.losses = LOSSES | {("random", 0.5): (np.nan,) * 4}
    with pytest.raises(UserError, match=r"random with 50 % diverged; .* config.rates"):
        protocol.run(config(), tmp_path)
    assert not of_kind(runs_of(trained, tmp_path), "runs")


@pytest.mark.parametrize("given, peak", [((), None), ((0.25,), 0.25)])
def test_without_a_choice_all_have_one_rate(trained, untold, tmp_path, given, peak):
    wanted = config(rates=given)
    protocol.run(wanted, tmp_path)
    runs = runs_of(trained, tmp_path)
    assert len(of_kind(runs, "runs")) == len(runs) == 8
    expected = peak or wanted.experiment.schedule.peak
    assert {run["schedule"]["peak"] for run in runs.values()} == {expected}


@pytest.mark.parametrize(
    "given, said",
    [
        ((0.1, 0.1), "has a rate twice"),
        ((0.1, -1.0), r"config\.rates is .* -1"),
        ((0.1, float("nan")), r"config\.rates is .* nan"),
    ],
)
def test_rates_that_cannot_be_are_named(trained, tmp_path, given, said):
    with pytest.raises(ConfigError, match=said):
        protocol.run(config(rates=given), tmp_path)
    assert trained.made == []
