"""A study: what is pretrained, what is measured from it, and what is said of it."""

import csv
import functools
import json
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_run
from ml_collections import ConfigDict
from PIL import Image

from medssl_jax.errors import ConfigError, Diverged, UserError
from medssl_jax.protocols import experiment
from medssl_jax.protocols import study as protocol
from medssl_jax.run.task import build, open_data
from medssl_jax.saved import seen

CONFIGS = Path(__file__).parents[2] / "configs"
CONFIG = CONFIGS / "gmml_study.py"
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

OF_IMAGES = {
    "tasks": ("rotation",),
    "budget.minutes": 0.0,
    "budget.updates": 6,
    "fractions": (1.0,),
    "rates": (),
    "repeats": 1,
    "data.shape": (16, 16),
    "data.resize": (16, 16),
    "model.layers": (1, 1),
    "model.width": 4,
    "model.stem": "small",
    "splits.test.fraction": 0.3,
    "splits.validation.fraction": 0.25,
    "experiment.method.classes": 2,
    "experiment.train_epochs": 2.0,
    "experiment.batch_size": 8,
    "experiment.micro_batch_size": 8,
    "pretraining.rotation.batch_size": 8,
    "pretraining.rotation.micro_batch_size": 8,
}
LABELLED = 40
FINETUNED = "runs/rotation/1/0"
OF_FILES = {"root": "images", "labels": "labels.csv"}


def config():
    return experiment.load(str(CONFIG), "gmml_study:corruption")


def question():
    """Return a study of three pretrainings on phantoms, two networks."""
    found = experiment.load(str(CONFIGS / "study.py"), "study:demo")
    found.tasks = ("simclr", "rotation", "gmml")
    found.data.count = 80
    found.budget.updates = 12
    return found


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
        found["judged"] = config
        starts = [entry.partition("=")[0] for entry in config.initialisations]
        curves = [{"name": n, "fractions": [1.0], "scores": [[0.8]]} for n in starts]
        gain = {"value": 0.1, "low": 0.05, "high": 0.2}
        values = {
            f"AUC, {one} - {other}, 1": gain for one, other in config.against.items()
        }
        curves = {"metric": "AUC", "curves": curves}
        results = {"tables": [], "headline": "", "values": values}
        return results | {"label_curves": curves}, []

    def finish(config, workdir, results, facts, began):
        found["table"], (found["told"],) = results["answer"], results["tables"]
        found["headline"] = results["headline"]

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
    made = run(monkeypatch, tmp_path, question(), diverging=("simclr",))
    assert made == ["simclr", "rotation", "gmml"]
    starts = [f"{name}={tmp_path}/pretraining/{name}" for name in ("rotation", "gmml")]
    random = ["random resnet=", "random vit="]
    judged = told["judged"]
    assert list(judged.initialisations) == [*starts, *random]
    assert judged.against.rotation == "random resnet"
    assert judged.against.gmml == "random vit"
    assert judged.own["random vit"] == judged.own.gmml and "rotation" not in judged.own
    rows = {row[0]: row[1:] for row in told["table"]["rows"]}
    assert rows["simclr"] == [None] * 4 + ["diverged", None, None]
    assert "simclr diverged: not finite. " in told["table"]["note"] + " "
    gain, ahead, behind, enough, collapse, updates, hours = rows["rotation"]
    assert (gain, ahead, behind) == ("+0.100 (+0.050 to +0.200) *", "100 %", "nowhere")
    assert (enough, updates, hours) == ("100 %", "1,024", "0.50")
    assert collapse == "no"
    assert "9.0 of 64" in told["told"]["rows"][1][1]


def test_a_budget_gives_each_as_many_updates_and_scales_what_is_in_epochs(
    monkeypatch, tmp_path, told
):
    lengths = {}

    def train(one, folder):
        lengths[folder.name] = one
        Trained(())(one, folder)

    monkeypatch.setattr(experiment.train, "run", train)
    found = question()  # 80 less two fifths are 48: 1.5 updates of 32 an epoch
    found.pretraining.simclr.checkpoint.every_epochs = 3.0
    protocol.run(found, tmp_path)
    assert {one.train_epochs for one in lengths.values()} == {8.0}
    assert lengths["simclr"].checkpoint.every_epochs == pytest.approx(3.0 * 8 / 30)
    assert lengths["gmml"].schedule.warmup_epochs == pytest.approx(8 / 30)


def test_a_budget_below_an_epoch_is_said_and_not_run(
    monkeypatch, tmp_path, told, capsys
):
    found = question()
    found.budget.updates = 2
    found.pretraining.gmml.batch_size = found.pretraining.gmml.micro_batch_size = 16
    made = run(monkeypatch, tmp_path, found)  # three updates an epoch
    assert made == ["simclr", "rotation"]
    assert "not run: gmml, 2 updates are less than an epoch" in capsys.readouterr().out
    assert told["table"]["rows"][-1] == ["gmml"] + [None] * 4 + ["not run", None, None]
    assert "gmml was not run: 2 updates are less than" in told["table"]["note"]
    found.budget.updates = 1
    with pytest.raises(ConfigError, match="budget is too little for any pretraining"):
        run(monkeypatch, tmp_path / "none", found)
    monkeypatch.setattr(protocol.budget, "_measured", lambda *_: 60.0)
    found.budget.update(updates=0, minutes=0.5)  # not one step, and not no budget
    with pytest.raises(ConfigError, match="0.5 minutes, 0 updates, are less than"):
        run(monkeypatch, tmp_path / "slow", found)


def test_minutes_become_updates_by_the_pace_that_is_measured_once(
    monkeypatch, tmp_path, told, capsys
):
    paces = iter([0.5])
    monkeypatch.setattr(protocol.budget, "_measured", lambda *_: next(paces))
    found = question()
    found.tasks = ("simclr",)
    found.budget.update(updates=0, minutes=0.1)
    lengths = []
    monkeypatch.setattr(
        experiment.train,
        "run",
        lambda one, folder: (lengths.append(one), Trained(())(one, folder)),
    )
    for _ in range(2):
        protocol.run(found, tmp_path)
        (tmp_path / "pretraining/simclr/results.json").unlink()  # as if it was killed
    assert [one.train_epochs for one in lengths] == [8.0, 8.0]  # 12 updates of .5 s
    assert capsys.readouterr().out.count("simclr: 0.5 s a step\n") == 1


def test_the_pace_is_that_of_real_steps_on_images_in_the_cache(tmp_path, monkeypatch):
    found, prepared, scratch = question(), [], tmp_path / "at/scratch"
    found.data.count = 1400  # more than is read ahead
    found.data.shape = found.data.resize = (16, 16)
    found.model.width = 4
    one = found.pretraining.rotation
    one.batch_size = one.micro_batch_size = 8

    def count():
        prepared.append(len(list((tmp_path / "cache").glob("*.npy"))))
        return time.perf_counter()

    clock = SimpleNamespace(perf_counter=count)
    monkeypatch.setattr(protocol.budget, "time", clock)
    scratch.mkdir(parents=True)
    one = experiment.placed(one, scratch, within=tmp_path)
    assert 0 < protocol.budget._measured(one, scratch) < 60
    assert prepared[0] >= 840 and len(set(prepared)) == 1


def test_what_is_tested_must_not_be_pretrained_on(monkeypatch, tmp_path, told):
    found = question()
    found.pretraining.rotation.seed = 1  # another fifth
    with pytest.raises(ConfigError) as error:
        run(monkeypatch, tmp_path, found)
    assert "12 test patients were in what config.pretraining.rotation" in str(
        error.value
    )
    assert not told
    run(monkeypatch, tmp_path / "apart", question())
    assert told["headline"].strip() == (
        "None of the 12 test patients was in any pretraining."
    )


def test_what_a_pretraining_starts_from_counts_as_seen(monkeypatch, tmp_path, told):
    found, before = question(), tmp_path / "before/encoder"
    before.mkdir(parents=True)
    (before / "encoder.json").write_text("{}")
    test = open_data(found.experiment, tmp_path / "data").sources["test"]
    seen.save(seen.seen_in([test]), before)
    found.tasks, found.pretraining.simclr.init_from = ("simclr",), str(before.parent)
    from_random = functools.partial(experiment.vary, changes={"init_from": ""})
    monkeypatch.setattr(protocol, "build", lambda one, at: build(from_random(one), at))
    with pytest.raises(ConfigError, match="12 of the 12 test patients were in what"):
        run(monkeypatch, tmp_path / "seen", found)


def test_a_network_of_its_own_that_cannot_be_is_found_before_anything_is_trained(
    monkeypatch, tmp_path, told
):
    found = question()
    found.own.gmml.model.name = "vti"
    with pytest.raises(ConfigError, match="config is config.own.gmml here"):
        run(monkeypatch, tmp_path, found)
    assert not told


def test_a_size_that_fits_no_network_is_found_before_anything_is_trained(
    monkeypatch, tmp_path, told
):
    found, other = question(), question()
    found.pretraining.gmml.model.patch = 7
    with pytest.raises(ConfigError, match="patch 7 does not divide .*pretraining.gmml"):
        run(monkeypatch, tmp_path / "pretrained", found)
    other.own.gmml.model.patch = 7
    with pytest.raises(ConfigError, match="patch 7 does not divide .*own.gmml here"):
        run(monkeypatch, tmp_path / "own", other)
    assert not told


def test_where_all_diverge_nothing_is_measured(monkeypatch, tmp_path, told):
    found = question()
    with pytest.raises(UserError, match=r"every pretraining diverged; lower schedule"):
        run(monkeypatch, tmp_path, found, diverging=found.tasks)
    assert not told


def taken_for(name):
    def change(of):
        of.pretraining[name], of.tasks = of.pretraining.simclr, (name,)

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda of: of.update(tasks=()), "config.tasks is empty"),
        (lambda of: of.update(tasks=("moco",)), "'moco', which is not in config.pre"),
        (taken_for("random"), "random is that of random weights"),
        (taken_for("a/b"), "another name, without '/'"),
        (
            lambda of: of.pretraining.simclr.update(command="grid"),
            "pretraining.simclr is no training",
        ),
        (lambda of: of.own.update(moco={}), "config.own.moco: no such pretraining"),
        (
            lambda of: of.budget.update(updates=3, minutes=1.0),
            "set one of them to 0",
        ),
        (lambda of: of.budget.update(updates=-3), "config.budget.updates"),
    ],
)
def test_what_cannot_be_studied_is_refused_before_anything_is_trained(
    monkeypatch, tmp_path, told, change, said
):
    found = question()
    change(found)
    with pytest.raises(ConfigError, match=said):
        run(monkeypatch, tmp_path, found)
    assert not told


def test_data_test_and_network_of_a_study_are_stated_once():
    found = experiment.load(str(CONFIGS / "study.py"), "study:segment:nifti").lock()
    trained = [found.experiment, *found.pretraining.values()]
    found.data.update(root="scans", spacing_mm=(3.0, 1.0, 1.0))
    found.splits.test.fraction, found.model.width = 0.3, 4
    assert {one.data.root for one in trained} == {"scans"}
    assert {one.data.spacing_mm for one in trained} == {(3.0, 1.0, 1.0)}
    assert {one.splits.test.fraction for one in trained} == {0.3}
    widths = {one.model.width for one in trained if one.model.name == "unet"}
    assert widths == {4}


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
    found.tasks = ("zeros",)
    of_each = {
        f"pretraining.{name}.{field}": value
        for name in found.tasks
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
    assert [row[0] for row in results["answer"]["rows"]] == ["zeros"]
    assert "AUC, zeros - random, 1" in results["values"]
    assert results["headline"].startswith("AUC of zeros - random: ")


@pytest.mark.slow
def test_a_study_of_ones_own_images_that_is_killed_makes_no_finished_run_again(
    tmp_path,
):
    table, folder = [["path", "label", "patient"]], tmp_path / "study"
    (tmp_path / "images").mkdir()
    for i, pixels in enumerate(np.random.default_rng(0).random((60, 16, 16))):
        picture = Image.fromarray((pixels * 255).astype(np.uint8))
        picture.save(tmp_path / f"images/{i:02}.png")
        table.append([f"{i:02}.png", i % 2 if i < LABELLED else "", f"p{i // 2}"])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows(table)
    flags = [f"--config.{name}={value}" for name, value in OF_IMAGES.items()]
    flags += [f"--config.data.{name}={tmp_path / at}" for name, at in OF_FILES.items()]
    command = ["--config=configs/study.py:images", f"--workdir={folder}", *flags]
    process = tiny_run.start(command)
    tiny_run.wait_for(folder / "runs/random/1/0/views.npz", process)
    process.kill()
    tiny_run.finish(process, -signal.SIGKILL)
    made = [folder / at / "results.json" for at in ("pretraining/rotation", FINETUNED)]
    stamps = [path.stat().st_mtime_ns for path in made]
    said = tiny_run.finish(tiny_run.start(command))
    assert [path.stat().st_mtime_ns for path in made] == stamps
    assert str(folder / "runs/random/1/0") in said
    assert not [path for path in made if str(path.parent) in said]
    results = json.loads((folder / "results.json").read_text())
    (row,) = results["answer"]["rows"]
    assert row[0] == "rotation" and row[-2] == "6"  # updates
    at = ("pretraining/rotation", "runs/random/1/0")
    pretrained, tuned = (seen.load(folder / one / "encoder").patients for one in at)
    assert len(pretrained) == 21 and len(tuned) == 14  # the labelled
    assert np.isin(tuned, pretrained).all()
    assert "None of the 6 test patients was in any pretraining." in results["headline"]
