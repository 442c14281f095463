"""The progress bar."""

from __future__ import annotations

import io

from rich.console import Console

from broker_plugin.replay.progress import ReplayProgress


class Clock:
    """A clock that moves when told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def shown(*, terminal: bool) -> str:
    """What stands on the console after 3,000 packets in 10 s, half of them."""
    clock, out = Clock(), io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=100)
    with ReplayProgress(console=console, timer=clock) as progress:
        for second in range(11):
            clock.now = float(second)
            progress.show("replaying", 300 * second, second / 20)
    return out.getvalue()


def test_a_terminal_is_told_the_packets_their_rate_and_the_time_left() -> None:
    """Share, packets, rate over the last seconds, and the time left stand on one line."""
    text = shown(terminal=True)
    assert "replaying" in text
    assert "50%" in text
    assert "3,000 packets, 300/s, left" in text


def test_a_pipe_is_told_nothing() -> None:
    """Where no one looks nothing is drawn."""
    assert shown(terminal=False).strip() == ""
