"""Partitions that wait for a schema: paused where the packet stands, tried again with back-off, never given up.

An unknown schema id is no fault of the packet, so it is not dead-lettered; and it must not hold up other partitions.
The partition is paused and set back to the packet, so that nothing after it is read before it; when its time has
come it is resumed, which reads the packet again: it is decoded, or the partition is paused for twice as long.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from broker_plugin.telemetry.metrics import IngestMetrics
from schemas.errors import BrokerError, SchemaUnavailable

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 60.0
Place = tuple[str, int]

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Wait:
    """Of one partition. resume_s: on the clock, None while the packet is being tried again."""

    offset: int
    wait_s: float
    resume_s: float | None


class SchemaPauses:
    """Of one consumer. ``now``: a monotonic clock, s. The metric counts a partition as waiting until its packet is
    decoded."""

    def __init__(
        self, consumer: Consumer, metrics: IngestMetrics, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._consumer = consumer
        self._metrics = metrics
        self._now = now
        self._waits: dict[Place, _Wait] = {}

    def holds(self, place: Place) -> bool:
        """Whether the partition is paused, so that what was read of it with the packet is left for later."""
        wait = self._waits.get(place)
        return wait is not None and wait.resume_s is not None

    def pause(self, message: Message, error: SchemaUnavailable) -> None:
        """Pause the message's partition and set it back to the message. BrokerError when Kafka refuses."""
        place = topic, partition = str(message.topic()), int(message.partition() or 0)
        offset = int(message.offset() or 0)
        wait = self._waits.get(place)
        if wait is None:
            wait = self._waits[place] = _Wait(offset, FIRST_WAIT_S, None)
            self._metrics.schema_paused()
        elif wait.offset == offset:
            wait.wait_s = min(2 * wait.wait_s, LONGEST_WAIT_S)
        wait.offset = offset
        wait.resume_s = self._now() + wait.wait_s
        try:
            self._consumer.pause([TopicPartition(topic, partition)])
            self._consumer.seek(TopicPartition(topic, partition, offset))
        except KafkaException as failure:
            raise BrokerError(f"pausing {topic} {partition}: {failure}") from failure
        log.warning(
            "partition waits for a schema",
            topic=topic,
            partition=partition,
            offset=offset,
            schema_id=error.schema_id,
            retry_s=wait.wait_s,
            detail=str(error),
        )

    def decoded(self, place: Place) -> None:
        """A packet of the partition was decoded, or is at fault: the partition waits no longer."""
        if self._waits.pop(place, None) is not None:
            self._metrics.schema_resumed()
            log.info("partition goes on", topic=place[0], partition=place[1])

    def resume_due(self) -> None:
        """Resume the partitions whose time has come. BrokerError when Kafka refuses."""
        for (topic, partition), wait in self._waits.items():
            if wait.resume_s is not None and wait.resume_s <= self._now():
                wait.resume_s = None
                self._resume(topic, partition)

    def forget(self, partitions: Iterable[TopicPartition]) -> None:
        """The partitions are given back: whoever has them next starts at the packet, and not paused."""
        for place in partitions:
            if self._waits.pop((place.topic, place.partition), None) is not None:
                self._metrics.schema_resumed()
                self._resume(place.topic, place.partition)

    def _resume(self, topic: str, partition: int) -> None:
        try:
            self._consumer.resume([TopicPartition(topic, partition)])
        except KafkaException as failure:
            raise BrokerError(f"resuming {topic} {partition}: {failure}") from failure
