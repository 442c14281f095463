"""Progress of a replay on a terminal: packets, their rate, the time left. On standard error; nothing elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from broker_plugin.replay.stream import PacketStream, StreamOptions
from schemas.archive.packet import Damage

# Seconds over which the rate is taken.
RATE_WINDOW_S: Final = 10.0


class ReplayProgress:
    """One bar; ``show`` moves it. console: where, default standard error, drawn only on a terminal."""

    def __init__(self, *, console: Console | None = None, timer: Callable[[], float] = time.monotonic) -> None:
        console = console or Console(file=sys.stderr)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[num_packets]:,} packets, {task.fields[rate]:,.0f}/s, left"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._timer = timer
        self._task = self._progress.add_task("", total=1.0, num_packets=0, rate=0.0)
        self._description = ""
        self._seen: deque[tuple[float, int]] = deque()

    def __enter__(self) -> ReplayProgress:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def show(self, description: str, num_packets: int, share: float) -> None:
        """num_packets done so far, ``share`` (0 to 1) of all; another description starts the bar anew."""
        if description != self._description:
            self._description = description
            self._seen.clear()
            self._progress.reset(self._task, description=description, completed=0)
        self._progress.update(self._task, completed=share, num_packets=num_packets, rate=self._rate(num_packets))

    def _rate(self, num_packets: int) -> float:
        """Packets a second over the last RATE_WINDOW_S."""
        now = self._timer()
        self._seen.append((now, num_packets))
        while self._seen[0][0] < now - RATE_WINDOW_S and len(self._seen) > 2:
            self._seen.popleft()
        then, before = self._seen[0]
        return (num_packets - before) / (now - then) if now > then else 0.0


def open_stream(
    paths: Sequence[Path], options: StreamOptions, work: Path, progress: ReplayProgress
) -> tuple[PacketStream, list[Damage]]:
    """The stream, and the list that takes what is damaged in it."""
    damage: list[Damage] = []
    stream = PacketStream(
        paths,
        options,
        folder=work,
        damage=damage.append,
        indexing=lambda share: progress.show("sorting", 0, share),
    )
    return stream, damage
