"""Each pretext task's smallest config trains, and goes on to the bit after a stop."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_run
from test_configs import load

from medssl_jax.commands import train

pytestmark = pytest.mark.slow


def smallest(config):
    """Shrink what demos have in common: 96 images, two micro-batches to an update."""
    shortest(config)
    config.model.update(layers=(1, 1), width=4)
    config.method.update(hidden_size=8, output_size=8)


def shortest(config):
    config.data.update(shape=(16, 16), workers=0, cache="")
    config.update(batch_size=48, micro_batch_size=24, train_epochs=4.0, init_from="")
    # every 3 micro-batches, in mid-accumulation every other time; of bags every one
    config.checkpoint.update(every_epochs=0.75, keep=20)
    config.log_every_steps = 1


def contrastive(name):
    config = load(name, "demo")
    smallest(config)
    config.data.update(count=96, size_pixels=(16, 16))
    for role in ("probe", "test"):
        config.splits[role].count = 32
    config.views.first.random_resized_crop.size = (16, 16)
    config.views.second.random_resized_crop.size = (16, 16)
    return config


def swav():
    config = load("swav", "demo")
    smallest(config)
    for source, count in zip(config.data.sources, (56, 28, 12), strict=True):
        source.update(count=count, size_pixels=(16, 16))
    for role in ("probe", "test"):
        for source in config.splits[role].sources:
            source.update(count=16, size_pixels=(16, 16))
    config.data.known_labels = 0.5
    config.method.update(prototypes=5, queue_length=16, queue_from_epoch=0.5)
    config.method.frozen_updates = 2
    with config.unlocked():
        config.views.eval = {"energy_bands": {"sigmas": (1.0, 2.0), "std": 0.0}}
        config.views.assigned.energy_bands = {"sigmas": (1.0, 2.0)}
        config.method.crops.small = 2
        config.views.small = config.views.assigned.copy_and_resolve_references()
    config.views.assigned.random_resized_crop.size = (16, 16)
    config.views.small.random_resized_crop.size = (8, 8)
    return config


def joint():
    config = load("proxy", "joint_2d")
    shortest(config)
    config.data.update(count=96, size_pixels=(16, 16))
    for role in ("probe", "test"):
        config.splits[role].count = 32
    config.model.update(width=4, levels=2)
    for task in ("rotation", "jigsaw"):
        config.method.tasks[task].hidden_sizes = (8,)
    config.method.tasks.exemplar.output_size = 8
    return config


def gmml():
    config = load("gmml", "demo")
    shortest(config)
    config.data.update(count=96, size_pixels=(16, 16))
    for role in ("probe", "test"):
        config.splits[role].count = 32
    config.model.update(patch=4, width=8, heads=2, depth=2, maps=(1, 2))
    config.method.update(align=4, fill="image")
    config.views.first.random_resized_crop.size = (16, 16)
    config.views.eval.resize.size = (16, 16)
    return config


CONFIGS = {
    "gmml": gmml,
    "joint": joint,
    # whose data, views and method are SimCLR's, in pairs
    "micle": lambda: contrastive("micle"),
    "swav": swav,
}


def steps(workdir):
    return sorted(int(p.name) for p in (workdir / "checkpoints").glob("*[0-9]"))


@pytest.fixture(scope="module", params=sorted(CONFIGS))
def finished(request, tmp_path_factory):
    config = CONFIGS[request.param]()
    workdir = tmp_path_factory.mktemp(request.param)
    train.run(config, workdir)
    return config, workdir


def test_it_trains_to_its_report(finished):
    config, workdir = finished
    results = json.loads((workdir / "results.json").read_text())
    assert "linear probe AUC" in results["headline"]
    assert config.name in (workdir / "report.html").read_text()
    lines = (workdir / "metrics.jsonl").read_text().splitlines()
    assert all(np.isfinite(json.loads(line)["loss"]) for line in lines)


def test_a_stopped_run_ends_with_the_same_bits(finished, tmp_path):
    config, whole = finished
    stopped = Path(shutil.copytree(whole, tmp_path / "run"))
    first, *later = steps(stopped)
    for step in later:
        shutil.rmtree(stopped / "checkpoints" / str(step))
    before, _ = tiny_run.checkpoint(stopped, first)
    assert before["/opt_state/mini_step"] == 1
    train.run(config, stopped)
    state, position = tiny_run.checkpoint(stopped, later[-1])
    expected, expected_position = tiny_run.checkpoint(whole, later[-1])
    assert state.keys() == expected.keys() and position == expected_position
    for name, leaf in expected.items():
        np.testing.assert_array_equal(state[name], leaf, err_msg=name)


@pytest.mark.parametrize("finished", ["gmml"], indirect=True)
def test_what_is_hidden_is_shown_as_it_is_made_up(finished):
    _, workdir = finished
    arrays = np.load(workdir / "reconstructions.npz")
    assert arrays["reconstruction"].shape == (6, 16, 16, 1)
    logged = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"lr", "weight_decay", "loss_of_mean", "hidden"} <= logged.keys()
    assert "Reconstructions" in (workdir / "report.html").read_text()
    assert "made up with a mean error" in (workdir / "results.json").read_text()


@pytest.mark.parametrize("finished", ["joint"], indirect=True)
def test_each_task_of_a_joint_run_is_logged_and_shown(finished):
    _, workdir = finished
    logged = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    tasks = {"rotation": 1.0, "jigsaw": 0.5, "exemplar": 20.0}
    total = sum(weight * logged[f"loss/{task}"] for task, weight in tasks.items())
    assert logged["loss"] == pytest.approx(total, rel=1e-4)
    # each in its order, or a task has another colour in every figure
    told = [name for name in logged if name.startswith("pretext_accuracy/")]
    assert told == [f"pretext_accuracy/{task}" for task in sorted(tasks)]
    shown = {"rotation_images 1", "jigsaw_images 8", "exemplar_second"}
    assert shown <= {*np.load(workdir / "views.npz")}


@pytest.mark.parametrize("finished", ["swav"], indirect=True)
def test_clustering_keeps_queue_and_modalities_in_the_run(finished):
    _, workdir = finished
    state, _ = tiny_run.checkpoint(workdir, steps(workdir)[-1])
    for name in ("mr", "ct", "us"):
        assert state[f"/aux/queue/{name}/rows"].any()
        assert f"/params/prototypes/{name}" in state
    logged = json.loads((workdir / "metrics.jsonl").read_text().splitlines()[-1])
    assert {f"cross_entropy/{name}" for name in ("mr", "ct", "us")} <= logged.keys()
    energies = json.loads((workdir / "energies.json").read_text())
    assert energies
