"""Protocols from their command line: killed, gone on with, read again by hand."""

import csv
import json
import signal
import statistics
from pathlib import Path

import numpy as np
import pytest
import tiny_protocol
import tiny_run
from ml_collections import ConfigDict
from sklearn.metrics import roc_auc_score

from medssl_jax.errors import ConfigError, DataError
from medssl_jax.protocols import experiment, initialisations, outcome, transfer
from medssl_jax.protocols import label_efficiency as protocol
from medssl_jax.protocols.label_curves import Place

CONFIG = Path(__file__).parents[2] / "configs/label_efficiency.py"
FRACTIONS = (0.5, 1.0)
NAMES = ("pretrained", "random")


def results(folder: Path):
    return json.loads((folder / "results.json").read_text())


def rows(path: Path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def area(folder: Path) -> float:
    table = rows(folder / "predictions.csv")
    labels = [int(row["label"]) for row in table]
    return roc_auc_score(labels, [float(row["probability_1"]) for row in table])


def run_protocol(command, expected=0) -> str:
    return tiny_run.finish(tiny_run.start(command), expected)


@pytest.fixture(scope="module")
def label_efficiency(tmp_path_factory):
    """Return a protocol's folder that was killed in its second run, then finished."""
    folder = tmp_path_factory.mktemp("protocol") / "labels"
    encoder = tiny_protocol.encoder(folder.parent / "encoder")
    command = tiny_protocol.arguments(
        "label_efficiency",
        folder,
        fractions=FRACTIONS,
        repeats=1,
        initialisations=(f"pretrained={encoder}", "random="),
    )
    process = tiny_run.start(command)
    tiny_run.wait_for(folder / "runs/random/0.5/0/views.npz", process)
    process.kill()
    tiny_run.finish(process, -signal.SIGKILL)
    done = (folder / "runs/pretrained/0.5/0/results.json").stat().st_mtime_ns
    said = run_protocol(command)
    return folder, command, done, said


@pytest.mark.slow
def test_a_killed_protocol_goes_on_and_makes_no_finished_run_again(label_efficiency):
    folder, _, done, said = label_efficiency
    path = folder / "runs/pretrained/0.5/0"
    assert (path / "results.json").stat().st_mtime_ns == done
    assert str(path) not in said and str(folder / "runs/random/0.5/0") in said
    assert len(list(folder.glob("runs/*/*/*/report.html"))) == 4
    logged = (folder / "runs/random/0.5/0/metrics.jsonl").read_text().splitlines()
    steps = [line["step"] for line in map(json.loads, logged) if "loss" in line]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_every_initialisation_is_fed_the_same_and_as_often(label_efficiency):
    folder = label_efficiency[0]
    updates = set()
    for fraction in ("0.5", "1"):
        fed, facts = [], []
        for name in NAMES:
            run = folder / "runs" / name / fraction / "0"
            with np.load(run / "views.npz") as views:
                fed.append(views["source"])
            facts.append(json.loads((run / "run.json").read_text()))
        np.testing.assert_array_equal(*fed)
        assert facts[0]["data"] == facts[1]["data"]
        assert facts[0]["data"]["train"]["distinct"] == {"0.5": 9, "1": 18}[fraction]
        updates |= {each["durations"]["updates"] for each in facts}
    assert len(updates) == 1


@pytest.mark.slow
def test_it_says_when_it_started_not_when_it_ended(label_efficiency):
    folder = label_efficiency[0]
    last = folder / "runs/random/1/0"
    protocol, run = (json.loads((at / "run.json").read_text()) for at in (folder, last))
    assert protocol["started"] <= run["started"]


@pytest.mark.slow
def test_its_table_and_curve_hold_what_the_runs_predicted(label_efficiency):
    folder = label_efficiency[0]
    found = results(folder)
    for row in rows(folder / "label_efficiency.csv"):
        run = folder / "runs" / row["initialisation"] / f"{float(row['fraction']):g}"
        assert float(row["AUC"]) == pytest.approx(area(run / row["seed"]))
    gain = found["values"]["AUC, pretrained - random, 0.5"]["value"]
    runs = [folder / "runs" / name / "0.5/0" for name in NAMES]
    assert gain == pytest.approx(area(runs[0]) - area(runs[1]))
    curves = {curve["name"]: curve for curve in found["label_curves"]["curves"]}
    assert curves["random"]["scores"][0] == [pytest.approx(area(runs[1]))]
    page = (folder / "report.html").read_text()
    assert "Label efficiency</h2>" in page and "Convergence</h2>" in page
    first = found["convergence"][0]
    last = first["curves"][-1]
    logged = (runs[1].parents[1] / "1/0/metrics.jsonl").read_text().splitlines()
    values = [line for line in map(json.loads, logged) if "validation_AUC" in line]
    assert (first["metric"], last["name"], last["fraction"]) == ("AUC", "random", 1)
    assert last["mean"] == [line["validation_AUC"] for line in values]
    assert last["epochs"] == pytest.approx([line["epoch"] for line in values])


@pytest.mark.slow
def test_validation_labels_are_counted_beside_those_of_each_fraction(label_efficiency):
    folder = label_efficiency[0]
    # 24 phantoms, a quarter of them held out, whatever the fraction of the rest
    counts = {"50 %": ("9", "6"), "100 %": ("18", "6")}
    means = results(folder)["tables"][0]
    at = [means["columns"].index(f"{r} examples") for r in ("training", "validation")]
    assert {row[0]: tuple(row[i] for i in at) for row in means["rows"]} == counts
    table = rows(folder / "label_efficiency.csv")
    assert [row["validation_examples"] for row in table] == ["6"] * 4
    said = "training labels; each run chose its checkpoint by 6 validation labels"
    assert said in results(folder)["headline"]


def test_what_pixels_reach_is_told_by_the_share_of_labels(tmp_path):
    measured = {}
    for fraction, floors in ((0.1, (0.7, 0.8)), (1.0, (0.9, 0.91))):
        for seed, floor in enumerate(floors):
            folder = tmp_path / f"{fraction}/{seed}"
            folder.mkdir(parents=True)
            (folder / "results.json").write_text(json.dumps({"floor": floor}))
            measured[Place(fraction, "random", seed)] = folder
    told = " Principal components of pixels reach an AUC of 0.750 with 10 %, 0.905 with 100 %."
    assert protocol._floor(measured, "AUC") == told
    assert protocol._floor(measured, "kappa") == ""
    (folder / "results.json").write_text("{}")  # of a run without one
    assert "100 %" not in protocol._floor(measured, "AUC")


def test_validation_examples_without_a_label_are_not_counted(tmp_path):
    train = {"distinct": 9, "patients": 4, "label_counts": {"0": 9}}
    validation = {"distinct": 7, "label_counts": {"0": 2, "1": 1, "none": 4}}
    facts = {"data": {"train": train, "validation": validation}}
    (tmp_path / "run.json").write_text(json.dumps(facts))
    assert outcome.labels_used(tmp_path) == outcome.Used(9, 4, 3)


@pytest.mark.slow
def test_a_finished_protocol_with_another_experiment_is_refused(label_efficiency):
    _, command, *_ = label_efficiency
    said = run_protocol([*command, "--config.experiment.schedule.peak=0.5"], 1)
    *_, line = said.splitlines()
    assert "schedule.peak: 0.001 there, 0.5 now" in line


def read(entries, own=None, against=None):
    stated = {"initialisations": entries, "own": own or {}, "against": against or {}}
    return initialisations.read(ConfigDict(stated))


@pytest.mark.parametrize(
    "entries, said",
    [
        (("a=", "b="), "a and b are both ''"),
        (("a=run", "a="), "has 'a='"),
        (("runs/a",), "has 'runs/a': write NAME=PATH"),
        (("a/b=run",), "has 'a/b=run'"),
        ((), "is empty"),
    ],
)
def test_initialisations_that_cannot_be_told_apart_are_named(entries, said):
    with pytest.raises(ConfigError) as error:
        read(entries)
    assert "config.initialisations" in str(error.value) and said in str(error.value)


VIT = {"model": {"name": "vit"}}


def test_each_network_has_random_weights_of_its_own():
    own = {"GMML": VIT, "random ViT": VIT}
    found = read(
        ("BYOL=a", "GMML=b", "random ViT=", "random="), own, {"GMML": "random ViT"}
    )
    assert [one.against for one in found.values()] == [
        "random",
        "random ViT",
        "random",
        "random",
    ]
    assert [bool(one.own) for one in found.values()] == [False, True, True, False]


@pytest.mark.parametrize(
    ("own", "against", "said"),
    [
        ({"b": VIT}, {}, "config.own speaks of 'b', which is none"),
        ({}, {"b": "a"}, "config.against speaks of 'b', which is none"),
        ({}, {"random": "a"}, "config.against.random is 'a', which is none of the"),
    ],
)
def test_what_is_said_of_no_initialisation_is_named(own, against, said):
    with pytest.raises(ConfigError, match=said):
        read(("a=run", "random="), own, against)


def test_an_encoder_that_cannot_be_used_stops_it_before_the_first_run(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(protocol, "complete", lambda *_, **__: pytest.fail("a run"))
    encoder = tiny_protocol.encoder(tmp_path / "encoder")
    config = experiment.load(str(CONFIG), "label_efficiency:finetune_mrnet:demo")
    config.initialisations = ("random=", f"gone={tmp_path / 'gone'}")
    with pytest.raises(DataError, match="gone: holds no encoder"):
        protocol.run(config, tmp_path / "protocol")
    config.initialisations = ("random=", f"other={encoder}")
    with pytest.raises(ConfigError, match="layers is .* there, .* in config.model"):
        protocol.run(config, tmp_path / "protocol")
    config.initialisations = ("random=", f"file={tmp_path / 'gone.safetensors'}")
    with pytest.raises(DataError, match="gone.safetensors: is no file"):
        protocol.run(config, tmp_path / "protocol")
    assert not (tmp_path / "protocol").exists()


@pytest.fixture(scope="module")
def grid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    command = tiny_protocol.arguments(
        "grid", folder, grid__peak=(1e-5, 3e-3, 1e30), repeats=2
    )
    run_protocol(command)
    return folder


@pytest.mark.slow
def test_the_grid_chooses_by_validation_and_cells_never_see_the_test(grid):
    found = results(grid)
    losses = {}
    for cell in (grid / "cells").iterdir():
        outcome = results(cell)
        assert not (cell / "predictions.csv").exists()
        if "diverged" not in outcome:
            losses[cell.name] = outcome["values"]["validation_loss"]["value"]
            assert "Validation" in (cell / "report.html").read_text()
    assert set(losses) == {"peak_1e-05", "peak_0.003"}
    assert f"peak_{found['chosen']['peak']:g}" == min(losses, key=losses.get)
    logged = [
        json.loads(line)
        for line in (grid / "cells/peak_0.003/metrics.jsonl").read_text().splitlines()
    ]
    lowest = min(line.get("validation_loss", np.inf) for line in logged)
    assert losses["peak_0.003"] == pytest.approx(lowest, rel=1e-5)
    assert [row["peak"] for row in rows(grid / "grid.csv")] == [
        "1e-05",
        "0.003",
        "1e+30",
    ]


@pytest.mark.slow
def test_the_chosen_setting_is_repeated_on_one_test_set(grid):
    found = results(grid)
    areas = [area(grid / "repeats" / seed) for seed in "01"]
    assert found["values"]["AUC"]["repeats"] == pytest.approx(areas)
    assert found["values"]["AUC"]["value"] == pytest.approx(statistics.mean(areas))
    table = found["tables"][0]
    (row,) = [row for row in table["rows"] if row[0] == "AUC"]
    assert row[3] == f"{statistics.mean(areas):.3f} ± {statistics.stdev(areas):.3f}"
    seeds = [
        json.loads((grid / "repeats" / seed / "config.json").read_text())
        for seed in "01"
    ]
    assert [config["seed"] for config in seeds] == [0, 1]
    assert {config["data"]["split_seed"] for config in seeds} == {0}
    assert {config["schedule"]["peak"] for config in seeds} == {found["chosen"]["peak"]}


def transfer_config(run, **settings):
    source = {
        "name": "phantom",
        "count": 16,
        "seed": 2,
        "size_voxels": (4, 16, 16),
        "on_error": "raise",
        "cache": "",
    }
    config = {"name": "transfer", "seed": 0, "init_from": str(run), "batch_size": 4}
    return ConfigDict(config | {"relabel": (), "data": source} | settings)


@pytest.mark.slow
def test_a_classifier_predicts_elsewhere_as_it_did_at_home(grid, tmp_path):
    # the run's own test examples: its predictions are to be repeated without training
    run = grid / "repeats/1"
    transfer.run(transfer_config(run), tmp_path)
    home, here = (rows(folder / "predictions.csv") for folder in (run, tmp_path))
    for before, now in zip(home, here, strict=True):
        assert before["name"] == now["name"] and before["label"] == now["label"]
        p, q = (float(row["probability_1"]) for row in (before, now))
        assert p == pytest.approx(q, abs=1e-5)
    assert results(tmp_path)["values"]["AUC"]["value"] == pytest.approx(area(run))
    page = (tmp_path / "report.html").read_text()
    assert "At home and here" in page and "16" in page


@pytest.mark.slow
def test_labels_are_matched_by_class(grid, tmp_path):
    run = grid / "repeats/1"
    transfer.run(transfer_config(run, relabel=(1, 0)), tmp_path)
    table = rows(tmp_path / "predictions.csv")
    home = rows(run / "predictions.csv")
    assert [int(r["label"]) for r in table] == [1 - int(r["label"]) for r in home]
    for relabel in ((1,), (0, 2), (0, -2)):
        with pytest.raises(ConfigError, match=r"config\.relabel .* 0 to 1 here"):
            transfer.run(transfer_config(run, relabel=relabel), tmp_path)
    with pytest.raises(ConfigError, match="leaves out every example"):
        transfer.run(transfer_config(run, relabel=(-1, -1)), tmp_path)


def test_a_folder_without_a_classifier_cannot_travel(tmp_path):
    with pytest.raises(DataError, match="holds no predictor"):
        transfer.run(transfer_config(tmp_path), tmp_path)
    with pytest.raises(ConfigError, match=r"config\.init_from is empty"):
        transfer.run(transfer_config(""), tmp_path)
