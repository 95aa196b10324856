"""Auxiliary heads from their config to a test: what is learnt, and what is told."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_configs import load

import medssl_jax
from medssl_jax.commands import evaluate, train
from medssl_jax.data.sources.phantom_heads import phantom_heads
from medssl_jax.errors import ConfigError
from medssl_jax.run import task


def smallest():
    config = load("haemorrhage", "demo")
    config.data.update(count=24, size_voxels=(4, 16, 16), shape=(4, 16, 16), cache="")
    config.data.update(resize=None, crop_to_body=False)
    for role, count in (("validation", 8), ("test", 12)):
        config.splits[role].count = count
    config.model.update(blocks=(1, 1), growth=2, initial_features=4, features=8)
    config.update(batch_size=8, micro_batch_size=8, train_epochs=2.0)
    config.log_every_steps = 1
    return config


@pytest.mark.slow
def test_heads_are_learnt_and_the_volumes_label_is_told(tmp_path):
    config = smallest()
    train.run(config, tmp_path)
    with (tmp_path / "metrics.jsonl").open() as file:
        lines = [json.loads(line) for line in file]
    losses = [line for line in lines if "own_loss" in line]
    assert losses and all(
        line["loss"]
        == pytest.approx(
            line["own_loss"] + line["types_loss"] + line["slices_loss"], rel=1e-5
        )
        for line in losses
    )
    with (tmp_path / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    test = {**config.data, **config.splits.test}
    settings = {name: test[name] for name in ("count", "seed", "size_voxels")}
    any_blood = phantom_heads(**settings).labels[:, 0]
    assert [int(row["label"]) for row in rows] == any_blood.tolist()
    predictor = medssl_jax.load_predictor(tmp_path)
    assert predictor.spec["label_names"] is None  # of classes
    record = phantom_heads(**settings)[0]
    p = np.asarray(predictor.of_record(record)["probability"])
    assert p[1] == pytest.approx(float(rows[0]["probability_1"]), abs=1e-5)

    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    (table,) = (t for t in results["tables"] if t["columns"][0] == "head")
    assert [row[0] for row in table["rows"]] == ["slices"] + ["types"] * 5
    records = [phantom_heads(**settings)[i] for i in range(len(rows))]
    labels = np.stack([one["planes"] for one in records])
    told = np.stack([predictor.of_record(one)["slices_probability"] for one in records])
    expected = roc_auc_score(labels[labels >= 0], told[labels >= 0])
    measured = results["values"]["AUC slices slices"]["value"]
    assert measured == pytest.approx(expected, abs=1e-6)

    others = load("evaluate", "phantom")  # of one label, and none of slices
    others.run = str(tmp_path)
    others.data.update(count=8, size_voxels=(4, 16, 16))
    evaluate.run(others, tmp_path / "others")
    with (tmp_path / "others/predictions.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 8


@pytest.mark.parametrize("out", [["types"], ["slices"], ["types", "slices"]])
def test_heads_of_weight_0_are_left_out_and_the_volumes_label_stays(tmp_path, out):
    """As configs/ablation.py has its variants."""
    config = smallest()
    for name in out:
        config.method.heads[name].weight = 0.0
    config.train_epochs = 1 / 3
    config.schedule.warmup_epochs = 0.0
    train.run(config, tmp_path)
    first = (tmp_path / "metrics.jsonl").read_text("utf-8").splitlines()[0]
    learnt = {name for name in ("types", "slices") if f"{name}_loss" in first}
    assert learnt == {"types", "slices"} - set(out)
    with (tmp_path / "predictions.csv").open(newline="") as file:
        assert {row["label"] for row in csv.DictReader(file)} == {"0", "1"}
    results = json.loads((tmp_path / "results.json").read_text("utf-8"))
    judged = {key.split()[1] for key in results["values"] if " " in key}
    assert judged == learnt


def test_variants_of_an_ablation_read_the_same_columns():
    found = load("ablation", "demo")
    assert set(found.order) == {"base", "types", "slices", "heads"}
    some = {"base": set(), "types": {"types"}, "slices": {"slices"}}
    for name, one in found.variants.items():
        weights = {head: of_one.weight for head, of_one in one.method.heads.items()}
        assert weights.keys() == {"types", "slices"}
        learnt = {head for head, weight in weights.items() if weight}
        assert learnt == some.get(name, {"types", "slices"})


@pytest.mark.parametrize(
    "change, said",
    [
        (
            {"method.heads.types.findings": (1, 6)},
            r"config.method.heads reads 7 findings, .* shape \(24, 6\)",
        ),
        (
            {"data.bleeding_fraction": 0.0},
            "train has no positive of the finding 'any', 'epidural'",
        ),
        (
            {"data": {"name": "phantom", "count": 24, "size_voxels": (4, 16, 16)}},
            "reads 6 findings, and the labels of training",
        ),
    ],
)
def test_labels_that_heads_cannot_learn_are_named(tmp_path, change, said):
    config = smallest().unlock()
    for field, value in change.items():
        *parents, leaf = field.split(".")
        part = config
        for parent in parents:
            part = part[parent]
        if isinstance(value, dict):  # another source
            for name in ("bleeding_fraction", "unknown_planes", "unknown_types"):
                del part[leaf][name]
                for role in config.splits.values():
                    if name in role:
                        del role[name]
            part[leaf].update(value)
        else:
            part[leaf] = value
    with pytest.raises(ConfigError, match=said):
        task.build(config, tmp_path)


def test_slices_without_labels_are_named(tmp_path):
    config = smallest().unlock()
    del config.method.heads["types"]
    for name in ("bleeding_fraction", "unknown_planes", "unknown_types"):
        del config.data[name]
        for role in config.splits.values():
            if name in role:
                del role[name]
    config.data.update(name="phantom")
    with pytest.raises(ConfigError, match="labels of slices, and the data has none"):
        task.build(config, tmp_path)
