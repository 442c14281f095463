"""Ctrl-C and SIGTERM of a verb that ends at once, as a KeyboardInterrupt; roles drain instead and take both over.

confluent_kafka loses a KeyboardInterrupt that comes while it waits for a broker: its call ends in a SystemError that
names no cause. That there was one is therefore remembered here.
"""

from __future__ import annotations

import signal

_interrupted = False


def end_at_signals() -> None:
    """From here on both signals raise KeyboardInterrupt. Of the main thread only."""
    global _interrupted
    _interrupted = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def was_interrupted() -> bool:
    """Whether one of them came since."""
    return _interrupted


def _end(number: int, frame: object) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt
