"""The classify role with an ensemble that fails, or hangs: ``python -m tests.brokers.failing_role JSON``.

JSON: flags (``section.key=value``), num_calls (the ensemble's calls that go well), and hangs: whether the calls after
them never return instead of raising what a device raises.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence

from broker_plugin.commands.worker import run
from model.runtime import Runtime
from model.scores import Scores
from schemas.sequence import StampSequence


def main(arguments: str) -> int:
    """Run the role."""
    import argparse

    asked = json.loads(arguments)
    sound = Runtime.score
    num_calls = 0

    def score(self: Runtime, sequences: Sequence[StampSequence]) -> list[Scores]:
        nonlocal num_calls
        num_calls += 1
        if num_calls <= asked["num_calls"]:
            return sound(self, sequences)
        print("FAILING", len(sequences), flush=True)
        if asked["hangs"]:
            time.sleep(600)
        raise RuntimeError("CUDA error: device-side assert triggered")

    Runtime.score = score  # type: ignore[method-assign]
    return run(argparse.Namespace(overrides=asked["flags"], config=None, role="classify"))


if __name__ == "__main__":
    from broker_plugin.cli import _complain
    from schemas.errors import ConventionError

    try:
        sys.exit(main(sys.argv[1]))
    except ConventionError as error:
        sys.exit(_complain(str(error), 1))
