"""A config and its command, from Python."""

from pathlib import Path

import pytest

import medssl_jax
from medssl_jax import entry
from medssl_jax.commands import features
from medssl_jax.errors import ConfigError, UserError
from medssl_jax.protocols import experiment

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize("name", ["simclr", "simclr:images", "small:byol:nifti"])
def test_a_config_is_the_one_that_its_file_makes(name):
    file, _, variant = name.partition(":")
    named = f"configs/{file}.py:{variant}" if variant else f"configs/{file}.py"
    expected = experiment.load(str(CONFIGS / "any.py"), name)
    assert medssl_jax.load_config(named).to_json() == expected.to_json()


def test_a_config_is_found_beside_the_package_but_first_where_one_is(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert entry.load_config("configs/simclr.py").name == "simclr-demo"
    (tmp_path / "configs").mkdir()
    own = (CONFIGS / "compare.py").read_text("utf-8").replace('"compare"', '"own"')
    (tmp_path / "configs/simclr.py").write_text(own, "utf-8")
    assert entry.load_config("configs/simclr.py").name == "own"


def test_a_field_that_there_is_not_is_refused_and_one_keeps_its_type():
    config = entry.load_config("configs/simclr.py")
    with pytest.raises(AttributeError, match="epochs"):
        config.epochs = 3
    with pytest.raises(TypeError):
        config.data.count = "many"


@pytest.mark.parametrize(
    "file, said",
    [
        ("configs/no_such.py", "no configs/no_such.py.*clone it"),
        ("configs/simclr.py:no_such", "configs/simclr.py: unknown variant 'no_such'"),
    ],
)
def test_a_config_that_there_is_not_is_told(file, said):
    with pytest.raises(ConfigError, match=said):
        entry.load_config(file)


def test_a_command_runs_alone_in_a_folder_that_is_made(tmp_path, monkeypatch, capsys):
    seen = []

    def meanwhile(config, workdir):
        seen.append((config, workdir, workdir.is_dir()))
        with pytest.raises(UserError, match="is in use by a run that has not ended"):
            entry.run_config(config, workdir)

    monkeypatch.setattr(features, "run", meanwhile)
    config, workdir = entry.load_config("configs/features.py"), tmp_path / "a" / "run"
    medssl_jax.run_config(config, str(workdir))
    assert seen == [(config, workdir, True)]
    assert f"results: {workdir}" in capsys.readouterr().out
