"""A stream in batches, decoded: one batch is decoded while its user works on the one before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice

from broker_plugin.replay.decoding import DecodedPacket, Decoder
from broker_plugin.replay.stream import Timed
from schemas.archive.packet import ArchivePacket, Damage


@dataclass(slots=True)
class Batch:
    """Packets read together, the damage met while reading them, the Unix time of that, and what they became."""

    packets: list[ArchivePacket]
    damage: list[Damage]
    is_last: bool
    ingested: float
    decoded: list[DecodedPacket] = field(default_factory=list)


def decoded_batches(
    stream: Iterator[Timed],
    decoder: Decoder,
    damage: list[Damage],
    *,
    first: int,
    batch_packets: int,
    part_packets: int,
    now: Callable[[], float],
) -> Iterator[Batch]:
    """The stream, whose next packet is number ``first``, in batches of ``batch_packets`` that end where a part of
    ``part_packets`` does; the last one may be empty. damage: the list that reading the stream adds to."""
    ahead: Batch | None = None
    while ahead is None or not ahead.is_last:
        size = min(batch_packets, part_packets - first % part_packets)
        packets = [packet for _, packet in islice(stream, size)]
        met, damage[:] = list(damage), []
        first += len(packets)
        if ahead is not None:
            ahead.decoded = decoder.result()
        decoder.submit([packet.payload for packet in packets])
        if ahead is not None:
            yield ahead
        ahead = Batch(packets, met, is_last=len(packets) < size, ingested=now())
    ahead.decoded = decoder.result()
    yield ahead
