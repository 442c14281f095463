"""The stream that a replay replays: an archive, selected, ordered and disturbed, always the same for one job."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from schemas.archive.faults import Faults, disturb
from schemas.archive.packet import ArchivePacket, Damage
from schemas.archive.reader import ArchiveReader
from schemas.archive.selection import Selection
from schemas.archive.time_order import TimeIndex, remove_index
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from schemas.surveys.base import PacketHeader

Order = Literal["archive", "time"]
Timed = tuple[float | None, ArchivePacket]
"""(MJD in TAI days, packet); no MJD where it is not asked for or the packet states none."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """selection: which packets; order; faults; timed: whether packets are needed with their MJD."""

    selection: Selection = field(default_factory=Selection)
    order: Order = "archive"
    faults: Faults = field(default_factory=Faults)
    timed: bool = False


class PacketStream:
    """Iterate it once. num_left_out: packets that the selection did not take, so far.

    folder: for what an order in time keeps on disk. ``damage`` is told of what could not be read and was skipped;
    ``indexing`` is called after each packet while time order is prepared, with the share of the archive read.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        options: StreamOptions,
        *,
        folder: Path,
        damage: Callable[[Damage], None],
        indexing: Callable[[float], None] = lambda share: None,
    ) -> None:
        self._options = options
        self._folder = folder
        self._damage = damage
        self._indexing = indexing
        self._found: list[Damage] = []
        self._reader = ArchiveReader(paths, self._found.append)
        self._decoder = PacketDecoder()
        self._num_indexed = self._num_given = 0
        self.num_left_out = 0

    @property
    def job(self) -> dict[str, Any]:
        """What the stream depends on, as JSON."""
        digest = blake2b(digest_size=16)
        for path, size in self._reader.files:
            digest.update(f"{path.resolve()}\0{size}\0".encode())
        options = self._options
        selection = asdict(options.selection)
        for name in ("objects", "surveys"):
            selection[name] = sorted(selection[name])
        return {
            "files": {
                "count": len(self._reader.files),
                "bytes": self._reader.num_bytes,
                "digest": digest.hexdigest(),
            },
            "selection": selection,
            "order": options.order,
            "faults": asdict(options.faults),
        }

    @property
    def num_bytes(self) -> int:
        """Size of the archive's files."""
        return self._reader.num_bytes

    @property
    def share(self) -> float:
        """How much of the archive was given, 0 to 1."""
        if self._options.order == "time":
            return self._num_given / max(1, self._num_indexed)
        return self._reader.bytes_read / max(1, self._reader.num_bytes)

    def clean(self) -> None:
        """Delete what an order in time keeps on disk: once nothing is left to replay."""
        remove_index(self._folder)

    def __iter__(self) -> Iterator[Timed]:
        if self._options.order == "time":
            yield from disturb(self._in_time_order(), self._options.faults)
        else:
            yield from disturb(self._counted(self._selected()), self._options.faults)

    def _counted(self, packets: Iterator[Timed]) -> Iterator[Timed]:
        for item in packets:
            self._tell()
            self._num_given += 1
            yield item
        self._tell()

    def _tell(self) -> None:
        """Pass on what was found damaged since the last packet."""
        while self._found:
            self._damage(self._found.pop(0))

    def _selected(self) -> Iterator[Timed]:
        options = self._options
        looks = options.timed or options.order == "time" or not options.selection.takes_all
        for packet in self._reader:
            header = self._header(packet) if looks else None
            if options.selection.takes_all or (header is not None and options.selection.takes(header)):
                yield (None if header is None else header.identity.mjd), packet
            else:
                self.num_left_out += 1

    def _header(self, packet: ArchivePacket) -> PacketHeader | None:
        try:
            return self._decoder.read_header(packet.payload)
        except (PacketError, SchemaUnavailable):
            return None

    def _in_time_order(self) -> Iterator[Timed]:
        with TimeIndex(self._folder) as index:
            if not index.complete:
                packets = self._watched(self._selected())
                index.build(packets, damage=self._found, num_left_out=lambda: self.num_left_out)
            self._found[:] = index.damage()
            self._num_indexed, self.num_left_out = len(index), index.num_left_out
            yield from self._counted(iter(index))

    def _watched(self, packets: Iterator[Timed]) -> Iterator[Timed]:
        for item in packets:
            self._indexing(self._reader.bytes_read / max(1, self._reader.num_bytes))
            yield item
