"""Grades from files to a kappa with its interval, on APTOS's layout and RetinaMNIST."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score
from test_configs import load

from medssl_jax.commands import predict, train
from medssl_jax.errors import ConfigError
from medssl_jax.protocols.tested import read_cases

sys.path.append(str(Path(__file__).parent / "data"))
from test_data_aptos import release, write


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Write 60 images, 12 of each grade, as APTOS's release has them."""
    rows = [(f"{i:012x}", str(i % 5)) for i in range(1, 61)]
    return release(tmp_path_factory.mktemp("aptos"), rows)


def shrink(config, **data):
    config.data.update(workers=0, cache="", **data)
    size = config.data.shape
    config.views.first.random_resized_crop.size = config.views.eval.resize.size = size
    config.update(batch_size=16, micro_batch_size=16, train_epochs=1.0)
    return config


def small_aptos(root):
    config = shrink(
        load("finetune", "aptos"), root=root, shape=(16, 16), resize=(16, 16)
    )
    config.model.update(blocks=(1, 1), initial_features=4, growth=2)
    config.method.frozen_epochs = 0.5
    config.splits.update(validation={"fraction": 0.3}, test={"fraction": 0.4})
    return config


def check_kappa(folder, examples):
    """Hold what a run tells to scikit-learn's kappa of the predictions it left."""
    with open(folder / "predictions.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == examples
    grades = [int(row["grade"]) for row in rows]
    p = np.array([[float(row[f"probability_{k}"]) for k in range(5)] for row in rows])
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-4)
    guess = p.argmax(axis=1)
    expected = cohen_kappa_score(grades, guess, labels=range(5), weights="quadratic")
    results = json.loads((folder / "results.json").read_text())
    kappa = results["values"]["kappa"]
    assert kappa["value"] == pytest.approx(expected, abs=1e-9)
    assert kappa["low"] <= kappa["value"] <= kappa["high"]
    assert results["headline"].startswith(f"Test kappa {expected:.3f} (")
    page = (folder / "report.html").read_text()
    assert "true grade" in page and "with quadratic weights" in page
    assert read_cases(folder).main == "kappa"
    logged = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    assert any("validation_kappa" in line for line in logged)


def test_a_densenet_grades_aptos_and_predicts_grades(root, tmp_path):
    train.run(small_aptos(root), tmp_path)
    check_kappa(tmp_path, examples=24)
    again = load("predict", "aptos")
    again.init_from, again.data.root = str(tmp_path), root
    predict.run(again, tmp_path / "again")
    found = read_cases(tmp_path / "again")
    assert found.main == "kappa" and len(found.names) == 60
    assert np.bincount(found.labels).tolist() == [12] * 5


@pytest.mark.slow
def test_questions_grade_retinamnist(real_data, tmp_path):
    data = str(real_data / "retinamnist" / "retinamnist.npz")
    config = shrink(load("finetune", "medmnist"), root=data)
    config.method.update(classes=5, ordered=True, ordinal_head=True)
    config.model.update(layers=(1,), width=4)
    config.update(batch_size=64, micro_batch_size=64)
    train.run(config, tmp_path)
    check_kappa(tmp_path, examples=400)


def test_a_grade_that_training_or_validation_lacks_is_told_before_a_step(
    root, tmp_path
):
    missing = release(tmp_path, [(f"{i:012x}", str(i % 4)) for i in range(1, 61)])
    with pytest.raises(
        ConfigError, match="train has no example of class 4: label more"
    ):
        train.run(small_aptos(missing), tmp_path / "train")
    write(
        tmp_path, [(f"{i:012x}", "4" if i == 7 else str(i % 4)) for i in range(1, 61)]
    )
    with pytest.raises(
        ConfigError, match="(train|validation) has no example of class 4"
    ):
        train.run(small_aptos(missing), tmp_path / "validation")
    config = small_aptos(root)
    config.method.classes = 4
    with pytest.raises(ConfigError, match="has the label 4, and method.classes is 4"):
        train.run(config, tmp_path / "classes")
