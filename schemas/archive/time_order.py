"""An archive in time order, in bounded memory: an index on disk of when each packet is and where its bytes stand.

Packets that stand verbatim in a file (one-packet files, members of an uncompressed tar, messages of a dump) are read
from there again; all others are copied once into ``spill.bin`` beside the index, so that room is needed for them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Final

from schemas.archive.packet import ArchivePacket, Damage, Extent

INDEX_NAME: Final = "order.sqlite"
SPILL_NAME: Final = "spill.bin"
_LAYOUT: Final = """
CREATE TABLE packets (
    place INTEGER PRIMARY KEY, mjd REAL, path TEXT NOT NULL, number INTEGER NOT NULL,
    file TEXT NOT NULL, offset INTEGER NOT NULL, size INTEGER NOT NULL);
CREATE TABLE damage (path TEXT NOT NULL, detail TEXT NOT NULL);
CREATE TABLE left_out (number INTEGER NOT NULL);
"""


class TimeIndex:
    """The index in ``folder``, kept between runs; built in one transaction, so that it is whole or not there."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path, self._spill = folder / INDEX_NAME, folder / SPILL_NAME
        self._connection = sqlite3.connect(self._path, isolation_level=None)

    def __enter__(self) -> TimeIndex:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    @property
    def complete(self) -> bool:
        """Whether it is built."""
        return _is_built(self._connection)

    def __len__(self) -> int:
        return int(self._connection.execute("SELECT count(*) FROM packets").fetchone()[0])

    def damage(self) -> list[Damage]:
        """What was skipped when the index was built."""
        return [Damage(*row) for row in self._connection.execute("SELECT path, detail FROM damage ORDER BY rowid")]

    @property
    def num_left_out(self) -> int:
        """Packets that were not taken into the index."""
        return int(self._connection.execute("SELECT number FROM left_out").fetchone()[0])

    def build(
        self,
        packets: Iterable[tuple[float | None, ArchivePacket]],
        *,
        damage: list[Damage],
        num_left_out: Callable[[], int],
    ) -> None:
        """Index every (MJD or None, packet); damage, num_left_out: what reading the packets leads to besides."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for statement in _LAYOUT.split(";"):
            connection.execute(statement)
        with self._spill.open("wb") as spill:
            rows = (
                (place, mjd, packet.path, packet.index, *self._stored(packet, spill))
                for place, (mjd, packet) in enumerate(packets)
            )
            connection.executemany("INSERT INTO packets VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("INSERT INTO damage VALUES (?, ?)", [(d.path, d.detail) for d in damage])
        connection.execute("INSERT INTO left_out VALUES (?)", (num_left_out(),))
        connection.execute("CREATE INDEX by_time ON packets (mjd IS NULL, mjd, place)")
        connection.execute("COMMIT")

    def _stored(self, packet: ArchivePacket, spill: IO[bytes]) -> tuple[str, int, int]:
        if packet.extent is not None:
            return str(packet.extent.path), packet.extent.offset, packet.extent.size
        offset = spill.tell()
        spill.write(packet.payload)
        return str(self._spill), offset, len(packet.payload)

    def __iter__(self) -> Iterator[tuple[float | None, ArchivePacket]]:
        """(MJD, packet) in time order, packets of one time in archive order, those without a time last."""
        rows = self._connection.execute(
            "SELECT mjd, path, number, file, offset, size FROM packets ORDER BY mjd IS NULL, mjd, place"
        )
        file: IO[bytes] | None = None
        try:
            for mjd, path, number, name, offset, size in rows:
                if file is None or file.name != name:
                    if file is not None:
                        file.close()
                    file = open(name, "rb")  # noqa: SIM115  # stays open for the next packet of the same file
                file.seek(offset)
                yield mjd, ArchivePacket(path, number, file.read(size), Extent(Path(name), offset, size))
        finally:
            if file is not None:
                file.close()


def remove_index(folder: Path) -> None:
    """Delete what ``TimeIndex`` keeps in ``folder``, if anything."""
    for name in (INDEX_NAME, SPILL_NAME, f"{INDEX_NAME}-journal"):
        (folder / name).unlink(missing_ok=True)


def _is_built(connection: sqlite3.Connection) -> bool:
    """Whether the last statement of ``build`` was done and committed."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'by_time'").fetchone() is not None
