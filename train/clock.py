"""What training is timed by."""

from __future__ import annotations

import time
from collections.abc import Callable


def clock_of(device: str) -> Callable[[], float]:
    """Seconds that grow with the work done: on the CPU those of the processor, all threads of this process together,
    so that a busy machine does not count; on another device the wall clock's."""
    return time.process_time if device == "cpu" else time.monotonic
