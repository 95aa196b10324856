"""A model card: what the hub reads of it, what it tells, and what it keeps to itself."""

import json

import pytest
import yaml

from medssl_jax.report import card
from medssl_jax.report.run import read_run

SPEC = {
    "model": {"name": "resnet", "ndim": 2, "layers": [1, 1], "width": 4},
    "view": {"standardise": {}},
    "host": {"shape": [8, 9], "spacing_mm": [1.0, 2.0], "window": "hu"}
    | {"window_hu": [-160.0, 240.0], "frames": "all", "resize": None},
    "channels": 1,
    "provenance": {"run": "jane", "method": {"name": "simclr", "temperature": 0.5}},
}
FILES = {"weights.safetensors": "the weights"}
CONFIG = {
    "name": "jane",
    "init_from": "runs/jane/first",
    "seed": 3,
    "optimizer": {"name": "lars", "decay": {"start": 0.1, "end": 0.2}},
    "schedule": {"name": "cosine", "peak": 0.1},
    "views": {"first": {"flip": {}, "gamma": {}}, "eval": {}},
    "data": {
        "sources": [
            {"name": "nifti", "modality": "ct", "root": "/home/jane/secret"},
            {"name": "images", "modality": "x-ray: chest", "root": "secret"},
        ]
    },
}
RUN = {
    "name": "jane",
    "command": "python -m medssl_jax.main --config.data.root=…/secret",
    "started": "2026-01-01",
    "versions": {"jax": "0.10.2", "medssl_jax": "0.1.0"},
    "devices": {"devices": "1 x cpu", "recompute": False},
    "data": {
        "train": {"count": 1234, "patients": 56, "label_counts": {"a|b": 7, "none": 2}},
        "test": {"count": 9, "patients": None, "label_counts": None},
    },
    "durations": {"epochs": 2.0, "updates": 40, "micro-batches": 80},
    "seconds": 5400.0,
}
RESULTS = {
    "headline": "AUC 0.9, of /home/jane/secret/run.",
    "tables": [
        {"title": "Test", "note": "n", "columns": ["m", "v"], "rows": [["AUC", 0.9]]}
    ],
}


def described(**changes):
    given = {"spec": SPEC, "parameters": 12, "returns": {"features": "(n, 8)"}}
    given |= {"files": FILES, "torch": "", "stablehlo": "", "licence": "unknown"}
    return card.Model(**given | changes)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "weights.safetensors").write_bytes(b"0" * 2_500_000)
    files = {"config.json": CONFIG, "run.json": RUN, "results.json": RESULTS}
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content), encoding="utf-8")
    return tmp_path


def text_of(folder, run=True, **changes):
    found = read_run(folder if run else folder / "none")
    return card.build(folder, described(**changes), found).read_text(encoding="utf-8")


def test_the_hub_reads_licence_library_task_and_tags(folder):
    _, front, _ = text_of(folder, licence="cc-by-4.0").split("---\n", 2)
    assert yaml.safe_load(front) == {
        "license": "cc-by-4.0",
        "library_name": "medssl_jax",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["medical-imaging", "jax", "2d", "resnet", "simclr", "ct"]
        + ["x-ray: chest"],
    }


@pytest.mark.parametrize(
    "returns, task",
    [("probability", "classification"), ("mask", "segmentation"), ("boxes", "")],
)
def test_the_hub_is_told_what_a_predictor_predicts(folder, returns, task):
    method = {"method": {"name": "supervised", "classes": 2}}
    text = text_of(folder, spec=SPEC | method, returns={returns: "(n, 2)"})
    wanted = f"image-{task}" if task else "object-detection"
    assert f"pipeline_tag: {wanted}\n" in text
    assert "load_predictor" in text and f'model(images)["{returns}"]' in text


def test_it_tells_data_recipe_figures_and_limits(folder):
    text = text_of(folder)
    for row in (
        r"| train | 1,234 | 56 | a\|b: 7, none: 2 |",
        "| test | 9 | – |  |",
        "| task | simclr (temperature 0.5) |",
        "| optimizer | lars (decay (start 0.1, end 0.2)) |",
        "| views | first: flip, gamma; eval: as it is |",
        "| data, by their format | nifti (ct), images (x-ray: chest) |",
        "| updates | 40 |",
        "| hours | 1.500 |",
        "| voxels in mm | (1.0, 2.0) |",
        "| window hu | (-160.0, 240.0) |",
        "| done by the model itself | standardise |",
        "| AUC | 0.900 |",
        "| weights.safetensors | 2.5 MB | the weights |",
    ):
        assert f"{row}\n" in text
    assert "no medical device" in text and "Not stated" in text
    assert "before on what its start was" in text  # which another run trained
    assert "phantoms" not in text


def test_it_names_no_user_and_no_folder(folder):
    text = text_of(folder)
    assert "jane" not in text and "/home" not in text
    assert "secret" not in text.replace("…/secret/run", "").replace("…/run", "")


def test_what_is_not_known_is_said(folder):
    text = text_of(folder, run=False)
    assert "Not recorded: there is no `run.json`" in text
    assert "None: there is no `results.json`" in text
    assert "What it was trained on is not recorded here" in text


def test_phantoms_are_no_patients(folder):
    config = CONFIG | {"data": {"name": "phantom_chests"}, "init_from": ""}
    (folder / "config.json").write_text(json.dumps({"experiment": config}))
    text = text_of(folder)
    assert (
        "it has seen no patient" in text and "| started from | random weights |" in text
    )
    assert "its start" not in text


def test_each_format_has_its_lines_and_findings_their_names(folder):
    spec = SPEC | {"label_names": ["edema", "a*b"]}
    text = text_of(folder, torch="import torch\n", stablehlo="0.10.2", spec=spec)
    assert "```python\nimport torch\n```" in text
    assert "export.deserialize" in text and "0.10.2" in text
    assert "Findings, from 0: edema, a\\*b." in text
    assert "export.deserialize" not in text_of(folder)
