"""What goes into and comes out of the classify engine: plain values, no Kafka.

Positions are Kafka's: the next offset to read, one past the last one done. Header names are those of the stamp log
(written by ingest) and of the output topic (written by classify); header values are UTF-8 text, numbers in decimal.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from schemas.classification import Classification
from schemas.errors import RecordError

Headers = tuple[tuple[str, bytes], ...]

# written by ingest into the stamp log, passed on by classify
HEADER_INPUT_TOPIC: Final = "input-topic"
HEADER_INPUT_PARTITION: Final = "input-partition"
HEADER_INPUT_OFFSET: Final = "input-offset"
HEADER_INGEST_TIME: Final = "ingest-time-ms"
HEADER_PRODUCER_TIME: Final = "producer-time-ms"
PASSED_ON: Final = (
    HEADER_INPUT_TOPIC,
    HEADER_INPUT_PARTITION,
    HEADER_INPUT_OFFSET,
    HEADER_INGEST_TIME,
    HEADER_PRODUCER_TIME,
)
# written by a backfill: the fact is stored and triggers nothing, whatever the value
HEADER_STORED_ONLY: Final = "stored-only"
# added by classify
HEADER_TRIGGER_SOURCE_ID: Final = "trigger-source-id"
HEADER_LOG_TOPIC: Final = "log-topic"
HEADER_LOG_PARTITION: Final = "log-partition"
HEADER_LOG_OFFSET: Final = "log-offset"
# added by a rescoring: the view of an object as it stood, without a new trigger
HEADER_RESCORED: Final = "rescored"


class ClassifyOutcome(StrEnum):
    """What became of one stamp-log offset. Closed: these are ledger outcomes and metric labels."""

    REDELIVERED = "redelivered"
    DUPLICATE = "duplicate"
    STORED_ONLY = "stored_only"
    UNREADABLE = "unreadable"
    CLASSIFIED = "classified"
    ABSTAINED = "abstained"
    TOO_SHORT = "too_short"
    SUPERSEDED = "superseded"


# the outcomes of a trigger
TRIGGERED: Final = frozenset(
    {
        ClassifyOutcome.CLASSIFIED,
        ClassifyOutcome.ABSTAINED,
        ClassifyOutcome.TOO_SHORT,
        ClassifyOutcome.SUPERSEDED,
    }
)


@dataclass(frozen=True, slots=True)
class LogMessage:
    """One message of the stamp log. timestamp_ms: Kafka's, milliseconds since 1970-01-01 UTC, -1 unknown."""

    partition: int
    offset: int
    key: bytes | None
    payload: bytes
    headers: Headers = ()
    timestamp_ms: int = -1

    @property
    def is_stored_only(self) -> bool:
        """Whether its fact triggers nothing."""
        return any(name == HEADER_STORED_ONLY for name, _ in self.headers)


@dataclass(frozen=True, slots=True)
class OutputRecord:
    """One record for the output topic. partition and offset are the trigger's in the stamp log.

    ``value`` is the plain Avro form of ``classification``; a shell that writes another framing (Confluent wire,
    ELAsTiCC) makes it from ``classification`` and ``headers``. publish is False for a too_short record of an
    operator who does not want them: it is counted, not sent.
    """

    key: bytes
    value: bytes
    headers: Headers
    partition: int
    offset: int
    classification: Classification
    publish: bool = True


@dataclass(frozen=True, slots=True)
class OffsetOutcome:
    """What became of one offset; reason is None where the outcome says it all."""

    offset: int
    outcome: ClassifyOutcome
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A stamp-log message that holds no fact; the shell dead-letters it."""

    message: LogMessage
    error: RecordError


ENGINE_STEPS: Final = ("apply", "assemble", "infer", "prune", "challenge")


@dataclass(slots=True)
class BatchResult:
    """Everything one batch leads to. The stores hold its facts in open transactions.

    records: in log order within a partition, one a trigger that is not superseded. shadow: the challengers' records
    of the same triggers. num_unchallenged: triggers that a challenger failed to score. outcomes: by partition, in
    offset order, one an offset of the batch. durations_s, cpu_s: seconds on the clock and of all the process's
    threads, by step of ENGINE_STEPS.
    """

    records: list[OutputRecord] = field(default_factory=list)
    shadow: list[OutputRecord] = field(default_factory=list)
    num_unchallenged: int = 0
    outcomes: dict[int, list[OffsetOutcome]] = field(default_factory=dict)
    unreadable: list[Unreadable] = field(default_factory=list)
    durations_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ENGINE_STEPS, 0.0))
    cpu_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(ENGINE_STEPS, 0.0))


def record_headers(trigger: LogMessage, source_id: str, log_topic: str) -> Headers:
    """Headers of the record of one trigger: what came with it, its source, and its place in the stamp log."""
    return (
        *((name, value) for name, value in trigger.headers if name in PASSED_ON),
        (HEADER_TRIGGER_SOURCE_ID, source_id.encode()),
        (HEADER_LOG_TOPIC, log_topic.encode()),
        (HEADER_LOG_PARTITION, str(trigger.partition).encode()),
        (HEADER_LOG_OFFSET, str(trigger.offset).encode()),
    )
