"""Where consumption of newly assigned partitions starts: at the group's offset, else after the ledger's last one.

Brokers forget a group after a while without commits (a survey's after a day); the ledger does not. Its entry of the
same role, group, topic, topic id and partition says what was done, so the group goes on after it: nothing is skipped
and nothing is done twice. A topic that was deleted and created again has another id, so that a stale offset of the
former one is never taken. Without either the configured reset decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec  # type: ignore[attr-defined]

from broker_plugin.accounts.ledger import entry_key
from broker_plugin.kafka.client import admin_client, query
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import topic_identity
from broker_plugin.settings.sections import Connection, InternalSettings
from schemas.ledger import LedgerEntry

EARLIEST: Final = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
LATEST: Final = OffsetSpec.latest()  # type: ignore[no-untyped-call]
QUERY_TIMEOUT_S: Final = 10.0
# the ledger's newest entries are looked through first, then ten times as many, and so on
NEWEST_ENTRIES: Final = 20_000
# clocks of the survey's producers and of the internal cluster agree better than this
CLOCK_SLACK_MS: Final = 86_400_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Start:
    """Where one partition's consumption starts.

    position: the next offset to do, None where the configured reset decides. log_start, log_end: the offsets the log
    holds, as the broker said at assignment. cluster_id, topic_id: the broker's, empty where it states none.
    """

    topic: str
    partition: int
    cluster_id: str
    topic_id: str
    position: int | None
    log_start: int
    log_end: int

    @property
    def num_expired(self) -> int:
        """Offsets that should be done next and that the log no longer holds."""
        return 0 if self.position is None else max(0, self.log_start - self.position)

    @property
    def place(self) -> TopicPartition:
        """What the consumer is assigned; an invalid offset leaves the choice to ``auto.offset.reset``."""
        if self.position is None:
            return TopicPartition(self.topic, self.partition)
        return TopicPartition(self.topic, self.partition, max(self.position, self.log_start))


def find_starts(
    consumer: Consumer,
    partitions: Sequence[TopicPartition],
    *,
    role: str,
    group: str,
    connection: Connection,
    internal: InternalSettings,
) -> list[Start]:
    """The start of each partition; ``connection`` is the topics', ``internal`` the ledger's.

    BrokerError when a broker does not answer.
    """
    if not partitions:
        return []
    identities = {topic: topic_identity(connection, topic) for topic in sorted({p.topic for p in partitions})}
    committed = query(
        connection, "committed offsets", lambda: consumer.committed(list(partitions), timeout=QUERY_TIMEOUT_S)
    )
    log_starts = list_offsets(connection, partitions, EARLIEST)
    log_ends = list_offsets(connection, partitions, LATEST)
    starts = [
        Start(
            place.topic,
            place.partition,
            *identities[place.topic],
            place.offset if place.offset >= 0 else None,
            log_starts[place.topic, place.partition].offset,
            log_ends[place.topic, place.partition].offset,
        )
        for place in committed
    ]
    unknown = [start for start in starts if start.position is None]
    if not unknown:
        return starts
    since_ms = max(0, oldest_ms(connection, unknown) - CLOCK_SLACK_MS)
    found = ledger_positions(internal, unknown, role=role, group=group, since_ms=since_ms)
    return [start if start.position is not None else _from_ledger(start, found) for start in starts]


def list_offsets(
    connection: Connection, partitions: Collection[TopicPartition], spec: OffsetSpec
) -> dict[tuple[str, int], ListOffsetsResultInfo]:
    """The offset that ``spec`` asks for (-1: none), with its record's time, by (topic, partition)."""
    admin = admin_client(connection)
    wanted = {TopicPartition(place.topic, place.partition): spec for place in partitions}

    def ask() -> dict[tuple[str, int], ListOffsetsResultInfo]:
        answers = admin.list_offsets(wanted, request_timeout=QUERY_TIMEOUT_S)
        return {(place.topic, place.partition): answer.result(QUERY_TIMEOUT_S) for place, answer in answers.items()}

    return query(connection, "offsets", ask)


def oldest_ms(connection: Connection, starts: Collection[Start], *, now: Callable[[], float] = time.time) -> int:
    """Unix time of the oldest record that any of the partitions still holds, ms; now when they hold none.

    Ledger entries older than that speak of records that are gone.
    """
    places = [TopicPartition(start.topic, start.partition) for start in starts]
    answers = list_offsets(connection, places, OffsetSpec.for_timestamp(1)).values()
    held = [int(answer.timestamp) for answer in answers if answer.offset >= 0]
    return max(0, min([*held, int(now() * 1000)]))


def ledger_positions(
    internal: InternalSettings, wanted: Collection[Start], *, role: str, group: str, since_ms: int
) -> dict[tuple[str, int], int]:
    """The offset after the last one that the ledger has, by (topic, partition); partitions it lacks are left out.

    since_ms: entries older than this Unix time need not be looked at.
    """
    keys = {entry_key(role, group, start.topic, start.partition): start for start in wanted}
    found: dict[tuple[str, int], int] = {}
    for first_offset in _looks(internal, since_ms):
        seen: set[bytes] = set()
        for message in read_topic(internal, internal.ledger_topic, starts={0: first_offset}):
            key = message.key()
            if not isinstance(key, bytes) or key not in keys:
                continue
            seen.add(key)
            start, entry = keys[key], LedgerEntry.from_bytes(message.value() or b"")
            if entry.topic_id == start.topic_id:
                place = (start.topic, start.partition)
                found[place] = max(found.get(place, 0), entry.last_offset + 1)
        if len(seen) == len(keys):
            break
    return found


def _from_ledger(start: Start, found: Mapping[tuple[str, int], int]) -> Start:
    position = found.get((start.topic, start.partition))
    if position is not None:
        log.warning(
            "the group has no offset, starting after the ledger's last",
            topic=start.topic,
            partition=start.partition,
            position=position,
        )
    return replace(start, position=position)


def _looks(internal: InternalSettings, since_ms: int) -> Iterator[int]:
    """First offsets of the looks at the ledger, each reaching further back, the last to ``since_ms``."""
    place = (internal.ledger_topic, 0)
    low, since, high = (
        list_offsets(internal, [TopicPartition(*place)], spec)[place].offset
        for spec in (EARLIEST, OffsetSpec.for_timestamp(since_ms), LATEST)
    )
    floor = max(low, since if since >= 0 else high)  # negative: no entry is that new
    reach = NEWEST_ENTRIES
    while high - reach > floor:
        yield high - reach
        reach *= 10
    yield floor
