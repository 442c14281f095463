"""What a role knows of its assigned partitions: where it stands, how far behind, and whether the topic is the same.

A topic that is deleted and created again keeps its name, and a consumer goes on in the new one at the old offset, so
that the new topic's first records would be skipped in silence. The topic's id is therefore looked at every few
seconds and at the end; when it changed, the group's offsets of it are set to the beginning and the role stops, to be
restarted by its supervisor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from broker_plugin.accounts.ledger import LedgerWriter
from broker_plugin.kafka.client import admin_client, commit_offsets
from broker_plugin.settings.sections import Connection
from broker_plugin.telemetry.metrics import Rebalance, RoleMetrics
from broker_plugin.worker.starting import Start
from schemas.errors import BrokerError

CHECK_INTERVAL_S: Final = 5.0
LOOK_TIMEOUT_S: Final = 5.0

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Standing:
    """One partition: the next offset, the end of its log as last heard, Unix time of the newest record handled."""

    position: int
    log_end: int
    newest_s: float
    topic_id: str


class Partitions:
    """The assigned partitions of one consumer. Not for use from several threads."""

    def __init__(
        self,
        connection: Connection,
        consumer: Consumer,
        ledger: LedgerWriter,
        metrics: RoleMetrics,
        *,
        now: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._consumer = consumer
        self._ledger = ledger
        self._metrics = metrics
        self._now = now
        self._timer = timer
        self._checked = timer()
        self._admin: AdminClient | None = None
        self._standings: dict[tuple[str, int], _Standing] = {}

    def assigned(self, starts: Sequence[Start]) -> None:
        """Consumption begins there; what the log dropped before it was read is entered in the ledger and reported."""
        self._metrics.rebalanced(Rebalance.ASSIGNED)
        for start in starts:
            topic, partition = start.topic, start.partition
            self._ledger.start(topic, partition, start.position, topic_id=start.topic_id)
            if start.num_expired:
                log.error(
                    "log gap: records expired before they were read",
                    topic=topic,
                    partition=partition,
                    first_offset=start.position,
                    num_records=start.num_expired,
                )
                self._ledger.expired(topic, partition, start.log_start - start.num_expired, start.num_expired)
                self._metrics.log_gap(start.num_expired)
            position = start.log_start if start.position is None else max(start.position, start.log_start)
            self._standings[topic, partition] = _Standing(position, start.log_end, self._now(), start.topic_id)
        self.report()

    def gone(self, partitions: Iterable[TopicPartition], *, lost: bool = False) -> None:
        """Partitions were revoked, or lost without a chance to commit."""
        self._metrics.rebalanced(Rebalance.LOST if lost else Rebalance.REVOKED)
        for place in partitions:
            self._standings.pop((place.topic, place.partition), None)
            self._metrics.forget(place.topic, place.partition)

    def handled(self, messages: Iterable[Message], ends: Iterable[TopicPartition]) -> None:
        """These are done, up to ``ends`` (next offsets); their order within a partition is the log's."""
        done = {(end.topic, end.partition): end.offset for end in ends}
        for message in messages:
            place, offset = (str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0)
            standing = self._standings.get(place)
            if standing is not None and offset < done.get(place, 0):
                standing.position = offset + 1
                timestamp_ms = int(message.timestamp()[1])
                standing.newest_s = timestamp_ms / 1000 if timestamp_ms >= 0 else self._now()
        self.report()

    def report(self) -> None:
        """Tell the metrics where every partition stands, idle ones too."""
        for (topic, partition), standing in self._standings.items():
            marks = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            if marks is not None and marks[1] >= 0:
                standing.log_end = int(marks[1])
            behind = standing.log_end - standing.position
            self._metrics.position(topic, partition, messages_behind=behind, newest_s=standing.newest_s)

    def check_topics(self, *, interval_s: float = CHECK_INTERVAL_S) -> None:
        """BrokerError when a topic is not the one that was assigned; at most one look an interval.

        A topic that is gone raises nothing: its partitions are revoked soon.
        """
        if self._timer() - self._checked < interval_s:
            return
        self._checked = self._timer()
        for topic in {topic for topic, _ in self._standings}:
            places = {p: standing for (t, p), standing in self._standings.items() if t == topic}
            topic_id = self._topic_id(topic)
            if topic_id is None or all(standing.topic_id == topic_id for standing in places.values()):
                continue
            anew = [TopicPartition(topic, partition, 0) for partition in places]
            commit_offsets(self._consumer, anew, retry_s=LOOK_TIMEOUT_S)
            raise BrokerError(
                f"topic {topic} was deleted and created again: its offsets are set back to 0, start the worker again"
            )

    def _topic_id(self, topic: str) -> str | None:
        """The broker's id of the topic; None when there is no such topic (any more) or no answer just now."""
        if self._admin is None:
            self._admin = admin_client(self._connection)
        described = self._admin.describe_topics(TopicCollection([topic]), request_timeout=LOOK_TIMEOUT_S)
        try:
            return str(described[topic].result(LOOK_TIMEOUT_S).topic_id or "")
        except (KafkaException, TimeoutError) as error:  # the future's own patience may end first
            log.warning("topic cannot be looked at", topic=topic, error=repr(error))
            return None


def closing(consumer: Consumer, partitions: Partitions, *after: Callable[[], None]) -> Callable[[], None]:
    """What ends a role: a last look at its topics, leaving the group, then ``after``."""

    def close() -> None:
        try:
            partitions.check_topics(interval_s=0)
        except BrokerError as error:
            log.error("found while stopping", error=str(error))
        consumer.close()
        for step in after:
            step()

    return close
