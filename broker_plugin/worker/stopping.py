"""Being told to stop: the batch in hand is finished, within a deadline."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from typing import Final

import structlog

FAILED: Final = 1

log = structlog.get_logger(__name__)


class Stop:
    """Set by SIGTERM and SIGINT; the loop ends after its batch.

    deadline_s: how long that may take; past it the process ends with status 1, its batch undone (it is read again).
    None: no limit. on_ask: called once, at the first signal.
    """

    def __init__(self, *, deadline_s: float | None = None, on_ask: Callable[[], None] = lambda: None) -> None:
        self.asked = False
        self._deadline_s = deadline_s
        self._on_ask = on_ask
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, number: int, frame: object) -> None:
        if self.asked:
            return
        self.asked = True
        if self._deadline_s is not None:
            timer = threading.Timer(self._deadline_s, self._give_up)
            timer.daemon = True
            timer.start()
        self._on_ask()

    def _give_up(self) -> None:
        log.error("not drained in time, the batch in hand is given up", drain_deadline_s=self._deadline_s)
        os._exit(FAILED)
