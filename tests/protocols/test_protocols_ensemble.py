"""An ensemble of tiny runs, read again by hand; and what is none."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_protocol
from sklearn.metrics import roc_auc_score
from test_configs import load

from medssl_jax.errors import ConfigError, DataError
from medssl_jax.protocols import ensemble
from medssl_jax.protocols.experiment import vary
from medssl_jax.protocols.tested import read_cases
from medssl_jax.saved.predictor import load_predictor

pytestmark = pytest.mark.slow


def probabilities(folder: Path) -> dict[str, float]:
    with (folder / "predictions.csv").open(newline="") as file:
        return {r["name"]: float(r["probability_1"]) for r in csv.DictReader(file)}


def config(**changes):
    found = load("ensemble", "finetune_mrnet:demo")
    found = found.copy_and_resolve_references()
    with found.unlocked():
        of_eight_devices = {"batch_size": 8, "micro_batch_size": 8}
        settings = tiny_protocol.SETTINGS | of_eight_devices
        found.experiment = vary(found.experiment, settings)
    found.repeats = 2
    found.update(changes)
    return found


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ensemble")
    ensemble.run(config(), folder)
    return folder


def check_mean(folder, members):
    each = [probabilities(member) for member in members]
    found = probabilities(folder)
    for name, p in found.items():
        assert p == pytest.approx(np.mean([one[name] for one in each]), rel=1e-4)
    assert len(found) == 16


def test_the_mean_of_its_members_is_tested_and_told(made):
    members = [made / "members" / seed for seed in ("0", "1")]
    check_mean(made, members)
    results = json.loads((made / "results.json").read_text())
    table = results["tables"][0]
    assert table["title"] == "Ensemble and members"
    rows = {row[1]: row for row in table["rows"] if row[0] == "AUC"}
    assert list(rows) == ["ensemble", "seed 0", "seed 1", "a member, in the mean"]
    cases = read_cases(made)
    labels, p = cases.labels, list(probabilities(made).values())
    area = roc_auc_score(labels, p)
    assert rows["ensemble"][2].startswith(f"{area:.3f} (")
    alone = [
        roc_auc_score(labels, [probabilities(member)[n] for n in cases.names])
        for member in members
    ]
    assert rows["a member, in the mean"][2].startswith(f"{np.mean(alone):.3f} (")
    assert rows["seed 1"][3].startswith(f"{area - alone[1]:+.3f} (")
    assert "Ensemble and members" in (made / "report.html").read_text()


def test_it_is_a_run_to_whoever_takes_one(made):
    loaded = load_predictor(made)
    assert loaded.spec["members"] == 2
    first = load_predictor(made / "members/0")
    x = np.random.default_rng(0).random((3, 4, 16, 16, 1), np.float32)
    parts = [np.asarray(one(x)["probability"]) for one in (loaded, first)]
    assert parts[0].shape == parts[1].shape and np.ptp(parts[0] - parts[1]) > 0


def test_finished_runs_are_its_members_without_training(made, tmp_path):
    members = [made / "members" / seed for seed in ("0", "1")]
    ensemble.run(config(runs=tuple(map(str, members))), tmp_path)
    assert not (tmp_path / "members").exists()
    assert probabilities(tmp_path) == probabilities(made)


def test_runs_that_were_tested_on_other_examples_make_none(made, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    lines = (made / "members/1/predictions.csv").read_text().splitlines()
    (other / "predictions.csv").write_text("\n".join(lines[:-1]))
    shutil.copy(made / "members/1/config.json", other)
    runs = (str(made / "members/0"), str(other))
    with pytest.raises(DataError, match="other: lacks the example"):
        ensemble.run(config(runs=runs), tmp_path)


def test_members_that_see_other_maps_make_none(made, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        stated = json.loads((made / "members/0/config.json").read_text())
        stated["data"]["attention"] = f"maps of {name}"
        (tmp_path / name / "config.json").write_text(json.dumps(stated))
    with pytest.raises(ConfigError, match="b has another data.attention than a"):
        ensemble.run(config(runs=(str(tmp_path / "a"), str(tmp_path / "b"))), tmp_path)


def test_one_member_makes_none(tmp_path):
    with pytest.raises(ConfigError, match="config.repeats is 1: an ensemble takes two"):
        ensemble.run(config(repeats=1), tmp_path)
    with pytest.raises(ConfigError, match="config.runs names a; it takes two"):
        ensemble.run(config(runs=("a",)), tmp_path)
