"""Archived alert packets as stamp-log values, through the decoder that the worker uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from schemas.archive.packet import Damage
from schemas.archive.reader import ArchiveReader
from schemas.cuts import Cuts
from schemas.decode import PacketDecoder
from schemas.errors import PacketError
from schemas.outcome import Filtered


def archived_facts(
    paths: Sequence[Path], *, cuts: Cuts, counts: Counter[str], damage: Callable[[Damage], None]
) -> Iterator[bytes]:
    """The value that each packet would have in the stamp log. ``counts`` takes what becomes of the packets:
    ``stamped``, ``filtered: REASON``, ``faulty: REASON``; ``damage`` is told what of the archive cannot be read."""
    decoder = PacketDecoder(cuts=cuts)
    for packet in ArchiveReader(paths, damage):
        try:
            outcome = decoder.decode(packet.payload)
        except PacketError as error:
            counts[f"faulty: {error.reason}"] += 1
            continue
        if isinstance(outcome, Filtered):
            counts[f"filtered: {outcome.reason}"] += 1
            continue
        counts["stamped"] += 1
        yield outcome.fact.to_bytes()
