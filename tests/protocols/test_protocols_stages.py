"""Two stages: nobody is segmented by what was trained on them, nor tested twice."""

import csv
import json
import shutil

import numpy as np
import pytest
import tiny_stages

from medssl_jax.commands import predict
from medssl_jax.data import settings
from medssl_jax.data.arrays import load_array
from medssl_jax.data.attended import map_path
from medssl_jax.errors import ConfigError, DataError, UserError
from medssl_jax.protocols import ensemble, maps, stages
from medssl_jax.protocols.experiment import load, vary
from medssl_jax.protocols.tested import read_cases
from medssl_jax.run.task import open_data


class Reached(Exception):
    """The second stage would begin."""


@pytest.fixture
def trained(monkeypatch):
    """Train nothing; return the patients of each first stage, by role.

    What one finds tells which one it is: .1 for the first, .3 for the second, ...
    """
    found = {}

    def complete(config, folder, *, within, field):
        if field == "second":
            raise Reached(config.data.attention)
        sources = open_data(config, within).sources
        found[folder.name] = {role: set(s.patients) for role, s in sources.items()}
        (folder / "predictor").mkdir(parents=True, exist_ok=True)
        (folder / "predictor/weights.safetensors").write_text(f"{config.data.fold}")
        return {}

    def finder(run):
        return lambda image: np.full(image.shape[:-1], 0.1 + 0.2 * int(run.name))

    monkeypatch.setattr(stages, "complete", complete)
    monkeypatch.setattr(maps, "finder", finder)
    return found


def run(config, workdir):
    """Return the folder that the second stage is given, and what there is to map."""
    with pytest.raises(Reached) as reached:
        stages.run(config, workdir)
    sources = open_data(config.first, workdir).sources
    return str(reached.value), sources


def values(folder, source):
    """Return by patient which value their volumes' maps have."""
    found = {}
    for i, patient in enumerate(source.patients):
        written = load_array(map_path(folder, source, i))
        assert written.shape == (tiny_stages.SLICES, 16, 16)
        found.setdefault(patient, set()).update(np.unique(written).tolist())
    return found


@pytest.mark.parametrize("folds", [2, 3])
def test_no_volume_is_mapped_by_a_model_that_was_trained_on_its_patient(
    trained, tmp_path, folds
):
    folder, sources = run(vary(tiny_stages.config(), {"folds": folds}), tmp_path)
    assert len(trained) == folds
    seen = set()
    for patient, found in values(folder, sources["train"]).items():
        (value,) = found
        fold = round((value - 0.1) / 0.2)
        seen.add(fold)
        for number, roles in trained.items():
            assert (patient in roles["train"]) == (int(number) != fold)
    assert seen == set(range(folds))
    for role in ("validation", "test"):
        mean = np.float16(np.mean(0.1 + 0.2 * np.arange(folds)))
        assert set.union(*values(folder, sources[role]).values()) == {float(mean)}


def test_both_stages_test_the_same_patients_who_are_trained_on_by_none(
    trained, tmp_path
):
    config = tiny_stages.config()
    folder, first = run(config, tmp_path)
    second = open_data(
        vary(config.second, {"data.attention": folder}), tmp_path
    ).sources
    for role in ("train", "validation", "test"):
        assert set(first[role].patients) == set(second[role].patients)
    for roles in trained.values():
        assert roles["test"] == set(second["test"].patients)
        assert not roles["train"] & (roles["test"] | roles["validation"])
    image = second["test"][0]["image"]
    assert image.shape == (16, 16, 6)
    np.testing.assert_allclose(image[..., -1], 0.2, atol=1e-3)


def test_one_fold_is_one_model_of_all_and_for_all(trained, tmp_path):
    folder, sources = run(vary(tiny_stages.config(), {"folds": 1}), tmp_path)
    assert trained["0"]["train"] == set(sources["train"].patients)
    for source in sources.values():
        (value,) = set.union(*values(folder, source).values())
        assert value == pytest.approx(0.1, abs=1e-4)


def test_maps_of_other_weights_are_not_taken_for_theirs(trained, tmp_path, monkeypatch):
    folder, sources = run(tiny_stages.config(), tmp_path)
    kept = map_path(folder, sources["test"], 0)
    before = kept.stat().st_mtime_ns
    assert run(tiny_stages.config(), tmp_path)[0] == folder
    assert kept.stat().st_mtime_ns == before  # not written again
    other, _ = run(vary(tiny_stages.config(), {"folds": 3}), tmp_path)
    assert other != folder


def test_the_first_stage_has_fewer_masks_and_yet_maps_everyone(trained, tmp_path):
    config = vary(tiny_stages.config(), {"first.data.label_fraction": 0.5})
    folder, _ = run(config, tmp_path)
    everyone = open_data(tiny_stages.config().first, tmp_path).sources["train"]
    trained_on = [roles["train"] for roles in trained.values()]
    assert len(set.union(*trained_on)) < len(set(everyone.patients))
    assert values(folder, everyone).keys() == set(everyone.patients)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"second.splits.test.fraction": 0.5},
            r"config\.first\.splits is .*both stages",
        ),
        ({"second.data.seed": 2}, r"config\.first\.data\.seed is 1, .* comes to 2"),
        ({"first.data.split_seed": 3}, r"first\.data\.split_seed is 3"),
        ({"second.data.window": "none"}, r"first\.data\.window is percentiles"),
        ({"first.data.spacing_mm": (1.0, 1.0, 1.0)}, r"first\.data\.spacing_mm is \(1"),
        ({"second.data.slices.axis": 1}, "slices along axis 0, .*, axis to 0"),
        ({"second.data.slices.of_each": 0}, "set of_each and"),
        # splits would be of slices, and others than those of volumes
        ({"second.data.slices.lesion_voxels": 0}, "lesion_voxels to 1 or more"),
        ({"folds": 0}, "config.folds"),
    ],
)
def test_stages_that_do_not_fit_each_other_are_refused(
    trained, tmp_path, changes, message
):
    with pytest.raises(ConfigError, match=message):
        stages.run(vary(tiny_stages.config(), changes), tmp_path)
    assert not trained


def test_a_first_stage_that_diverges_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "complete", lambda *a, **b: {"diverged": "loss is nan"})
    with pytest.raises(UserError, match="first/0 diverged: loss is nan"):
        stages.run(tiny_stages.config(), tmp_path)


@pytest.mark.slow
def test_two_stages_from_one_command_go_on_where_they_stopped(tmp_path, capsys):
    config = vary(tiny_stages.config(), {"repeats": 2, "alone": True})
    stages.run(config, tmp_path)
    said = json.loads((tmp_path / "results.json").read_text())
    metrics = ("AUC", "AP", "accuracy_at_0.6")
    assert all(f"{metric}, attended" in said["values"] for metric in metrics)
    assert all(f"{metric}: attended - alone" in said["values"] for metric in metrics)
    assert said["headline"].startswith("Test slices: AUC ")
    assert "What the first stage finds" in (tmp_path / "report.html").read_text()
    attended = tmp_path / "second/attended"
    cases = [read_cases(attended / str(seed)) for seed in (0, 1)]
    assert len(cases[0].names) == 4 * tiny_stages.SLICES  # 4 knees of 2 patients
    assert not np.array_equal(cases[0].scores, cases[1].scores)

    # killed in the second stage, with one map lost and the results
    before = (attended / "1/predictions.csv").read_bytes()
    (maps_folder,) = (tmp_path / "attention").iterdir()
    lost = min(maps_folder.iterdir())
    found = load_array(lost).copy()
    lost.unlink()
    (tmp_path / "results.json").unlink()
    (attended / "1/report.html").unlink()
    shutil.rmtree(tmp_path / "second/alone/1")
    first = (tmp_path / "first/0/results.json").stat().st_mtime_ns
    stages.run(config, tmp_path)
    np.testing.assert_array_equal(load_array(lost), found)
    assert (attended / "1/predictions.csv").read_bytes() == before
    assert (tmp_path / "first/0/results.json").stat().st_mtime_ns == first
    again = json.loads((tmp_path / "results.json").read_text())
    assert again == said

    # the mean of both seeds, by the ensemble protocol
    mean = load(str(tiny_stages.CONFIGS), "ensemble")
    runs = tuple(str(attended / str(seed)) for seed in (0, 1))
    out = tmp_path / "mean"
    out.mkdir()
    ensemble.run(vary(mean, {"runs": runs}), out)
    of_both = np.mean([one.scores for one in cases], axis=0)
    np.testing.assert_allclose(read_cases(out).scores, of_both, atol=1e-4)
    assert "AP" in read_cases(out).measures

    # new volumes go through both stages as the test's did
    config = load(str(tiny_stages.CONFIGS), "predict")
    source = vary(
        config, {"data": settings.source(**tiny_stages.PHANTOM | {"masks": False})}
    )
    source.data.on_error, source.init_from = "raise", str(tmp_path)
    out = tmp_path / "new"
    predict.run(source, out)
    with (out / "predictions.csv").open() as file:
        found = {row["name"]: row["probability_1"] for row in csv.DictReader(file)}
    assert len(found) == tiny_stages.PHANTOM["count"] * tiny_stages.SLICES
    found = [float(found[name]) for name in cases[0].names]
    np.testing.assert_allclose(found, of_both, atol=1e-4)
    (tmp_path / "results.json").unlink()
    with pytest.raises(DataError, match="is not finished; start it again"):
        predict.run(source, out)
