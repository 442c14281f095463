"""Backfill: an archive's observations on the stamp log, stored only, so that the first night's sequences are not of
length one.

Each carries the header ``stored-only``: classify stores it and it triggers nothing, whenever it is read; the same
packet from the live stream later is a duplicate. At least once: what a death sends again is a duplicate as well. The
durable order of a batch: acknowledged by the stamp log, checkpoint written.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Final

from broker_plugin.kafka.client import AckedProducer
from broker_plugin.messages import HEADER_INGEST_TIME, HEADER_STORED_ONLY
from broker_plugin.replay.batches import Batch, decoded_batches
from broker_plugin.replay.checkpoint import Checkpoint
from broker_plugin.replay.decoding import Decoder, outcome_name
from broker_plugin.replay.stream import PacketStream
from schemas.archive.packet import Damage

BATCH_PACKETS: Final = 256
STORED_ONLY: Final = b"1"


class Backfill:
    """Sends a stream's observations to ``topic``. BrokerError when Kafka fails past its retries.

    damage: the list that reading the stream adds to.
    """

    def __init__(
        self,
        producer: AckedProducer,
        topic: str,
        decoder: Decoder,
        checkpoint: Checkpoint,
        checkpoint_path: Path,
        *,
        damage: list[Damage],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._producer = producer
        self._topic = topic
        self._decoder = decoder
        self._checkpoint = checkpoint
        self._path = checkpoint_path
        self._damage = damage
        self._now = now
        self.problems: list[Damage] = []

    def run(self, packets: PacketStream, moved: Callable[[int], None] = lambda num_packets: None) -> None:
        """Send what the checkpoint leaves of the stream; ``moved`` hears the number of packets after each batch."""
        checkpoint = self._checkpoint
        if checkpoint.done:
            return
        stream = iter(packets)
        for _ in islice(stream, checkpoint.num_packets):
            pass
        self._damage.clear()
        batches = decoded_batches(
            stream,
            self._decoder,
            self._damage,
            first=checkpoint.num_packets,
            batch_packets=BATCH_PACKETS,
            part_packets=BATCH_PACKETS,
            now=self._now,
        )
        for batch in batches:
            self._send(batch)
            checkpoint.num_packets += len(batch.packets)
            checkpoint.counts.update(outcome_name("ingest", p.outcome, p.reason) for p in batch.decoded)
            checkpoint.num_left_out, checkpoint.done = packets.num_left_out, batch.is_last
            checkpoint.write(self._path)
            self.problems += batch.damage
            moved(checkpoint.num_packets)

    def _send(self, batch: Batch) -> None:
        ingested = str(int(batch.ingested * 1000)).encode()
        headers = [(HEADER_STORED_ONLY, STORED_ONLY), (HEADER_INGEST_TIME, ingested)]
        for packet in batch.decoded:
            if packet.stamped is not None:
                self._producer.produce(
                    self._topic, key=packet.stamped.key, value=packet.stamped.value, headers=headers
                )
        self._producer.flush()
