"""A study from its command line, pretraining and all: killed, and gone on with."""

import json
import signal
from pathlib import Path

import pytest
import tiny_run

SETTINGS = {
    "tasks": ("rotation", "gmml"),
    "budget.updates": 12,
    "fractions": (1.0,),
    "repeats": 2,
    "data.count": 80,
    "data.size_pixels": (16, 16),
    "data.shape": (16, 16),
    "data.resize": (16, 16),
    "model.layers": (1,),
    "model.width": 4,
    "own.gmml.model.width": 12,
    "own.gmml.model.depth": 1,
    "own.gmml.model.maps": (1,),
    "pretraining.gmml.model.width": 12,
    "pretraining.gmml.model.depth": 1,
    "pretraining.gmml.model.maps": (1,),
    "pretraining.rotation.batch_size": 8,
    "pretraining.rotation.micro_batch_size": 8,
    "pretraining.gmml.batch_size": 8,
    "pretraining.gmml.micro_batch_size": 8,
    "experiment.batch_size": 8,
    "experiment.micro_batch_size": 8,
    "experiment.train_epochs": 2.0,
}


@pytest.mark.slow
def test_a_killed_study_goes_on_and_makes_nothing_again(tmp_path):
    flags = [f"--config.{name}={value}" for name, value in SETTINGS.items()]
    command = ["--config=configs/study.py", f"--workdir={tmp_path}", *flags]
    process = tiny_run.start(command)
    tiny_run.wait_for(tmp_path / "runs/gmml/1/0/views.npz", process)
    process.kill()
    tiny_run.finish(process, -signal.SIGKILL)
    before = finished(tmp_path)
    assert before.keys() == {"pretraining/gmml", "pretraining/rotation"} | {
        "runs/rotation/1/0"
    }
    said = tiny_run.finish(tiny_run.start(command))
    after = finished(tmp_path)
    assert before.items() <= after.items() and len(after) == 2 + 2 * 4
    assert "pretraining" not in said.replace("pretraining  ", "")
    results = json.loads((tmp_path / "results.json").read_text())
    rows = {row[0]: row for row in results["answer"]["rows"]}
    assert rows.keys() == {"rotation", "gmml"}
    at = results["answer"]["columns"].index("updates")
    assert {row[at] for row in rows.values()} == {"12"}
    assert (tmp_path / "report.html").exists()
    model = json.loads((tmp_path / "pretraining/gmml/encoder/encoder.json").read_text())
    assert model["spec"]["model"]["width"] == 12


def finished(folder: Path) -> dict[str, int]:
    """Return the runs that have results, and when these were written."""
    found = [*folder.glob("pretraining/*/results.json")]
    found += folder.glob("runs/*/*/*/results.json")
    return {
        str(path.parent.relative_to(folder)): path.stat().st_mtime_ns for path in found
    }
