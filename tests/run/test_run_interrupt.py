"""Signals: the first is remembered, the second is obeyed, later ones are as before."""

import os
import signal

import pytest

from medssl_jax.run.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_asked_twice_a_run_stops_at_once(number, capfd):
    def obey(*_):
        raise KeyboardInterrupt

    before = signal.signal(number, obey)
    try:
        with Interrupt() as interrupt:
            assert not interrupt.asked(0)
            os.kill(os.getpid(), number)
            assert interrupt.asked(0)
            assert "saving after this step" in capfd.readouterr().err
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
        with Interrupt():
            pass
        assert signal.getsignal(number) is obey
    finally:
        signal.signal(number, before)
