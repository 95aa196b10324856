"""A run folder as a run of BYOL on volumes leaves it."""

import csv
import json
import shutil

import numpy as np
import pytest

from medssl_jax.evals.collapse import spread
from medssl_jax.report.build import build


def _metrics(rng, steps=800):
    for step in range(0, steps, 2):
        done = step / steps
        yield {
            "step": step,
            "update": step // 16,
            "epoch": step // 40,
            "loss": 0.6 + 3.2 * np.exp(-4 * done) + 0.15 * rng.normal(),
            "lr": 0.2 * (1 + np.cos(np.pi * done)) / 2,
            "tau": 1 - 0.004 * (np.cos(np.pi * done) + 1) / 2,
            "examples_per_second": 42 + rng.normal(),
            "data_wait": abs(0.02 * rng.normal()),
        }
        if step % 100 == 0:
            yield {"step": step, "val_auc": 0.55 + 0.2 * done + 0.01 * rng.normal()}


def _scans(rng, n, shape):
    """Return smooth blobs with a bright rim, unlike in each example."""
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, s) for s in shape), indexing="ij"))
    volumes = []
    for _ in range(n):
        centre = rng.uniform(-0.2, 0.2, 3).reshape(3, 1, 1, 1)
        radius = np.sqrt(
            (((grid - centre) * rng.uniform(0.8, 1.3, (3, 1, 1, 1))) ** 2).sum(0)
        )
        volumes.append(np.exp(-(((radius - 0.6) / 0.2) ** 2)) + 0.3 * (radius < 0.5))
    scans = np.stack(volumes)[..., None] + 0.03 * rng.normal(size=(n, *shape, 1))
    return scans.clip(0, 1).astype(np.float16)


def _embeddings(rng, labels, directions, shift):
    n, d = len(labels), 64
    scale = np.exp(-np.arange(d) / directions)
    z = rng.normal(size=(n, d)) * scale
    z[:, 0] += shift * labels
    return (z @ np.linalg.qr(rng.normal(size=(d, d)))[0] + 0.2).astype(np.float32)


def _results(rng, pretrained, untrained):
    labels = rng.integers(0, 2, 96)
    scores = {
        "linear probe, pretrained": 0.5 * labels + rng.normal(size=96) * 0.6,
        "linear probe, untrained": 0.2 * labels + rng.normal(size=96) * 0.6,
    }
    rows = [
        ["pretrained", "0.712 (0.611 to 0.801)", "0.684 (0.580 to 0.779)", 0.66],
        ["untrained", "0.608 (0.498 to 0.711)", "0.591 (0.481 to 0.696)", 0.58],
        ["difference", "+0.104 (+0.012 to +0.195)", "+0.093 (-0.004 to +0.190)", None],
    ]
    return {
        "headline": "The pretrained encoder tells a torn ligament better than the "
        "untrained one: linear-probe AUC 0.712 against 0.608. No sign of collapse.",
        "tables": [
            {
                "title": "Frozen features, 96 test examples",
                "note": "AUC with its 95 % bootstrap interval over patients.",
                "columns": ["encoder", "linear probe AUC", "kNN AUC", "accuracy"],
                "rows": rows,
            }
        ],
        "roc": [
            {"name": name, "labels": labels.tolist(), "scores": score.tolist()}
            for name, score in scores.items()
        ],
        "curves": [
            {
                "title": "FROC",
                "note": "Boxes found at most so many alarms an image.",
                "xlabel": "alarms",
                "ylabel": "sensitivity",
                "logarithmic": True,
                "lines": [{"name": "all", "x": [0.1, 1.0, 8.0], "y": [0.2, 0.5, 0.9]}],
            }
        ],
        "collapse": {"pretrained": spread(pretrained), "untrained": spread(untrained)},
    }


def _cases(rng):
    """Return the arrays of a segmentation's worst, middle and best case."""
    arrays = {"structures": np.array(["bone", "meniscus"])}
    for kind, score in (("worst", 0.61), ("middle", 0.74), ("best", 0.87)):
        truth = np.zeros((2, 12, 16), np.uint8)
        truth[:, 2:6, 3:10], truth[:, 7:10, 3:10] = 1, 2
        case = {
            "name": f"knee {kind}",
            "score": score,
            "aspect": 1.5,
            "slices": [4, 7],
            "image": rng.normal(100, 20, (2, 12, 16, 1)) + 50 * truth[..., None],
            "truth": truth,
            "found": np.roll(truth, 2, axis=2),
        }
        arrays |= {f"{kind}/{name}": np.array(array) for name, array in case.items()}
    return arrays


def _run():
    split = {"patients": 240, "repeated_frames": 3, "skipped": 1}
    return {
        "name": "byol3d demo",
        "command": "python -m medssl_jax.main --config=configs/byol3d.py",
        "versions": {"medssl_jax": "0.1.0", "jax": "0.10.2", "python": "3.11.7"},
        "devices": {"backend": "cpu", "devices": 1, "processes": 1},
        "data": {
            "pretrain": split | {"count": 512, "label_counts": None},
            "train": split | {"count": 256, "label_counts": {"0": 140, "1": 116}},
            "test": split | {"count": 96, "label_counts": {"0": 50, "1": 46}},
        },
        "durations": {"epochs": 20, "updates": 200, "micro-batches": 800},
        "parameters": 523_456,
        "started": "2025-06-01T12:00:00+00:00",
        "seconds": 272.4,
    }


_CONFIG = {
    "seed": 0,
    "batch_size": 64,
    "method": {
        "name": "byol",
        "tau": 0.996,
        "views": {"flip": {}, "crop": {"scale": [0.5, 1.0]}},
    },
    "data": {"name": "phantom", "spacing_mm": None},
    "init_from": "",
}


def _write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def write_run(folder):
    """Write every file that a report reads."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    pretrained = _embeddings(rng, labels, 12, 1.5)
    untrained = _embeddings(rng, labels, 6, 0.3)
    lines = "".join(json.dumps(line) + "\n" for line in _metrics(rng))
    (folder / "metrics.jsonl").write_text(lines)
    for name, content in (
        ("config", _CONFIG),
        ("run", _run()),
        ("results", _results(rng, pretrained, untrained)),
    ):
        (folder / f"{name}.json").write_text(json.dumps(content))
    source = _scans(rng, 6, (16, 40, 40))
    first, second = (
        (source[:, 2:14, 4:36, 4:36] - 0.3) * rng.uniform(0.7, 1.4, (6, 1, 1, 1, 1))
        for _ in range(2)
    )
    np.savez(folder / "views.npz", source=source, first=first, second=second)
    np.savez(
        folder / "embeddings.npz",
        pretrained=pretrained,
        untrained=untrained,
        labels=labels,
    )
    np.savez(folder / "cases.npz", **_cases(rng))
    image, hidden = rng.random((2, 16, 24, 1)), rng.random((2, 16, 24)) < 0.5
    corrupted = np.where(hidden[..., None], 0.0, image)
    made = {"image": image, "hidden": hidden, "corrupted": corrupted}
    np.savez(folder / "reconstructions.npz", reconstruction=image / 2, **made)
    looks = {"image": image, "attention": rng.random((2, 2, 3)), "block": 10}
    np.savez(folder / "attention.npz", names=["a", "b"], **looks)
    truth, found = [[0.2, 0.2, 0.6, 0.7, 1]], [[0.25, 0.2, 0.6, 0.6, 1, 0.8]]
    none = [[0.0, 0.0, 0.0, 0.0, -1]], [[0.0, 0.0, 0.0, 0.0, -1, 0.0]]
    np.savez(
        folder / "detections.npz",
        image=image,
        name=["a", "b"],
        truth=[truth, none[0]],
        found=[none[1], found],
        missed=[1, 0],
        false=[0, 1],
        kinds=["nodule", "mass"],
    )
    table = [[f"phantom/{i:04d}", i % 2, f"{i / 40:.3f}"] for i in range(40)]
    _write_csv(folder / "predictions.csv", [["name", "label", "score"], *table])
    reason = "holds NaN voxels; mend or remove the file"
    _write_csv(folder / "skipped.csv", [["path", "reason"], ["a/b.nii", reason]])


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """Return a run folder and its report, to read only: drawing takes seconds."""
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    build(folder)
    return folder


@pytest.fixture
def run_folder(finished_run, tmp_path):
    """Return a run folder to change, without a report."""
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    (tmp_path / "report.html").unlink()
    return tmp_path
