"""Reads a whole topic from its beginning, for audits and demonstrations: no group, nothing is committed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Final

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from broker_plugin.kafka.client import open_consumer
from broker_plugin.kafka.topics import num_partitions
from broker_plugin.settings.sections import Connection
from schemas.errors import BrokerError

READ_TIMEOUT_S: Final = 60.0


def read_topic(
    connection: Connection,
    topic: str,
    *,
    starts: Mapping[int, int] | None = None,
    timeout_s: float = READ_TIMEOUT_S,
) -> Iterator[Message]:
    """Every message from the beginning to the end as it was reached, partition by partition interleaved.

    starts: offsets to begin at, by partition, instead of the beginning.

    BrokerError when the end is not reached within ``timeout_s`` without a message.
    """
    starts = starts or {}
    partitions = range(num_partitions(connection, topic))
    places = [TopicPartition(topic, partition, starts.get(partition, OFFSET_BEGINNING)) for partition in partitions]
    config = {
        "group.id": "convention-reader",
        "enable.auto.commit": False,
        "enable.partition.eof": True,
        "isolation.level": "read_committed",
        "auto.offset.reset": "earliest",
    }
    consumer = open_consumer(connection, config)
    try:
        consumer.assign(places)
        open_partitions = {place.partition for place in places}
        deadline = time.monotonic() + timeout_s
        while open_partitions:
            message = consumer.poll(0.5)
            if message is None:
                if time.monotonic() > deadline:
                    raise BrokerError(f"{topic}: the end was not reached within {timeout_s} s")
                continue
            error = message.error()
            if error is None:
                deadline = time.monotonic() + timeout_s
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:
                open_partitions.discard(int(message.partition() or 0))
            elif not error.retriable():
                raise BrokerError(f"{topic}: {error}")
    finally:
        consumer.close()
