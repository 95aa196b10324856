"""A study: what is pretrained, what is measured from it, and what is said of it."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from medssl_jax.errors import ConfigError, Diverged, UserError
from medssl_jax.protocols import experiment
from medssl_jax.protocols import study as protocol

CONFIG = Path(__file__).parents[2] / "configs/gmml_study.py"
FLAGS = {
    "experiment.data.count": 24,
    "experiment.data.size_voxels": (2, 16, 16),
    "experiment.data.shape": (2, 16, 16),
    "experiment.views": {"first": {}, "eval": {}},  # compile soon
    "experiment.splits.test.count": 16,
    "experiment.splits.validation.fraction": 0.25,
    "experiment.batch_size": 8,
    "experiment.micro_batch_size": 8,
    "experiment.train_epochs": 2.0,
    "experiment.model.of.depth": 2,
    "experiment.model.of.maps": (1, 2),
}
OF_PRETRAINING = {
    "data.count": 16,
    "data.size_pixels": (16, 16),
    "data.shape": (16, 16),
    "views": {"first": {}, "eval": {}},
    "splits.probe.count": 16,
    "splits.test.count": 16,
    "batch_size": 8,
    "micro_batch_size": 8,
    "train_epochs": 2.0,
    "schedule.warmup_epochs": 1.0,
    "model.depth": 2,
    "model.maps": (1, 2),
}


def config():
    return experiment.load(str(CONFIG), "gmml_study:corruption")


class Trained:
    """In the place of training; of some names it diverges."""

    def __init__(self, diverging):
        self.diverging, self.made = diverging, []

    def __call__(self, one: ConfigDict, folder: Path):
        self.made.append(folder.name)
        if folder.name in self.diverging:
            raise Diverged("not finite")
        facts = {"durations": {"updates": 1024}, "seconds": 1800.0}
        (folder / "run.json").write_text(json.dumps(facts))
        measured = {"std": 0.1, "rank": 9.0, "most": 64.0}
        results = {"headline": "", "collapse": {"pretrained": measured}}
        (folder / "results.json").write_text(json.dumps(results))


@pytest.fixture
def told(monkeypatch):
    """Return what is measured and what is finished, without either being done."""
    found = {}

    def measure(config, workdir):
        found["starts"] = config.initialisations
        return {"tables": []}, []

    def finish(config, workdir, results, facts, began):
        (found["table"],) = results["tables"]

    monkeypatch.setattr(protocol.label_efficiency, "measure", measure)
    monkeypatch.setattr(protocol.outcome, "finish", finish)
    monkeypatch.setattr(protocol.outcome, "facts_of", lambda folders: {})
    return found


def run(monkeypatch, folder, found, diverging=()):
    trained = Trained(diverging)
    monkeypatch.setattr(experiment.train, "run", trained)
    protocol.run(found, folder)
    return trained.made


def test_one_that_diverges_is_told_and_no_start(monkeypatch, tmp_path, told):
    made = run(monkeypatch, tmp_path, config(), diverging=("ones",))
    assert sorted(made) == ["noise", "none", "ones", "zeros"]
    starts = [f"{n}={tmp_path}/pretraining/{n}" for n in ("noise", "none", "zeros")]
    assert list(told["starts"]) == [*starts, "random="]
    rows = {row[0]: row[1:] for row in told["table"]["rows"]}
    assert rows["ones"] == [None, None, "diverged: not finite"]
    updates, hours, embeddings = rows["zeros"]
    assert (updates, hours) == ("1,024", "0.50") and "9.0 of 64" in embeddings


def test_where_all_diverge_nothing_is_measured(monkeypatch, tmp_path, told):
    with pytest.raises(UserError, match=r"every pretraining diverged; lower schedule"):
        run(monkeypatch, tmp_path, config(), diverging=config().pretraining)
    assert not told


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda of: [of.__delitem__(name) for name in list(of)],
            "config.pretraining is empty",
        ),
        (lambda of: of.update(random=of.zeros), "random is that of random weights"),
        (lambda of: of.update({"a/b": of.zeros}), "another name, without '/'"),
        (
            lambda of: of.zeros.update(command="grid"),
            "pretraining.zeros is no training",
        ),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_is_trained(
    monkeypatch, tmp_path, told, change, said
):
    found = config()
    change(found.pretraining)
    with pytest.raises(ConfigError, match=said):
        run(monkeypatch, tmp_path, found)
    assert not told


def test_what_all_have_alike_is_stated_once():
    found = experiment.load(str(CONFIG), "gmml_study:length:nifti")
    found.width, found.root = 192, "scans"
    nets = [found.experiment.model.of, *(p.model for p in found.pretraining.values())]
    assert [net.width for net in nets] == [192] * 4
    found.labels = "labels.csv"
    trained = [found.experiment, *found.pretraining.values()]
    assert {(p.data.root, p.data.labels) for p in trained} == {("scans", "labels.csv")}
    assert {p.splits.test.fraction for p in trained} == {0.2}
    epochs = sorted(p.train_epochs for p in found.pretraining.values())
    assert epochs == [20.0, 60.0, 200.0]


@pytest.mark.slow
def test_a_study_pretrains_and_fine_tunes_from_it_and_from_random(tmp_path):
    found = config()
    found.update(width=12, heads=3, repeats=1)
    for name in ("noise", "none", "ones"):
        del found.pretraining[name]
    of_each = {
        f"pretraining.{name}.{field}": value
        for name in found.pretraining
        for field, value in OF_PRETRAINING.items()
    }
    found = experiment.vary(found, FLAGS | of_each)
    found.experiment.evaluation = found.experiment.evaluation[:1]
    protocol.run(found, tmp_path)
    at = tmp_path / "pretraining/zeros"
    stated = json.loads((at / "config.json").read_text())
    assert stated["method"]["fill"] == "zeros" and stated["model"]["width"] == 12
    tuned = json.loads((tmp_path / "runs/zeros/1/0/config.json").read_text())
    assert tuned["init_from"] == str(at) and tuned["model"]["of"]["width"] == 12
    results = json.loads((tmp_path / "results.json").read_text())
    assert [row[0] for row in results["tables"][-1]["rows"]] == ["zeros"]
    assert "AUC, zeros - random, 1" in results["values"]
    assert results["headline"].startswith("AUC of zeros - random: ")
