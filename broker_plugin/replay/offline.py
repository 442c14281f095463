"""Offline replay: the worker's path without a broker, from packets to record files.

A packet's number in the stream is its stamp-log offset. A part of the output holds ``part_packets`` of them. The
durable order of a part: its facts in the stores, its files under their names, the checkpoint. After a death anywhere
the part is done again from the checkpoint: the stores know the facts, so that every trigger gives the same bytes, and
the part's files are written over.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

from broker_plugin.evaluation.records import DeliveredRecord, Delivery
from broker_plugin.evaluation.stamp_archive import StampLogValue
from broker_plugin.messages import BatchResult, LogMessage
from broker_plugin.replay.batches import Batch, decoded_batches
from broker_plugin.replay.checkpoint import CHECKPOINT_NAME, WORK_FOLDER, Checkpoint
from broker_plugin.replay.classifying import PARTITION, Shards
from broker_plugin.replay.decoding import DecodedPacket, Decoder, StampedPacket, outcome_name
from broker_plugin.replay.parts import Part, remove_parts
from broker_plugin.replay.stream import PacketStream
from broker_plugin.telemetry.metrics import DEAD_LETTER
from schemas.archive.packet import Damage


@dataclass(frozen=True, slots=True)
class OfflineOptions:
    """suffix: of the record files; part_packets: packets a part; batch_packets: packets a batch."""

    suffix: str = ".avro"
    part_packets: int = 5000
    batch_packets: int = 512


class OfflineReplay:
    """Writes ``folder``; one at a time (the stores are held under locks).

    damage: the list that reading the stream adds to; it is written with the packets that follow. StoreError when
    another replay runs in the folder, or its state is gone.
    """

    def __init__(
        self,
        folder: Path,
        shards: Shards,
        decoder: Decoder,
        checkpoint: Checkpoint,
        options: OfflineOptions,
        *,
        damage: list[Damage],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._shards = shards
        self._decoder = decoder
        self._checkpoint = checkpoint
        self._options = options
        self._now = now
        self._damage = damage

    def run(self, packets: PacketStream, moved: Callable[[int], None] = lambda num_packets: None) -> None:
        """Replay what the checkpoint leaves of the stream; ``moved`` hears the number of packets done after each
        batch, those that were skipped included."""
        checkpoint, options = self._checkpoint, self._options
        if checkpoint.done:
            return
        path = self._folder / WORK_FOLDER / CHECKPOINT_NAME
        if not path.exists():
            checkpoint.shards = [0] * len(self._shards)
            checkpoint.write(path)  # from here on the folder is known to be this replay's
        stream = iter(packets)
        with closing(self._shards):
            self._shards.open(self._folder / WORK_FOLDER, checkpoint.job_id, checkpoint.shards)
            remove_parts(self._folder, first=checkpoint.num_parts)
            for number, _ in enumerate(islice(stream, checkpoint.num_packets), start=1):
                if number % options.batch_packets == 0:
                    moved(number)
            self._damage.clear()  # of the parts that are whole
            batches = decoded_batches(
                stream,
                self._decoder,
                self._damage,
                first=checkpoint.num_packets,
                batch_packets=options.batch_packets,
                part_packets=options.part_packets,
                now=self._now,
            )
            while not checkpoint.done:
                self._part(batches, moved)
                checkpoint.num_left_out = packets.num_left_out
                checkpoint.write(path)

    def _part(self, batches: Iterator[Batch], moved: Callable[[int], None]) -> None:
        """Write one part and move the checkpoint on, in memory; a batch is written while the next is classified."""
        checkpoint, options = self._checkpoint, self._options
        counts = checkpoint.counts.copy()
        start = end = checkpoint.num_packets
        batch, done = next(batches), None
        if not batch.packets and not batch.damage and checkpoint.num_parts:
            checkpoint.done = True  # the archive ended where the last part did
            return
        with Part(self._folder, checkpoint.num_parts, options.suffix) as part:
            while True:
                self._shards.submit(_messages(batch.decoded, first=end), committed=start)
                if done is not None:
                    _write(part, done)
                done = _Done(batch, self._shards.result(), first=end, published=self._now())
                counts.update(_outcomes(batch, done.result))
                end += len(batch.packets)
                moved(end)
                checkpoint.done = batch.is_last
                if checkpoint.done or end - start >= options.part_packets:
                    break
                batch = next(batches)
            _write(part, done)
        checkpoint.num_packets, checkpoint.counts, checkpoint.shards = end, counts, list(self._shards.num_stamps)
        checkpoint.num_parts += 1


@dataclass(frozen=True, slots=True)
class _Done:
    """A classified batch, the number of its first packet, and the Unix time at which its records were ready."""

    batch: Batch
    result: BatchResult
    first: int
    published: float


def _messages(decoded: Sequence[DecodedPacket], *, first: int) -> list[LogMessage]:
    return [
        LogMessage(PARTITION, first + place, packet.stamped.key, packet.stamped.value)
        for place, packet in enumerate(decoded)
        if packet.stamped is not None
    ]


def _write(part: Part, done: _Done) -> None:
    batch, first = done.batch, done.first
    for found in batch.damage:
        part.problem({"problem": "damage", **asdict(found)})
    for place, (packet, outcome) in enumerate(zip(batch.packets, batch.decoded, strict=True)):
        if outcome.stamped is not None:
            part.stamp(StampLogValue(outcome.stamped.key, first + place, outcome.stamped.value))
        elif outcome.outcome == DEAD_LETTER:
            where = {"path": packet.path, "index": packet.index}
            part.problem({"problem": DEAD_LETTER, **where, "reason": outcome.reason, "detail": outcome.detail})
    for record in done.result.records:
        trigger = batch.decoded[record.offset - first].stamped
        if record.publish and trigger is not None:
            delivery = _delivery(trigger, record.offset, done.published)
            part.record(DeliveredRecord(record.classification, delivery))


def _delivery(trigger: StampedPacket, offset: int, published: float) -> Delivery:
    """Without a time of ingest: packets wait here for their batch, so that a latency from it would mean nothing."""
    return Delivery(
        trigger_source_id=trigger.source_id,
        trigger_mjd=trigger.mjd,
        trigger_band=trigger.band,
        trigger_flux_njy=trigger.flux_njy,
        trigger_flux_err_njy=trigger.flux_err_njy,
        log_offset=offset,
        publish_time=published,
    )


def _outcomes(batch: Batch, result: BatchResult) -> Iterator[str]:
    """Names to count: ``ingest.outcome[:reason]`` of each packet, ``classify.outcome[:reason]`` of each stamp, and
    ``archive.damaged`` of each part of the archive that was skipped."""
    yield from ("archive.damaged" for _ in batch.damage)
    for packet in batch.decoded:
        yield outcome_name("ingest", packet.outcome, packet.reason)
    for outcomes in result.outcomes.values():
        for outcome in outcomes:
            yield outcome_name("classify", outcome.outcome.value, outcome.reason)
