"""The ledger: before each commit a role says what became of every offset, and ``audit`` reads it back."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from broker_plugin.kafka.client import AckedProducer
from broker_plugin.telemetry.metrics import RoleMetrics
from schemas.ledger import LedgerEntry, Run, run_lengths

ABSENT: Final = "absent"  # an offset the broker skipped: a transaction's marker, or compacted away
EXPIRED: Final = "expired"  # why an offset is absent: the log no longer held it when its turn came
REDRIVE: Final = "redrive"  # the role of entries over the dead-letter topic, which leave out what is not redriven

Outcomes = list[tuple[int, str, str | None]]


def entry_key(role: str, group: str, topic: str, partition: int) -> bytes:
    """The key of a ledger message."""
    return f"{role}:{group}:{topic}:{partition}".encode()


@dataclass(slots=True)
class LedgerWriter:
    """Produces one entry a partition and batch. Offsets skipped since the last one are entered as absent."""

    producer: AckedProducer
    topic: str
    role: str
    group: str
    instance: str
    metrics: RoleMetrics | None = None
    _next: dict[tuple[str, int], int] = field(default_factory=dict)
    _expired: dict[tuple[str, int], tuple[int, int]] = field(default_factory=dict)
    _topic_ids: dict[str, str] = field(default_factory=dict)

    def start(self, topic: str, partition: int, offset: int | None, *, topic_id: str = "") -> None:
        """Consumption of a partition begins at ``offset``; None when that is not known before the first message.

        topic_id: the broker's, so that a topic recreated under the name is told apart.
        """
        self._topic_ids[topic] = topic_id
        self._next.pop((topic, partition), None)
        self._expired.pop((topic, partition), None)
        if offset is not None:
            self._next[topic, partition] = offset

    def expired(self, topic: str, partition: int, first_offset: int, count: int) -> None:
        """Enter ``count`` offsets that the log dropped before they were read, with the next entry."""
        self._expired[topic, partition] = (first_offset, count)
        self._next[topic, partition] = first_offset + count

    def write(self, topic: str, partition: int, outcomes: Outcomes) -> None:
        """Queue the entry of one partition's (offset, outcome, reason), ascending."""
        if (topic, partition) in self._expired:
            gap_start, count = self._expired.pop((topic, partition))
            self._produce(topic, partition, gap_start, (Run(ABSENT, EXPIRED, count),))
        # a batch that is read again starts before what was entered last
        expected = first = min(self._next.get((topic, partition), outcomes[0][0]), outcomes[0][0])
        filled: list[tuple[str, str | None]] = []
        for offset, outcome, reason in outcomes:
            filled += [(ABSENT, None)] * (offset - expected)
            filled.append((outcome, reason))
            expected = offset + 1
        self._next[topic, partition] = expected
        self._produce(topic, partition, first, run_lengths(filled))
        if self.metrics is not None:
            num_absent = len(filled) - len(outcomes)
            self.metrics.ledger_entry(covered=expected - first, accounted=len(filled), absent=num_absent)

    def _produce(self, topic: str, partition: int, first: int, runs: tuple[Run, ...]) -> None:
        entry = LedgerEntry(
            role=self.role,
            group=self.group,
            topic=topic,
            partition=partition,
            first_offset=first,
            last_offset=first + sum(run.count for run in runs) - 1,
            runs=runs,
            instance=self.instance,
            topic_id=self._topic_ids.get(topic, ""),
        )
        key = entry_key(self.role, self.group, topic, partition)
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
    """Accounts by (role, topic, partition). Of an offset entered twice, its first outcome counts.

    Of a topic that was deleted and created again the newest one has the name; a former one is ``name@topic id``.
    """
    tallies: dict[tuple[str, str, int, str], _Tally] = {}
    newest: dict[str, str] = {}
    for entry in entries:
        newest[entry.topic] = entry.topic_id
        tally = tallies.setdefault((entry.role, entry.topic, entry.partition, entry.topic_id), _Tally())
        offset = entry.first_offset
        for run in entry.runs:
            tally.add(offset, offset + run.count, (run.outcome, run.reason))
            offset += run.count
    return {
        (role, topic if topic_id == newest[topic] else f"{topic}@{topic_id}", partition): tally.account(role)
        for (role, topic, partition, topic_id), tally in tallies.items()
    }


@dataclass(slots=True)
class _Tally:
    """Outcomes of one partition. ``starts`` and ``ends``: the offsets seen, as ascending intervals apart."""

    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    counts: Counter[tuple[str, str | None]] = field(default_factory=Counter)

    def add(self, start: int, end: int, outcome: tuple[str, str | None]) -> None:
        """Count the offsets from ``start`` up to ``end`` (not itself) that were not seen before."""
        first = bisect_left(self.ends, start)  # the first interval that touches or follows
        last = first
        while last < len(self.starts) and self.starts[last] <= end:
            last += 1
        touching = list(zip(self.starts[first:last], self.ends[first:last], strict=True))
        known = sum(max(0, min(end, e) - max(start, s)) for s, e in touching)
        if end - start > known:
            self.counts[outcome] += end - start - known
        self.starts[first:last] = [min([start, *(s for s, _ in touching)])]
        self.ends[first:last] = [max([end, *(e for _, e in touching)])]

    def account(self, role: str) -> Account:
        gaps = tuple(self._gaps()) if role != REDRIVE else ()
        return Account(self.starts[0], self.ends[-1] - 1, self.counts, gaps)

    def _gaps(self) -> Iterator[tuple[int, int]]:
        for (_, end), (start, _) in pairwise(zip(self.starts, self.ends, strict=True)):
            yield end, start - 1
