"""Where a role stands within a batch. Each point is a place where a death must lose nothing and double nothing.

A role calls what it was given with each point as it passes it; the fault tests end the process there.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """Passed in this order; ingest has no store and no inference."""

    CONSUMED = "consumed"
    APPLIED = "applied"
    INFERRED = "inferred"
    PRODUCED = "produced"
    ACKNOWLEDGED = "acknowledged"
    LEDGERED = "ledgered"
    STORE_COMMITTED = "store_committed"
    GROUP_COMMITTED = "group_committed"


Passed = Callable[[Point], None]


def unwatched(point: Point) -> None:
    """Nobody looks."""
