"""State, data position and config of a run in one step directory (Orbax)."""

import contextlib
import json
import logging
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree
from orbax.checkpoint import checkpoint_managers

from medssl_jax.errors import ConfigError, UserError
from medssl_jax.files import is_full
from medssl_jax.step.parallel import local_copy

_items = ocp.args.Composite
_log = logging.getLogger(__name__)
_BESIDE = 4 * 2**20  # bytes: what Orbax writes beside arrays, some kB for each of them
_LARGE_SLICE = 2**20  # bytes of an array that one device saves of it
_JSON = ("config", "progress", "checksums")
_POSITION = "data"  # beside the paths of leaves, which start with a dot


class Restored(NamedTuple):
    """What a checkpoint gives back; the data iterator is set in place.

    `progress` is what was saved as that; {} where a checkpoint of before 0.1.0 has none.
    """

    step: int
    state: PyTree
    progress: Mapping[str, Any]


class Checkpoints:
    """The checkpoints of one run: the newest `keep`, and the best by `loss`.

    Saving is asynchronous; a step directory appears under its final name when it is
    whole. `config` is a flat mapping of JSON values that a later start must equal.
    """

    def __init__(self, folder: Path, *, keep: int, config: dict[str, Any]):
        self._folder = folder.absolute()
        self._config = config
        keep_best = checkpoint_managers.BestN(
            get_metric_fn=lambda metrics: -metrics["loss"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        self._manager = ocp.CheckpointManager(
            self._folder,
            item_handlers={
                "state": _arrays(),
                "data": grain.checkpoint.CheckpointHandler(),
                **{name: ocp.JsonCheckpointHandler() for name in _JSON},
            },
            options=ocp.CheckpointManagerOptions(
                preservation_policy=checkpoint_managers.AnyPreservationPolicy(
                    [checkpoint_managers.LatestN(keep), keep_best]
                ),
                best_fn=lambda metrics: metrics["loss"],
                best_mode="min",
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,
            ),
        )

    def save(
        self,
        step: int,
        state: PyTree,
        data: grain.DatasetIterator,
        loss: float | None = None,
        progress: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Save after micro-batch `step`; `loss` enters the choice of the best.

        `progress` is JSON that goes on with the run, and on which no bit of it depends.

        Raises:
          UserError: if the disk has no room; older checkpoints stay as they are.
        """
        if step in self._manager.all_steps():
            return
        with _clear_errors(self._folder):
            self._check_room(state)
            self._manager.save(
                step,
                args=_items(
                    state=ocp.args.PyTreeSave(state),
                    data=grain.checkpoint.CheckpointSave(data),
                    config=ocp.args.JsonSave(self._config),
                    progress=ocp.args.JsonSave(dict(progress)),
                    checksums=ocp.args.JsonSave(
                        {**_checksums(state), _POSITION: _position(data)}
                    ),
                ),
                metrics=None if loss is None else {"loss": loss},
            )

    def restore_newest(
        self, state: PyTree, data: grain.DatasetIterator
    ) -> Restored | None:
        """Restore the newest checkpoint that is whole, or return None without one.

        A damaged one is named in the log and left out; the one before is used.

        Args:
          state: arrays (or shapes with shardings) of what was saved.
          data: an iterator over the same data, moved to the saved position.

        Raises:
          ConfigError: if the run was started with another config.
          UserError: if there are checkpoints and all are damaged, or of a version whose
            state has other parts.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        for step in steps:
            try:
                restored = self._restore(step, state, data)
            except ConfigError:
                raise
            except Exception as error:  # noqa: BLE001  damage has many faces
                _log.warning(
                    "checkpoint %s is damaged and not used: %s",
                    self._folder / str(step),
                    _first_line(error),
                )
                continue
            self._forget_after(step)
            return Restored(step, restored, self._progress(step))
        if steps and not any(self._has_parts_of(step, state) for step in steps):
            raise UserError(
                f"the checkpoints in {self._folder} are of another version of "
                "medssl_jax, whose state has other parts; go on with that version, or "
                "choose another --workdir"
            )
        if steps:
            raise UserError(
                f"every checkpoint in {self._folder} is damaged; choose another "
                "--workdir, or delete the folder to start anew"
            )
        return None

    def restore_best(self, state: PyTree) -> Restored:
        """Restore the checkpoint of the lowest `loss`, or the newest without any."""
        self.wait()
        step = self._manager.best_step() or self._manager.latest_step()
        return Restored(step, self._restore(step, state), self._progress(step))

    def wait(self) -> None:
        """Wait until everything is on disk."""
        with _clear_errors(self._folder):
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait until everything is on disk, and save no more."""
        with _clear_errors(self._folder):
            self._manager.close()

    def _restore(
        self, step: int, state: PyTree, data: grain.DatasetIterator | None = None
    ) -> PyTree:
        # first: a state of another model has other shapes, and would seem damaged
        saved = self._manager.restore(step, args=_items(config=ocp.args.JsonRestore()))
        check_same_config(saved["config"], self._config, self._folder)
        found = self._manager.restore(
            step,
            args=_items(
                state=ocp.args.PyTreeRestore(
                    state, ocp.checkpoint_utils.construct_restore_args(state)
                ),
                checksums=ocp.args.JsonRestore(),
            ),
        )
        checksums = _checksums(found["state"])
        if data is not None:
            position = grain.checkpoint.CheckpointRestore(data)
            self._manager.restore(step, args=_items(data=position))
            checksums[_POSITION] = _position(data)
        else:
            del found["checksums"][_POSITION]
        if checksums != found["checksums"]:
            raise ValueError("it does not have the checksums that it was saved with")
        return found["state"]

    def _has_parts_of(self, step: int, state: PyTree) -> bool:
        """Say whether a checkpoint has checksums of what a state consists of.

        Damaged ones, of which nobody knows, count as if they had.
        """
        items = _items(checksums=ocp.args.JsonRestore())
        try:
            saved = self._manager.restore(step, args=items)["checksums"]
        except Exception:  # noqa: BLE001  damage has many faces
            return True
        paths = jax.tree_util.tree_leaves_with_path(state)
        return saved.keys() - {_POSITION} == {
            jax.tree_util.keystr(path) for path, _ in paths
        }

    def _progress(self, step: int) -> Mapping[str, Any]:
        if not (self._folder / str(step) / "progress").exists():
            return {}
        items = _items(progress=ocp.args.JsonRestore())
        return self._manager.restore(step, args=items)["progress"]

    def _forget_after(self, step: int) -> None:
        """Delete what is newer than the step the run goes on from: it is damaged."""
        for newer in self._manager.all_steps():
            if newer > step:
                self._manager.delete(newer)

    def _check_room(self, state: PyTree) -> None:
        """Raise OSError at once, where Orbax's threads would bury it in tracebacks."""
        needed = _BESIDE + sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        free = shutil.disk_usage(self._folder).free
        if free < needed:
            raise OSError(28, f"{needed >> 20} MiB needed, {free >> 20} MiB free")
        if hasattr(os, "posix_fallocate"):  # knows quotas and limits; absent on macOS
            with tempfile.TemporaryFile(dir=self._folder) as file:
                os.posix_fallocate(file.fileno(), 0, needed)


def _arrays() -> ocp.PyTreeCheckpointHandler:
    """Return what saves arrays, each whole from one device unless it is large.

    Orbax's own divides every array among the devices that hold it: of the many small
    ones of a network that takes ten times as long, and the loop waits for it.
    """
    handler = ocp.type_handlers.ArrayHandler(
        min_slice_bytes_for_replica_parallel=_LARGE_SLICE
    )
    registry = ocp.type_handlers.create_type_handler_registry((jax.Array, handler))
    return ocp.PyTreeCheckpointHandler(type_handler_registry=registry)


def check_same_config(saved: dict, config: dict, folder: Path) -> None:
    """Raise ConfigError naming the fields in which a run's config has changed."""
    config = json.loads(json.dumps(config))  # tuples become lists, as saved
    changed = [
        f"{field}: {saved.get(field)!r} there, {config.get(field)!r} now"
        for field in sorted(saved.keys() | config.keys())
        if saved.get(field) != config.get(field)
    ]
    if changed:
        judged = all(field.startswith("evaluation") for field in changed)
        instead = (
            ", or test a finished run anew by configs/evaluate.py" if judged else ""
        )
        raise ConfigError(
            f"{folder.parent} holds a run with another config ({'; '.join(changed)}); "
            f"choose another --workdir, or delete it to start anew{instead}"
        )


@contextlib.contextmanager
def _clear_errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if not is_full(error):
            raise
        older = any(path.name.isdecimal() for path in folder.glob("*"))
        so = "The older checkpoints are whole" if older else "It is the first one"
        raise UserError(
            f"no room for a checkpoint in {folder}: {_first_line(error)}. {so}: free "
            "some space and start the same command again."
        ) from error


def _position(data: grain.DatasetIterator) -> int:
    return zlib.crc32(json.dumps(data.get_state(), sort_keys=True).encode())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _checksums(state: PyTree) -> dict[str, int]:
    """Return a CRC-32 per leaf: a flipped bit on the disk passes Orbax unseen."""
    leaves = jax.tree_util.tree_leaves_with_path(local_copy(state))
    return {
        jax.tree_util.keystr(path): zlib.crc32(
            np.ascontiguousarray(leaf).view(np.uint8).reshape(-1)
        )
        for path, leaf in leaves
    }
