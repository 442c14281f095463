"""When the packets of a replay into Kafka are due."""

from __future__ import annotations

import pytest

from broker_plugin.replay.kafka_target import Pace

SECOND = 1 / 86400


class Clock:
    """A clock that moves when told to."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("speed", [1.0, 60.0, 0.5])
def test_packets_keep_their_distance(speed: float) -> None:
    """A packet is due as long after the first as it was exposed after it, divided by the speed."""
    clock = Clock()
    pace = Pace(speed, clock)
    assert pace.wait_s(60000.0) == 0
    clock.now += 2.0
    assert pace.wait_s(60000.0 + 30 * SECOND) == pytest.approx(30 / speed - 2.0 if 30 / speed > 2 else 0.0, abs=1e-4)
    clock.now += 1000.0
    assert pace.wait_s(60000.0 + 30 * SECOND) == 0


def test_what_is_late_or_timeless_is_due_at_once() -> None:
    """A packet from before the first, or without a time, does not wait, nor does it move the clock."""
    clock = Clock()
    pace = Pace(1.0, clock)
    assert pace.wait_s(None) == 0
    assert pace.wait_s(60000.0) == 0
    assert pace.wait_s(59999.0) == 0
    assert pace.wait_s(60000.0 + 5 * SECOND) == pytest.approx(5.0, abs=1e-4)


def test_as_fast_as_possible_never_waits() -> None:
    """Without a speed nothing waits."""
    pace = Pace(None, Clock())
    assert [pace.wait_s(mjd) for mjd in (60000.0, 70000.0)] == [0, 0]
