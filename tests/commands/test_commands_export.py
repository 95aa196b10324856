"""One folder that others can use, and what cannot be written for them."""

import json

import exported
import numpy as np
import pytest
from test_configs import load

import medssl_jax
from medssl_jax.commands import export
from medssl_jax.errors import ConfigError, DataError
from medssl_jax.saved import foreign, stablehlo
from medssl_jax.saved.encoder import Encoder

KIND = "vit"  # it compiles in no time


@pytest.fixture
def run_folder(tmp_path):
    exported.encoder(KIND).save(tmp_path / "run/encoder")
    data = {"train": {"count": 31, "patients": 7, "label_counts": None}}
    told = {"name": "a", "data": data}
    (tmp_path / "run/run.json").write_text(json.dumps(told))
    return tmp_path / "run"


@pytest.fixture
def config(run_folder):
    config = load("export", "encoder")
    config.init_from = str(run_folder)
    config.formats = ("torch",)
    return config


def test_the_folder_loads_and_says_what_it_is(config, tmp_path, capsys):
    out = tmp_path / "out"
    config.licence = "cc-by-4.0"
    export.run(config, out)
    said = capsys.readouterr().out
    encoder = medssl_jax.load_encoder(out)
    images = np.random.RandomState(0).rand(2, 16, 24, 1).astype(np.float32)
    np.testing.assert_array_equal(encoder(images), exported.encoder(KIND)(images))
    card = (out / "README.md").read_text()
    assert "license: cc-by-4.0" in card and "| train | 31 | 7 |" in card
    lines = card.split("### With PyTorch")[1].split("```")[1].removeprefix("python\n")
    assert lines in said and "VisionTransformer(" in lines
    names = {"README.md", "encoder.json", "weights.safetensors", foreign.FILE}
    assert {path.name for path in out.iterdir()} == names
    assert all(f"| {name} |" in card for name in names - {"README.md"})


def test_a_models_own_folder_is_taken_and_its_run_found(config, run_folder, tmp_path):
    config.init_from, config.formats = str(run_folder / "encoder"), ()
    export.run(config, tmp_path / "out")
    assert "| train | 31 | 7 |" in (tmp_path / "out/README.md").read_text()


def test_what_another_export_left_goes(config, tmp_path):
    export.run(config, tmp_path / "out")
    config.formats = ()
    export.run(config, tmp_path / "out")
    assert not (tmp_path / "out" / foreign.FILE).exists()
    assert foreign.FILE not in (tmp_path / "out/README.md").read_text()


def test_stablehlo_is_beside_them(config, tmp_path):
    pytest.importorskip("flatbuffers", reason="JAX serialises with it: not installed")
    config.formats = ("stablehlo",)
    export.run(config, tmp_path / "out")
    assert (tmp_path / "out" / stablehlo.FILE).stat().st_size > 1000
    assert "export.deserialize" in (tmp_path / "out/README.md").read_text()


@pytest.mark.parametrize(
    "change, said",
    [
        ({"init_from": ""}, r"config\.init_from is empty"),
        ({"kind": "head"}, r"config\.kind is 'head'; known: encoder, predictor"),
        ({"formats": ("onnx",)}, r"config\.formats has 'onnx'; known: torch, stab"),
        ({"kind": "predictor"}, r"config\.formats has torch.*heads stay here"),
        ({"licence": "CC BY"}, r"config\.licence is 'CC BY'; use an identifier"),
        ({"licence": "a\nb: c"}, r"config\.licence"),
    ],
)
def test_a_field_that_cannot_be_is_told(config, tmp_path, change, said):
    config.update(change)
    with pytest.raises(ConfigError, match=said):
        export.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_without_a_foreign_name_leaves_nothing(config, tmp_path):
    encoder = exported.encoder(KIND)
    odd = {"name": "slicewise", "of": encoder.spec["model"]}
    spec = encoder.spec | {"model": odd, "view": {}}
    spec["host"] = spec["host"] | {"shape": [2, 16, 24]}
    Encoder(encoder.variables, spec).save(tmp_path / "odd")
    config.init_from = str(tmp_path / "odd")
    with pytest.raises(
        ConfigError, match=r"this encoder \(slicewise\).*can be written"
    ):
        export.run(config, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_does_not_say_its_channels_is_told(
    config, run_folder, tmp_path
):
    path = run_folder / "encoder/encoder.json"
    spec = json.loads(path.read_text())
    del spec["channels"]
    path.write_text(json.dumps(spec))
    with pytest.raises(DataError, match='add "channels"'):
        export.run(config, tmp_path / "out")
