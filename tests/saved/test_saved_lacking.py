"""What is no encoder of ours, or an older or newer one, is told by what it lacks."""

import json
import re
import shlex

import exported
import numpy as np
import pytest
from safetensors.numpy import save_file

import medssl_jax
from medssl_jax.errors import DataError
from medssl_jax.saved.encoder import check_start

WEIGHTS = {"conv1.weight": np.zeros((4, 3, 7, 7), np.float32)}


def refused(path, load=medssl_jax.load_encoder):
    with pytest.raises(DataError) as error:
        load(path)
    return str(error.value)


@pytest.fixture
def folder(tmp_path):
    exported.encoder("vit").save(tmp_path)
    return tmp_path


def change(folder, edit):
    path = folder / "encoder.json"
    spec = json.loads(path.read_text())
    edit(spec)
    path.write_text(json.dumps(spec))


def test_weights_of_others_are_no_encoder_but_can_be_started_from(tmp_path):
    path = tmp_path / "resnet18.safetensors"
    save_file(WEIGHTS, path)
    said = refused(path)
    assert said.startswith(f"{path}: ") and "config.init_from" in said
    assert "nothing that says of which network" in said
    check_start(str(path), {"name": "resnet"})


@pytest.mark.parametrize("ending", [".pth", ".pt", ".bin", ".ckpt"])
def test_pickled_weights_are_refused_with_the_line_that_converts_them(tmp_path, ending):
    path = tmp_path / f"a net{ending}"
    path.write_bytes(b"\x80\x04N.")  # which unpickles
    for load in (
        medssl_jax.load_encoder,
        lambda path: check_start(str(path), {"name": "resnet"}),
    ):
        said = refused(path, load)
        assert "unpickling runs what is in a file" in said
        line = re.search(r"python -c .*", said)[0]
        program, option, code = shlex.split(line)
        compile(code, "converts", "exec")
        assert (program, option) == ("python", "-c") and "weights_only=True" in code
        assert repr(str(path)) in code
        assert repr(str(path.with_suffix(".safetensors"))) in code


@pytest.mark.parametrize("fields", [["model"], ["view"], ["host"], ["view", "host"]])
def test_what_an_older_description_lacks_is_listed(folder, fields):
    change(folder, lambda spec: [spec.pop(field) for field in fields])
    said = refused(folder)
    assert f"encoder.json: lacks {', '.join(fields)}, " in said


def test_a_description_without_channels_and_provenance_is_read(folder):
    change(folder, lambda spec: [spec.pop(f) for f in ("channels", "provenance")])
    loaded = medssl_jax.load_encoder(folder)
    assert "channels" not in loaded.spec
    assert loaded.parameters == exported.encoder("vit").parameters


@pytest.mark.parametrize(
    "found, said",
    [
        (2, "is of format 2, and this version reads 1: a newer medssl_jax wrote it"),
        (None, "states no format: it is no encoder of medssl_jax"),
        ("1.0", "is of format '1.0', and this version reads 1"),
    ],
)
def test_another_format_is_told(folder, found, said):
    change(folder, lambda spec: spec.update(format=found))
    assert said in refused(folder)


def test_a_folder_that_lacks_one_of_the_two_files_is_told_which(folder):
    (folder / "weights.safetensors").rename(folder / "kept")
    assert "weights.safetensors: is no readable safetensors file" in refused(folder)
    (folder / "kept").rename(folder / "weights.safetensors")
    (folder / "encoder.json").unlink()
    assert "holds weights.safetensors and no encoder.json" in refused(folder)


def test_the_other_kind_of_model_is_pointed_to(folder):
    said = refused(folder, medssl_jax.load_predictor)
    assert "holds a encoder" not in said
    assert "holds an encoder and no predictor: medssl_jax.load_encoder reads it" in said
