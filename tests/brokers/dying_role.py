"""One role in a process that a signal meets as it passes a point: ``python -m tests.brokers.dying_role JSON``.

JSON: flags (``section.key=value``), role, point or null (never), the number of the pass, from 1, and the signal.
"""

from __future__ import annotations

import json
import os
import signal
import sys

from broker_plugin.settings.sources import load_settings
from broker_plugin.worker.points import Point
from broker_plugin.worker.worker import run_role


def main(arguments: str) -> int:
    """Run the role until its death, or until SIGTERM."""
    asked = json.loads(arguments)
    passes = 0

    def passed(point: Point) -> None:
        nonlocal passes
        passes += point == asked["point"]
        if point == asked["point"] and passes == asked["number"]:
            os.kill(os.getpid(), signal.Signals[asked["signal"]])

    return run_role(load_settings(flags=asked["flags"]), asked["role"], passed=passed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
