"""A run is alone in its folder."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import filelock
import jax

from medssl_jax.errors import UserError


@contextlib.contextmanager
def alone_in(workdir: Path) -> Iterator[None]:
    """Keep other runs out of the folder; the lock ends with this process, however.

    Two in one folder would delete each other's checkpoints. Of several processes of one
    run, the first one holds the lock.

    Raises:
      UserError: if another run is there.
    """
    if jax.process_index() != 0:
        yield
        return
    lock = filelock.FileLock(workdir / ".lock", blocking=False)
    try:
        lock.acquire()
    except filelock.Timeout:
        raise UserError(
            f"{workdir} is in use by a run that has not ended: wait for it, stop it, "
            "or choose another --workdir"
        ) from None
    except NotImplementedError:  # a file system without locks
        text = f"warning: {workdir} cannot be locked: start no second run there"
        print(text, file=sys.stderr, flush=True)
    try:
        yield
    finally:
        (workdir / ".lock").unlink(missing_ok=True)  # while it is held: no other's
        lock.release()
