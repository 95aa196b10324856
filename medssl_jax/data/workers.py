"""Worker processes obey the process that started them, and end with it."""

import multiprocessing
import os
import signal
import threading


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
