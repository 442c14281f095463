"""Replay into a Kafka topic, each packet exactly once however often the replay is interrupted.

Packets are sent in transactions, and each carries its job and its number in the stream as headers. The durable order
of a batch: transaction committed, checkpoint written. After a death the transaction that was open is rolled back, or
done, by the next run; that run then reads the topic from the checkpoint's places on, and goes on after the largest
number it finds. Readers have to be ``read_committed``, as the worker is.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from confluent_kafka import KafkaException, TopicPartition

from broker_plugin.kafka.client import open_consumer
from broker_plugin.kafka.delivery import TransactionalProducer
from broker_plugin.kafka.topic_reader import read_topic
from broker_plugin.kafka.topics import num_partitions
from broker_plugin.replay.checkpoint import Checkpoint
from broker_plugin.replay.stream import PacketStream, Timed
from broker_plugin.settings.sections import Connection, WorkerSettings
from schemas.decode import PacketDecoder
from schemas.errors import BrokerError, PacketError, SchemaUnavailable

HEADER_JOB: Final = "replay-job"
HEADER_NUMBER: Final = "replay-number"
BATCH_PACKETS: Final = 500
# A transaction is open for at most so long while packets wait for their time.
BATCH_S: Final = 0.5
# How often the topic's end is asked for: a resumed replay reads what was sent since.
PLACES_EVERY_S: Final = 10.0
BROKER_TIMEOUT_S: Final = 30.0
DAY_S: Final = 86_400.0


@dataclass(slots=True)
class Pace:
    """When packets are due: ``speed`` 1 keeps the time between their exposures, 60 makes an hour a minute, None does
    not wait. The first packet is due at once; one that states no time, or an earlier one, is due at once as well."""

    speed: float | None
    timer: Callable[[], float] = time.monotonic
    _first_mjd: float | None = None
    _started: float = 0.0

    def wait_s(self, mjd: float | None) -> float:
        """Seconds until a packet is due, 0 when it is."""
        if self.speed is None or mjd is None:
            return 0.0
        if self._first_mjd is None:
            self._first_mjd, self._started = mjd, self.timer()
        due = self._started + (mjd - self._first_mjd) * DAY_S / self.speed
        return max(0.0, due - self.timer())


class KafkaReplay:
    """Sends a stream to ``topic``. BrokerError when Kafka fails past its retries, or another run of the same job
    takes over."""

    def __init__(
        self,
        connection: Connection,
        worker: WorkerSettings,
        topic: str,
        checkpoint: Checkpoint,
        checkpoint_path: Path,
        *,
        pace: Pace,
        max_message_bytes: int,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._checkpoint = checkpoint
        self._path = checkpoint_path
        self._pace = pace
        self._sleep = sleep
        self._job = checkpoint.job_id.encode()
        self._producer = TransactionalProducer(
            connection,
            worker,
            max_message_bytes=max_message_bytes,
            transactional_id=f"convention-replay-{checkpoint.job_id}",
        )
        self._reader = open_consumer(connection, {"group.id": "convention-reader"})
        self._decoder = PacketDecoder()
        self._places_due = 0.0
        self._held: Timed | None = None

    def run(self, packets: PacketStream, moved: Callable[[int], None] = lambda num_packets: None) -> None:
        """Send what is left of the stream; ``moved`` hears the number of packets sent after each batch."""
        checkpoint = self._checkpoint
        if checkpoint.done:
            return
        self._producer.open()
        self._find_end()
        stream = iter(packets)
        for _ in islice(stream, checkpoint.num_packets):
            pass
        while not checkpoint.done:
            self._batch(stream)
            checkpoint.num_left_out = packets.num_left_out
            self._note_places()
            checkpoint.write(self._path)
            moved(checkpoint.num_packets)

    def close(self) -> None:
        """Let the connection go."""
        self._reader.close()

    def _batch(self, stream: Iterator[Timed]) -> None:
        """Wait for the next packet's time, and send it and those that are due with it in one transaction."""
        checkpoint = self._checkpoint
        first = number = checkpoint.num_packets
        deadline = math.inf
        while number - first < BATCH_PACKETS and time.monotonic() < deadline:
            item, self._held = self._held or next(stream, None), None
            if item is None:
                checkpoint.done = True
                break
            mjd, packet = item
            wait_s = self._pace.wait_s(mjd)
            if wait_s and number > first:
                self._held = item
                break
            self._sleep(wait_s)
            if number == first:
                self._producer.begin()
                deadline = time.monotonic() + BATCH_S
            checkpoint.readable = checkpoint.readable or self._can_read(packet.payload)
            headers = [(HEADER_JOB, self._job), (HEADER_NUMBER, str(number).encode())]
            self._producer.produce(self._topic, key=None, value=packet.payload, headers=headers)
            number += 1
        if number > first:
            self._producer.flush()
            if not self._producer.commit(self._reader, []):
                raise BrokerError(f"{self._topic}: packets {first} to {number - 1} were rolled back: start again")
        checkpoint.num_packets = number

    def _can_read(self, payload: bytes) -> bool:
        """Whether a worker may make something of a packet; one whose schema only its registry knows counts."""
        try:
            self._decoder.decode(payload)
        except PacketError:
            return False
        except SchemaUnavailable:
            return True
        return True

    def _find_end(self) -> None:
        """Count what an earlier run sent after its last checkpoint; a first run notes where the topic ends."""
        checkpoint = self._checkpoint
        if not checkpoint.places:
            self._note_places()
            checkpoint.write(self._path)
            return
        starts = {int(partition): offset for partition, offset in checkpoint.places.items()}
        for message in read_topic(self._connection, self._topic, starts=starts):
            headers: dict[str, bytes] = dict(message.headers() or ())  # type: ignore[arg-type]
            if headers.get(HEADER_JOB) == self._job:
                checkpoint.num_packets = max(checkpoint.num_packets, int(headers[HEADER_NUMBER]) + 1)

    def _note_places(self) -> None:
        """Note the topic's ends: everything sent so far lies before them."""
        if time.monotonic() < self._places_due:
            return
        self._places_due = time.monotonic() + PLACES_EVERY_S
        partitions = range(num_partitions(self._connection, self._topic))
        try:
            ends = [
                self._reader.get_watermark_offsets(TopicPartition(self._topic, partition), timeout=BROKER_TIMEOUT_S)
                for partition in partitions
            ]
        except KafkaException as error:
            raise BrokerError(f"{self._topic}: {error}") from error
        self._checkpoint.places = {str(p): int(end[1]) for p, end in zip(partitions, ends, strict=True) if end}
