"""Worker processes obey the process that started them, and end with it."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures.process import BrokenProcessPool

from medssl_jax.errors import UserError


def begin() -> None:
    """Begin a worker: it ends as soon as its parent has, and leaves Ctrl-C to it.

    A parent that is killed cannot end its workers, and they would wait for it for good;
    a terminal sends Ctrl-C to all of them, and each would answer with a traceback.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()

    def watch():
        parent.join()
        os._exit(1)  # not sys.exit, which ends a thread

    threading.Thread(target=watch, name="end with parent", daemon=True).start()


@contextlib.contextmanager
def awaited() -> Iterator[None]:
    """Wait in the block for what workers do; one that was killed is told in a line.

    Raises:
      UserError: if a worker has ended otherwise than by an error of its own.
    """
    try:
        yield
    except RuntimeError as error:
        of_grain = str(error).startswith("Worker process was terminated")
        if not (of_grain or isinstance(error, BrokenProcessPool)):
            raise
        raise UserError(
            "a worker process was killed, by the system perhaps for want of memory: "
            "set fewer workers, and start the same command again; it goes on"
        ) from error
