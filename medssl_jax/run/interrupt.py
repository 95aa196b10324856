"""Be asked to stop: SIGTERM (and the first Ctrl-C) end a run after it has saved."""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils


class Interrupt:
    """A context in which SIGTERM and SIGINT are remembered instead of obeyed.

    Several processes agree on the step to stop at by JAX's preemption service, which
    watches SIGTERM itself.
    """

    def __init__(self):
        self._asked = False
        self._before = {}

    def asked(self, step: int) -> bool:
        """Return whether the run shall save and stop after `step`, in all processes."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    # beartype, which checks the tests' shapes, refuses Self outside its own classes
    def __enter__(self) -> "Interrupt":  # noqa: PYI034
        in_main_thread = threading.current_thread() is threading.main_thread()
        if in_main_thread and jax.process_count() == 1:
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc_info) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number, frame):
        del frame
        self._asked = True
        # not print, which may be what was interrupted
        os.write(2, b"\nsaving after this step; asked once more, it stops at once\n")
        signal.signal(number, self._before[number])  # asked twice, it obeys at once
