"""Checkpoints: what comes back, what is damaged, what is kept, what is refused."""

import shutil
from collections import namedtuple
from pathlib import Path

import grain
import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from medssl_jax.errors import ConfigError, UserError
from medssl_jax.run.checkpoint import Checkpoints

CONFIG = {"method.base_tau": 0.9, "views.size": (16, 16)}


def data():
    return iter(grain.MapDataset.range(100).seed(0).shuffle().to_iter_dataset())


def state(step: int, size: int = 8):
    values = np.random.default_rng(step).random(size, np.float32)
    return {"params": jnp.asarray(values), "step": jnp.int32(step)}


def open_in(folder: Path, **changed) -> Checkpoints:
    return Checkpoints(folder / "checkpoints", keep=2, config=CONFIG | changed)


def save(folder: Path, *steps: int, losses=None) -> None:
    """Save at each step, one example a step."""
    saved, examples = open_in(folder), data()
    for step in range(1, steps[-1] + 1):
        next(examples)
        if step in steps:
            loss = losses and losses[steps.index(step)]
            saved.save(step, state(step), examples, loss)
    saved.close()


def test_a_small_array_that_eight_devices_hold_is_saved_whole_by_one(tmp_path):
    mesh = jax.make_mesh((8,), ("data",))
    everywhere = NamedSharding(mesh, PartitionSpec())
    small = jax.device_put(np.arange(128, dtype=np.float32).reshape(16, 8), everywhere)
    saved, examples = open_in(tmp_path), data()
    next(examples)
    saved.save(1, {"params": small}, examples)
    saved.close()
    with ocp.StandardCheckpointer() as reader:
        found = reader.metadata(tmp_path / "checkpoints/1/state").item_metadata.tree
    assert found["params"].storage.chunk_shape == (16, 8)
    restored = open_in(tmp_path).restore_newest({"params": small}, data())
    np.testing.assert_array_equal(restored.state["params"], small)
    assert restored.state["params"].sharding == everywhere


def flip_a_bit(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def arrays_file(folder: Path, step: int) -> Path:
    files = (folder / f"checkpoints/{step}/state").rglob("d/*")
    return max(files, key=lambda path: path.stat().st_size)


def test_state_and_data_position_come_back_to_the_bit(tmp_path):
    save(tmp_path, 3)
    examples, expected = data(), data()
    restored = open_in(tmp_path).restore_newest(state(0), examples)
    assert restored.step == 3
    for name, leaf in state(3).items():
        np.testing.assert_array_equal(restored.state[name], leaf)
    assert [next(examples) for _ in range(5)] == [next(expected) for _ in range(8)][3:]


def test_a_new_run_has_nothing_to_restore(tmp_path):
    assert open_in(tmp_path).restore_newest(state(0), data()) is None


def test_no_flipped_bit_of_the_arrays_goes_unseen(tmp_path):
    """Incompressible arrays: most of the file is their bits, and Orbax has no check."""
    saved = open_in(tmp_path)
    big = {**state(1, size=4096)}
    saved.save(1, big, data())
    saved.close()
    whole = arrays_file(tmp_path, 1).read_bytes()
    for place in np.linspace(len(whole) // 4, len(whole) * 3 // 4, 5).astype(int):
        flip_a_bit(arrays_file(tmp_path, 1), place)
        with pytest.raises(UserError, match="every checkpoint in .* is damaged"):
            open_in(tmp_path).restore_newest(state(0, size=4096), data())
        arrays_file(tmp_path, 1).write_bytes(whole)
    assert open_in(tmp_path).restore_newest(state(0, size=4096), data()).step == 1


def test_a_flipped_bit_of_the_best_is_no_result(tmp_path):
    saved = open_in(tmp_path)
    saved.save(1, state(1, size=4096), data(), 0.5)
    saved.close()
    path = arrays_file(tmp_path, 1)
    flip_a_bit(path, path.stat().st_size // 2)
    with pytest.raises(ValueError, match="does not have the checksums"):
        open_in(tmp_path).restore_best(state(0, size=4096))


def test_a_flipped_bit_of_the_data_position_is_seen(tmp_path, caplog):
    save(tmp_path, 2, 4)
    path = tmp_path / "checkpoints/4/data/process_0-of-1.json"
    flip_a_bit(path, path.read_text().index("4"))  # 5 is as good a position
    examples, expected = data(), data()
    assert open_in(tmp_path).restore_newest(state(0), examples).step == 2
    assert f"{tmp_path}/checkpoints/4 is damaged and not used" in caplog.text
    assert next(examples) == [next(expected) for _ in range(3)][2]


def test_checkpoints_of_a_state_with_other_parts_are_of_another_version(tmp_path):
    save(tmp_path, 2, 4)
    more = {**state(0), "key": np.uint32([0, 3])}
    with pytest.raises(UserError, match="of another version of medssl_jax"):
        open_in(tmp_path).restore_newest(more, data())
    for step in (2, 4):
        path = arrays_file(tmp_path, step)
        path.write_bytes(path.read_bytes()[:9])
    with pytest.raises(UserError, match="is damaged"):
        open_in(tmp_path).restore_newest(state(0), data())


def test_a_damaged_checkpoint_makes_room_for_a_new_one(tmp_path):
    save(tmp_path, 2, 4)
    path = arrays_file(tmp_path, 4)
    path.write_bytes(path.read_bytes()[:9])
    saved, examples = open_in(tmp_path), data()
    assert saved.restore_newest(state(0), examples).step == 2
    next(examples), next(examples)
    saved.save(4, state(4), examples)
    saved.close()
    assert open_in(tmp_path).restore_newest(state(0), data()).step == 4


def test_the_newest_and_the_best_are_kept(tmp_path):
    save(tmp_path, 1, 2, 3, 4, 5, losses=[0.3, 0.1, 0.5, 0.4, 0.2])
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["2", "4", "5"]
    best = open_in(tmp_path).restore_best(state(0))
    assert best.step == 2 and best.state["step"] == 2


def test_without_losses_the_newest_is_the_best(tmp_path):
    save(tmp_path, 1, 2)
    assert open_in(tmp_path).restore_best(state(0)).step == 2


def test_another_config_is_refused_by_field_before_its_shapes_are(tmp_path):
    save(tmp_path, 1)
    saved = open_in(tmp_path, **{"method.base_tau": 0.5})
    with pytest.raises(ConfigError, match=r"\(method.base_tau: 0.9 there, 0.5 now\)"):
        saved.restore_newest(state(0, size=4), data())
    more = open_in(tmp_path, **{"method.depth": 3})
    with pytest.raises(ConfigError, match=r"\(method.depth: None there, 3 now\)"):
        more.restore_newest(state(0), data())


def test_no_room_is_an_error_before_a_byte_is_written(tmp_path, monkeypatch):
    save(tmp_path, 1)
    saved = open_in(tmp_path)
    usage = namedtuple("usage", "free")(2**20)  # for arrays, not for what tells of them
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match=f"no room for a checkpoint in {tmp_path}"):
        saved.save(2, state(2), data())
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["1"]


def test_progress_comes_back_and_is_empty_where_there_was_none(tmp_path):
    saved = open_in(tmp_path)
    told = {"window": [{"loss": 0.1 + 0.2, "skipped": False}], "seconds": 1.5}
    saved.save(1, state(1), data(), progress=told)
    saved.close()
    assert open_in(tmp_path).restore_newest(state(0), data()).progress == told
    shutil.rmtree(tmp_path / "checkpoints/1/progress")  # as before there was any
    assert open_in(tmp_path).restore_newest(state(0), data()).progress == {}


def test_the_first_checkpoint_without_room_promises_no_older_one(tmp_path, monkeypatch):
    saved = open_in(tmp_path)
    usage = namedtuple("usage", "free")(20)
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage)
    with pytest.raises(UserError, match="It is the first one: free some space"):
        saved.save(1, state(1), data())
