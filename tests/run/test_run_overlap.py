"""A run says whether its test was in the training that it starts from."""

import pytest

from medssl_jax.data.order import roles
from medssl_jax.data.source import Examples
from medssl_jax.run import overlap
from medssl_jax.saved import seen


def source(*names, patients=None, scope="/scans"):
    found = Examples(names, read=lambda name: {}, patients=patients)
    object.__setattr__(found, "scope", scope)
    return found


@pytest.fixture
def start(tmp_path):
    folder = tmp_path / "before/encoder"
    folder.mkdir(parents=True)
    (folder / "encoder.json").write_text("{}")
    learnt = {"train": source("a", "b"), "validation": source("v")}
    seen.save(overlap.seen_by(learnt | {"test": source("t")}, ""), folder)
    return str(folder.parent)


def test_what_was_trained_on_or_chosen_by_is_seen_and_what_was_tested_is_not(start):
    assert overlap.told(start, {"test": source("t")}).startswith(
        f"none of the 1 test examples was in the training of {start}"
    )
    assert not overlap.warning(overlap.told(start, {"test": source("t")}))
    for name in ("a", "v"):
        said = overlap.warning(overlap.told(start, {"test": source(name, "t")}))
        assert said.startswith(
            f"1 of the 2 test examples was in the training of {start}"
        )
        assert "splits.test" in said


def test_what_a_start_had_seen_stays_seen(start, tmp_path):
    second = tmp_path / "second/encoder"
    second.mkdir(parents=True)
    (second / "encoder.json").write_text("{}")
    seen.save(overlap.seen_by({"train": source("c")}, start), second)
    assert overlap.told(str(second), {"test": source("a", "c", "t")}).startswith("2 of")


@pytest.mark.parametrize("named", ["weights.safetensors", "run"])
def test_what_nobody_wrote_down_is_not_known(tmp_path, named):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/encoder.json").write_text("{}")
    path = str(tmp_path / named)
    assert overlap.told(path, {"test": source("a")}).startswith("not known")
    assert not overlap.warning(overlap.told(path, {"test": source("a")}))
    # half of it would be taken for all
    assert overlap.seen_by({"train": source("a")}, path) is None


def test_other_folders_names_are_not_compared(start):
    test = source("a", scope="/elsewhere")
    assert "other folders" in overlap.told(start, {"test": test})


def test_random_weights_have_seen_nothing(start):
    assert overlap.told("", {"test": source("a")}) == ""
    assert overlap.told(start, {"train": source("a")}) == ""


def test_a_folder_is_one_however_it_is_written_and_phantoms_are_their_seeds(
    tmp_path, monkeypatch
):
    (tmp_path / "scans").mkdir()
    monkeypatch.chdir(tmp_path)
    paths = ("scans", str(tmp_path / "scans"), "./scans/../scans")
    assert len({roles._scope({"name": "nifti", "root": path}) for path in paths}) == 1
    made = [{"name": "phantom", "seed": seed, "count": 9} for seed in (0, 1)]
    assert len(set(map(roles._scope, made))) == 2
    fewer = made[0] | {"count": 4}  # the first of the same
    assert roles._scope(fewer) == roles._scope(made[0])
