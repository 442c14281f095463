"""Messages onto a topic by a bare producer, for tests and benchmarks that must not go through our own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Producer


def produce_all(producer: Producer, topic: str, messages: Iterable[Mapping[str, Any]]) -> None:
    """Produce messages, each the arguments of ``produce`` (key, value, partition), as fast as the broker takes them;
    the caller flushes."""
    for message in messages:
        while True:
            try:
                producer.produce(topic, **message)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
