"""Run as a script: an offline replay that kills itself with SIGKILL at its n-th event.

Events: before and after each file gets its name, before and after each commit of the store, after each batch.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker_plugin.store.stamp_store import StampStore
from tests.replay.support import COARSE, replay


class Events:
    """Counts events and dies at the n-th."""

    def __init__(self, last: int) -> None:
        self._left = last

    def happened(self, *_: object) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            self.happened()
            result = function(*arguments, **named)
            self.happened()
            return result

        return watched


def main() -> None:
    folder, archive, last = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    events = Events(last)
    Path.replace = events.around(Path.replace)  # type: ignore[method-assign]
    StampStore.commit = events.around(StampStore.commit)  # type: ignore[method-assign]
    replay(folder, [archive], options=COARSE, moved=events.happened)


if __name__ == "__main__":
    main()
