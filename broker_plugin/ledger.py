"""The ledger: before each commit a role says what became of every offset, and ``audit`` reads it back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from broker_plugin.kafka import AckedProducer
from schemas.ledger import LedgerEntry

ABSENT: Final = "absent"  # an offset the broker skipped: a transaction's marker, or compacted away

Outcomes = list[tuple[int, str, str | None]]


@dataclass(slots=True)
class LedgerWriter:
    """Produces one entry a partition and batch. Offsets skipped since the last one are entered as absent."""

    producer: AckedProducer
    topic: str
    role: str
    group: str
    instance: str
    _next: dict[tuple[str, int], int] = field(default_factory=dict)

    def start(self, topic: str, partition: int, offset: int | None) -> None:
        """Consumption of a partition begins at ``offset``; None when that is not known before the first message."""
        self._next.pop((topic, partition), None)
        if offset is not None:
            self._next[topic, partition] = offset

    def write(self, topic: str, partition: int, outcomes: Outcomes) -> None:
        """Queue the entry of one partition's (offset, outcome, reason), ascending."""
        # a batch that is read again starts before what was entered last
        expected = min(self._next.get((topic, partition), outcomes[0][0]), outcomes[0][0])
        filled: list[tuple[str, str | None]] = []
        first = expected
        for offset, outcome, reason in outcomes:
            filled += [(ABSENT, None)] * (offset - expected)
            filled.append((outcome, reason))
            expected = offset + 1
        self._next[topic, partition] = expected
        entry = LedgerEntry.of_outcomes(
            filled,
            role=self.role,
            group=self.group,
            topic=topic,
            partition=partition,
            first_offset=first,
            instance=self.instance,
        )
        key = f"{self.role}:{topic}:{partition}".encode()
        self.producer.produce(self.topic, key=key, value=entry.to_bytes())


@dataclass(frozen=True, slots=True)
class Account:
    """One partition under one role: first and last offset, number by outcome, and the gaps between entries."""

    first_offset: int
    last_offset: int
    counts: Counter[tuple[str, str | None]]
    gaps: tuple[tuple[int, int], ...]

    @property
    def balanced(self) -> bool:
        """Whether every offset from the first to the last has an outcome."""
        return not self.gaps


def audit(entries: Iterable[LedgerEntry]) -> dict[tuple[str, str, int], Account]:
    """Accounts by (role, topic, partition). Of an offset entered twice, its first outcome counts."""
    seen: dict[tuple[str, str, int], dict[int, tuple[str, str | None]]] = {}
    for entry in entries:
        account = seen.setdefault((entry.role, entry.topic, entry.partition), {})
        for offset, outcome, reason in entry.outcomes():
            account.setdefault(offset, (outcome, reason))
    return {key: _account(outcomes) for key, outcomes in seen.items()}


def _account(outcomes: dict[int, tuple[str, str | None]]) -> Account:
    offsets = sorted(outcomes)
    gaps = [(a + 1, b - 1) for a, b in pairwise(offsets) if b > a + 1]
    return Account(offsets[0], offsets[-1], Counter(outcomes.values()), tuple(gaps))
