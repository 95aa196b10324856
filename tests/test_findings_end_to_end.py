"""CheXpert's layout from fine-tuning to label efficiency: several findings, in one go."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from test_configs import load

from medssl_jax.commands import train
from medssl_jax.protocols import label_efficiency

sys.path.append(str(Path(__file__).parent / "data"))
from test_data_chexpert import release

SHOWN = ("Edema", "Pleural Effusion")
PATIENTS = 60


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Two findings, some uncertain or blank; each patient has one or two images."""
    random = np.random.default_rng(0)
    rows = []
    for patient in range(PATIENTS):
        for study in range(random.integers(1, 3)):
            marks = random.choice(["1.0", "0.0", "-1.0", ""], 2, p=[0.4, 0.3, 0.1, 0.2])
            path = f"patient{patient:05d}/study{study + 1}/view1_frontal.jpg"
            rows.append((path, "Frontal", dict(zip(SHOWN, marks, strict=True))))
    return release(tmp_path_factory.mktemp("chexpert"), rows)


def shrink(config, root):
    config.data.update(root=root, findings=SHOWN, shape=(16, 16), resize=(16, 16))
    config.data.update(workers=0, cache="")
    config.method.findings = 2
    config.model.update(layers=(1, 1), block="basic", width=4)
    config.views.first.random_resized_crop.size = (16, 16)
    config.views.eval.resize.size = (16, 16)
    config.update(batch_size=16, micro_batch_size=16, train_epochs=2.0)
    config.splits.update(validation={"fraction": 0.2}, test={"fraction": 0.3})
    return config


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_fine_tuning_tells_each_findings_auc_over_its_known_labels(root, tmp_path):
    train.run(shrink(load("finetune", "chexpert"), root), tmp_path)
    results = json.loads((tmp_path / "results.json").read_text())
    rows = read(tmp_path / "predictions.csv")
    told = {row[0]: row for table in results["tables"] for row in table["rows"]}
    for finding in SHOWN:
        (label,) = [c for c in rows[0] if c.startswith("label") and finding in c]
        (score,) = [c for c in rows[0] if c.startswith("p") and finding in c]
        known = [row for row in rows if row[label] not in ("", "-1")]
        assert 0 < len(known) < len(rows)  # some are uncertain
        expected = roc_auc_score(
            [int(row[label]) for row in known], [float(row[score]) for row in known]
        )
        assert any(f"{expected:.3f}" in str(cell) for cell in told[finding]), told
    assert "mean of 2 findings" in results["headline"]


@pytest.mark.slow
def test_label_efficiency_takes_findings(root, tmp_path):
    config = load("label_efficiency", None)
    with config.unlocked():
        config.experiment = shrink(load("finetune", "chexpert"), root)
    config.update(repeats=2, fractions=(0.5, 1.0))
    config.initialisations = ("random=",)
    label_efficiency.run(config, tmp_path)
    rows = read(tmp_path / "label_efficiency.csv")
    assert len(rows) == 4
    used = {float(r["fraction"]): int(r["training_examples"]) for r in rows}
    assert used[0.5] < used[1.0]
    assert (
        "AUC of random"
        in json.loads((tmp_path / "results.json").read_text())["headline"]
    )
