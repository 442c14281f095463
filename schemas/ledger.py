"""LedgerEntry: what became of a run of consecutive offsets of one partition.

The outcomes are run-length coded in offset order, so that a batch of 500 observations without a fault is one run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from schemas.errors import RecordError
from schemas.records import codec


@dataclass(frozen=True, slots=True)
class Run:
    """``count`` consecutive offsets (at least one) with one outcome and reason."""

    outcome: str
    reason: str | None
    count: int


def run_lengths(outcomes: Iterable[tuple[str, str | None]]) -> tuple[Run, ...]:
    """(outcome, reason) of each offset, in offset order, as the fewest runs."""
    return tuple(Run(outcome, reason, sum(1 for _ in group)) for (outcome, reason), group in groupby(outcomes))


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Fields as documented in ``avsc/ledger.avsc``; last_offset is inclusive.

    ValueError when a run is empty or the runs do not add up to the offsets.
    """

    role: str
    group: str
    topic: str
    partition: int
    first_offset: int
    last_offset: int
    runs: tuple[Run, ...]
    instance: str
    topic_id: str = ""

    def __post_init__(self) -> None:
        total = sum(run.count for run in self.runs)
        if any(run.count < 1 for run in self.runs) or total < 1 or total != self.last_offset - self.first_offset + 1:
            raise ValueError(
                f"{total} outcomes in {len(self.runs)} runs for offsets {self.first_offset} to {self.last_offset}"
            )

    @classmethod
    def of_outcomes(
        cls,
        outcomes: Iterable[tuple[str, str | None]],
        *,
        role: str,
        group: str,
        topic: str,
        partition: int,
        first_offset: int,
        instance: str,
        topic_id: str = "",
    ) -> LedgerEntry:
        """The entry of consecutive offsets from ``first_offset`` on; ValueError when there is none."""
        runs = run_lengths(outcomes)
        last_offset = first_offset + sum(run.count for run in runs) - 1
        return cls(role, group, topic, partition, first_offset, last_offset, runs, instance, topic_id)

    def outcomes(self) -> Iterator[tuple[int, str, str | None]]:
        """(offset, outcome, reason) of every offset, in order."""
        offset = self.first_offset
        for run in self.runs:
            for _ in range(run.count):
                yield offset, run.outcome, run.reason
                offset += 1

    def to_bytes(self) -> bytes:
        """The ledger topic's value; the same entry always gives the same bytes."""
        runs = [{"outcome": run.outcome, "reason": run.reason, "count": run.count} for run in self.runs]
        return codec("ledger").encode(
            {
                "role": self.role,
                "group": self.group,
                "topic": self.topic,
                "partition": self.partition,
                "first_offset": self.first_offset,
                "last_offset": self.last_offset,
                "runs": runs,
                "instance": self.instance,
                "topic_id": self.topic_id,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> LedgerEntry:
        """Inverse of ``to_bytes``; RecordError when it is not one or its runs do not add up."""
        record = codec("ledger").decode(payload)
        record["runs"] = tuple(Run(**run) for run in record["runs"])
        try:
            return cls(**record)
        except ValueError as error:
            raise RecordError(f"ledger record: {error}") from error
