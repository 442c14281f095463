"""Processes beside a replay."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

from broker_plugin.replay.processes import helper_process


def make_handler() -> Callable[[Any], Any]:
    return lambda work: (os.getpid(), sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ())))


def test_a_helper_never_hears_ctrl_c() -> None:
    """From its first moment on: the signal is blocked in it, sent at once it changes nothing; here it is heard."""
    with helper_process(make_handler) as helper:
        helper.send(None)
        pid, blocked = helper.receive()
        assert signal.SIGINT in blocked
        assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        os.kill(pid, signal.SIGINT)
        helper.send(None)
        assert helper.receive()[0] == pid
