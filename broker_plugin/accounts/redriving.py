"""Dead letters back onto a topic: which ones, with which bytes, and the ledger entries that say it was done.

A letter that the ledger says was redriven is left alone, so that the verb may be run again after an interruption:
what was sent and not yet entered is sent twice, which ingest makes harmless (the same packet gives the same
observation). What fails again while a run goes on is left for the next run.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from broker_plugin.accounts.dead_letters import (
    HEADER_REDRIVE_ATTEMPT,
    HEADER_REDRIVE_LETTER,
    HEADER_REDRIVE_ORIGINAL,
    redrive_headers,
)
from broker_plugin.accounts.ledger import REDRIVE, LedgerWriter
from broker_plugin.kafka.client import AckedProducer, open_consumer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import topic_identity
from broker_plugin.settings.sections import Connection, Settings
from schemas.dead_letter import DeadLetter
from schemas.errors import BrokerError
from schemas.ledger import LedgerEntry

REDRIVEN: Final = "redriven"
CHUNK: Final = 100
FETCH_TIMEOUT_S: Final = 10.0
# a letter without its packet was too large for the dead-letter topic; the topic it came from took it
LARGEST_BYTES: Final = 268_435_456


@dataclass(frozen=True, slots=True)
class Selection:
    """Which letters: of any of ``reasons`` (empty: all), not before ``since_ms`` (Unix time of the dead letter), at
    most ``limit`` of them, whose packet ``wanted`` admits; ``again``: those redriven before, too."""

    reasons: frozenset[str] = frozenset()
    since_ms: int = 0
    limit: int | None = None
    again: bool = False
    wanted: Callable[[bytes], bool] | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """One selected letter. place: in the dead-letter topic. payload None: the packet is nowhere to be had."""

    letter: DeadLetter
    partition: int
    offset: int
    payload: bytes | None
    original: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Target:
    """Where letters go; topic None: the one that each came from."""

    topic: str | None = None
    internal: bool = False


class Redriver:
    """Of one set of settings. BrokerError when Kafka does not do its part."""

    def __init__(self, settings: Settings, *, instance: str) -> None:
        self._settings = settings
        self._instance = instance
        self._topic = settings.internal.dead_letter_topic
        self._topic_id = topic_identity(settings.internal, self._topic)[1]

    def find(self, selection: Selection) -> Iterator[Found]:
        """The selected letters, oldest first within a partition."""
        done = set() if selection.again else self._redriven()
        taken: set[bytes] = set()
        num_found = 0
        for message in read_topic(self._settings.internal, self._topic):
            if selection.limit is not None and num_found >= selection.limit:
                return
            place = (int(message.partition() or 0), int(message.offset() or 0))
            if redrive_headers(message).get(HEADER_REDRIVE_LETTER) in taken:
                taken.add(self._name(*place))  # of a packet that this run took already
                continue
            if place in done or int(message.timestamp()[1]) < selection.since_ms:
                continue
            letter = DeadLetter.from_bytes(message.value() or b"")
            if selection.reasons and letter.reason not in selection.reasons:
                continue
            found = self._found(message, letter)
            if selection.wanted is not None and found.payload is not None and not selection.wanted(found.payload):
                continue
            taken.add(self._name(*place))
            num_found += 1
            yield found

    def send(self, found: Sequence[Found], target: Target) -> None:
        """Put packets back, wait until they are acknowledged, and enter that in the ledger."""
        producers: dict[bool, AckedProducer] = {}
        for letter in found:
            assert letter.payload is not None
            topic, internal = self.destination(letter, target)
            if internal not in producers:
                producers[internal] = self._producer(internal=internal)
            producers[internal].produce(
                topic, key=letter.letter.key, value=letter.payload, headers=self._headers(letter)
            )
        for producer in producers.values():
            producer.flush()
        self._enter(found)

    def destination(self, found: Found, target: Target) -> tuple[str, bool]:
        """The topic a letter goes to, and whether that is on the internal cluster."""
        if target.topic is not None:
            return target.topic, target.internal
        return found.letter.topic, found.letter.topic == self._settings.internal.stamp_log_topic

    def _found(self, message: Message, letter: DeadLetter) -> Found:
        headers = redrive_headers(message)
        original = headers.get(HEADER_REDRIVE_ORIGINAL, f"{letter.topic}:{letter.partition}:{letter.offset}".encode())
        attempt = headers.get(HEADER_REDRIVE_ATTEMPT, b"0")
        payload = letter.payload if letter.payload is not None else self._fetch(letter)
        return Found(
            letter,
            int(message.partition() or 0),
            int(message.offset() or 0),
            payload,
            original.decode(errors="replace"),
            1 + (int(attempt) if attempt.isdigit() else 0),
        )

    def _headers(self, found: Found) -> list[tuple[str, bytes]]:
        return [
            (HEADER_REDRIVE_ORIGINAL, found.original.encode()),
            (HEADER_REDRIVE_LETTER, self._name(found.partition, found.offset)),
            (HEADER_REDRIVE_ATTEMPT, str(found.attempt).encode()),
        ]

    def _name(self, partition: int, offset: int) -> bytes:
        return f"{self._topic}:{partition}:{offset}".encode()

    def _connection(self, *, internal: bool) -> Connection:
        return self._settings.internal if internal else self._settings.input

    def _producer(self, *, internal: bool) -> AckedProducer:
        connection = self._connection(internal=internal)
        return AckedProducer(connection, self._settings.worker, max_message_bytes=LARGEST_BYTES)

    def _fetch(self, letter: DeadLetter) -> bytes | None:
        """The packet from where it came from; None when it is gone or is another one by now."""
        internal = letter.topic == self._settings.internal.stamp_log_topic
        config = {
            "group.id": "convention-reader",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "enable.partition.eof": True,
            "fetch.message.max.bytes": LARGEST_BYTES,
        }
        consumer = open_consumer(self._connection(internal=internal), config)
        try:
            consumer.assign([TopicPartition(letter.topic, letter.partition, letter.offset)])
            message = _first(consumer)
        finally:
            consumer.close()
        payload = None if message is None else message.value()
        if payload is None or hashlib.sha256(payload).digest() != letter.payload_sha256:
            return None
        return payload

    def _redriven(self) -> set[tuple[int, int]]:
        """Places in the dead-letter topic that the ledger says were redriven."""
        internal, done = self._settings.internal, set()
        for message in read_topic(internal, internal.ledger_topic):
            entry = LedgerEntry.from_bytes(message.value() or b"")
            if (entry.role, entry.topic, entry.topic_id) == (REDRIVE, self._topic, self._topic_id):
                done |= {(entry.partition, offset) for offset, _, _ in entry.outcomes()}
        return done

    def _enter(self, found: Sequence[Found]) -> None:
        internal = self._settings.internal
        producer = self._producer(internal=True)
        ledger = LedgerWriter(producer, internal.ledger_topic, REDRIVE, REDRIVE, self._instance)
        for letter in found:
            ledger.start(self._topic, letter.partition, letter.offset, topic_id=self._topic_id)
            ledger.write(self._topic, letter.partition, [(letter.offset, REDRIVEN, letter.letter.reason)])
        producer.flush()


def _first(consumer: Consumer) -> Message | None:
    """The first message of the assignment; None when there is none."""
    deadline = time.monotonic() + FETCH_TIMEOUT_S
    while time.monotonic() < deadline:
        message = consumer.poll(0.5)
        if message is None:
            continue
        error = message.error()
        if error is None:
            return message
        if error.code() in (KafkaError._PARTITION_EOF, KafkaError._AUTO_OFFSET_RESET):
            return None
        if not error.retriable():
            raise BrokerError(f"fetching a packet: {error}")
    return None
