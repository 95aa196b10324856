"""Segmentation from its config to masks on disk: trained, resumed, tested, predicted."""

import json
import shutil

import highdicom
import numpy as np
import pydicom
import pytest
from dicom_files import SECRETS, write
from test_configs import load

import medssl_jax
from medssl_jax.commands import evaluate, predict, train
from medssl_jax.data.sources.dicom import dicom
from medssl_jax.data.sources.phantom import phantom
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.protocols.tested import read_cases


def smallest():
    """A window smaller than the cases, which are of different depths."""
    config = load("segment", "demo")
    config.data.update(count=32, size_voxels=(4, 16, 16), shape=(4, 12, 12), cache="")
    for role, count in (("validation", 3), ("test", 4)):
        config.splits[role].count = count
    config.model.update(width=2, levels=2)
    config.method.update(deep_supervision=True, frozen_epochs=0.5)
    config.update(batch_size=16, micro_batch_size=8, train_epochs=4.0)
    config.checkpoint.update(every_epochs=0.75, keep=20)
    config.log_every_steps = 1
    return config


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("segment")
    config = smallest()
    train.run(config, workdir)
    return config, workdir


def test_it_trains_to_its_report(finished):
    _, workdir = finished
    results = json.loads((workdir / "results.json").read_text())
    assert results["headline"].startswith("Test Dice 0.")
    cases = read_cases(workdir)
    every = np.arange(4)
    assert cases.main == "Dice" and len(cases.names) == 4
    told = results["values"]["Dice"]["value"]
    assert cases.measures["Dice"](every) == pytest.approx(told, abs=1e-6)
    assert len(list((workdir / "masks").iterdir())) == 4
    assert (workdir / "report.html").exists()


@pytest.mark.slow
def test_it_goes_on_to_the_same_bits(finished, tmp_path):
    config, workdir = finished
    saved = sorted(int(p.name) for p in (workdir / "checkpoints").glob("*[0-9]"))
    assert len(saved) > 3
    shutil.copytree(workdir, tmp_path / "again")
    for step in saved[2:]:  # in mid-accumulation
        shutil.rmtree(tmp_path / "again/checkpoints" / str(step))
    (tmp_path / "again/cases.csv").unlink()
    train.run(config, tmp_path / "again")
    for name in ("encoder/weights.safetensors", "predictor/weights.safetensors"):
        assert (workdir / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    cases = (workdir / "cases.csv").read_text()
    assert (tmp_path / "again/cases.csv").read_text() == cases


def test_evaluated_again_it_comes_to_the_same(finished, tmp_path):
    _, workdir = finished
    config = load("evaluate", "again")
    config.run = str(workdir)
    evaluate.run(config, tmp_path)
    cases = (workdir / "cases.csv").read_text()
    assert (tmp_path / "cases.csv").read_text() == cases


def test_it_is_evaluated_on_another_source(finished, tmp_path):
    """Which begins as that of its own test, and so does what comes out."""
    trained, workdir = finished
    config = load("evaluate", "phantom")
    config.run = str(workdir)
    seed = trained.splits.test.seed
    config.data.update(count=2, seed=seed, size_voxels=(4, 16, 16), masks=True)
    evaluate.run(config, tmp_path)
    own, other = (
        (folder / "cases.csv").read_text().splitlines()
        for folder in (workdir, tmp_path)
    )
    assert other == own[:3]


def test_predictions_need_no_masks_and_are_those_of_the_test(finished, tmp_path):
    config, workdir = finished
    found = load("predict", "demo")
    found.init_from = str(workdir)
    seed = config.splits.test.seed
    found.data.update(count=4, seed=seed, size_voxels=(4, 16, 16))
    predict.run(found, tmp_path)
    for path in (workdir / "masks").iterdir():
        mask = np.load(tmp_path / "masks" / path.name)
        np.testing.assert_array_equal(mask, np.load(path))
    source = phantom(count=1, seed=seed, size_voxels=(4, 16, 16))
    predictor = medssl_jax.load_predictor(workdir)
    name = next(path.name for path in sorted((workdir / "masks").iterdir()))
    mask = predictor.of_record(source[0])["mask"]
    np.testing.assert_array_equal(mask, np.load(workdir / "masks" / name))


def test_predictions_of_a_dicom_series_are_laid_over_it(finished, tmp_path, capsys):
    _, workdir = finished
    image = phantom(count=1, seed=9, size_voxels=(4, 16, 16))[0]["image"][..., 0]
    stored = (image * 4095).astype(int)
    order = write(tmp_path / "scans/knee", stored)  # rows and slices as SPL has them
    config = load("predict", "dicom")
    config.init_from = str(workdir)
    config.data.root = str(tmp_path / "scans")
    predict.run(config, tmp_path / "out")
    said = capsys.readouterr().out
    assert "1 masks" in said and "patient and study of its series" in said
    assert not any(secret in said for secret in SECRETS)
    seg = highdicom.seg.segread(tmp_path / "out/masks/knee.dcm")
    labels = [segment.SegmentLabel for segment in seg.SegmentSequence]
    assert labels == ["femur", "tibia", "patella", "fibula"]
    files = sorted((tmp_path / "scans/knee").iterdir())
    uids = [
        pydicom.dcmread(files[order.tolist().index(i)]).SOPInstanceUID
        for i in range(len(stored))
    ]
    read = seg.get_pixels_by_source_instance(
        uids, segment_numbers=range(1, 5), assert_missing_frames_are_empty=True
    )
    record = dicom(root=config.data.root)[0]
    mask = medssl_jax.load_predictor(workdir).of_record(record)["mask"]
    assert mask.any()
    np.testing.assert_array_equal(read @ range(1, 5), mask)


def test_a_folder_without_a_run_is_named(tmp_path):
    config = load("evaluate", "again")
    with pytest.raises(ConfigError, match="config.run is empty"):
        evaluate.run(config, tmp_path)
    config.run = str(tmp_path / "nothing")
    with pytest.raises(DataError, match="holds no finished training"):
        evaluate.run(config, tmp_path)
    with pytest.raises(ConfigError, match="config.init_from is empty"):
        predict.run(load("predict", "nifti"), tmp_path)
