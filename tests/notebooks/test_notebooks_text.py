"""The notebooks as files: a pair of each, no outputs, one guarded installation."""

import ast
import importlib.util
import subprocess
import sys
from importlib.machinery import PathFinder
from pathlib import Path

import jax
import jaxlib
import jupytext
import nbformat
import numpy as np
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from medssl_jax.errors import ConfigError

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = {path.stem: nbformat.read(path, 4) for path in FOLDER.glob("*.ipynb")}
by_name = pytest.mark.parametrize("name", sorted(NOTEBOOKS))


def code(notebook):
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def of_cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_there_are_three_and_each_has_its_text():
    assert len(NOTEBOOKS) == 3
    assert {path.stem for path in FOLDER.glob("*.py")} == set(NOTEBOOKS)


@by_name
def test_notebook_and_text_are_equal(name):
    text = jupytext.read(FOLDER / f"{name}.py")
    assert of_cells(NOTEBOOKS[name]) == of_cells(text)
    assert NOTEBOOKS[name].metadata.kernelspec == text.metadata.kernelspec


@by_name
def test_outputs_are_stripped_and_cells_have_nothing_else(name):
    nbformat.validate(NOTEBOOKS[name])
    for cell in NOTEBOOKS[name].cells:
        assert cell.metadata.keys() <= {"lines_to_next_cell"}  # of the text
        if cell.cell_type == "code":
            assert (cell.outputs, cell.execution_count) == ([], None)


@by_name
def test_one_cell_installs_and_it_is_the_same_in_all(name):
    first, *others = code(NOTEBOOKS[name])
    assert first == code(next(iter(NOTEBOOKS.values())))[0]
    for source in others:
        nodes = list(ast.walk(ast.parse(source)))  # a magic is no Python
        assert "subprocess" not in {n.id for n in nodes if isinstance(n, ast.Name)}
        assert "pip install" not in source


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that runs the cell, where commands are kept and not run."""
    (source, *_) = code(next(iter(NOTEBOOKS.values())))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(found, *, repository="", fails=""):
        given = []

        def command(arguments, **options):
            given.append(arguments)
            code = int(fails in arguments)
            return subprocess.CompletedProcess(arguments, code, "", "a conflict")

        cell = source.replace('REPOSITORY = ""', f"REPOSITORY = {repository!r}")
        assert repository in cell
        with monkeypatch.context() as patched:
            patched.setattr(importlib.util, "find_spec", lambda name: found)
            patched.setattr(subprocess, "run", command)
            exec(cell, {})  # noqa: S102 - a cell is what it is for
        return given

    return run


def test_where_the_package_is_nothing_changes(install, tmp_path):
    before = [*sys.path]
    found = importlib.util.find_spec("medssl_jax")
    assert install(found, repository="https://example.org/x") == []
    assert list(tmp_path.iterdir()) == []
    assert sys.path == before


def test_a_kernel_without_the_package_is_told_what_to_do_in_one_line(install, tmp_path):
    (tmp_path / "medssl_jax").mkdir()  # a clone, say, which is no package
    namespace = PathFinder.find_spec("medssl_jax", [str(tmp_path)])
    assert namespace is not None
    for found in (None, namespace):
        with pytest.raises(SystemExit) as stopped:
            install(found)
        said = str(stopped.value)
        assert said.startswith("medssl_jax is not installed in this kernel: put the ")
        assert "pip install -e ." in said and "\n" not in said


def test_what_is_installed_leaves_jax_and_numpy_as_they_are(install, tmp_path):
    clone, pip = install(None, repository="https://example.org/x")
    folder = str(tmp_path / "medssl_jax_clone")
    assert clone == ["git", "clone", "--depth=1", "https://example.org/x", folder]
    assert pip[:4] == [sys.executable, "-m", "pip", "install"]
    assert pip[-2:] == ["-e", folder] and pip[-4:-2] == ["-c", "as_it_is.txt"]
    kept = (tmp_path / "as_it_is.txt").read_text("utf-8").split()
    expected = {f"{m.__name__}=={m.__version__}" for m in (jax, jaxlib, np)}
    assert expected <= set(kept)
    assert all(line.startswith(("jax", "libtpu", "numpy==")) for line in kept)
    assert not any(line.startswith("jaxtyping") for line in kept)
    assert sys.path[0] == folder


def test_a_clone_that_is_there_is_not_cloned_again(install, tmp_path):
    (tmp_path / "medssl_jax_clone").mkdir()
    (pip,) = install(None, repository="https://example.org/x")
    assert "pip" in pip


@pytest.mark.parametrize("fails", ["git", "pip"])
def test_what_fails_is_named_with_its_reason(install, fails):
    with pytest.raises(SystemExit, match=f"{fails} .* failed:\na conflict"):
        install(None, repository="https://example.org/x", fails=fails)


def test_an_error_that_a_user_can_mend_has_no_traceback_in_a_notebook(capsys):
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    shell.push({"mended": ConfigError("no such file"), "ours": ValueError("a bug")})
    shell.run_cell("raise mended")
    assert capsys.readouterr().out.strip() == "error: no such file"
    shell.run_cell("raise ours")
    assert "Traceback" in capsys.readouterr().out
