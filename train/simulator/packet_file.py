"""packets.kcat: packets in time order, each after its length as four bytes, big endian, as ``kcat`` dumps a topic."""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType

import numpy as np


class PacketFile:
    """Takes packets object by object; ``finish`` puts them into order of time without holding them in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._unsorted = path.with_suffix(".unsorted")
        self._file = self._unsorted.open("wb")
        self._index: list[tuple[float, int, int]] = []

    def add(self, packets: list[tuple[float, bytes]]) -> None:
        """(mjd, bytes) of one object."""
        for mjd, payload in packets:
            self._index.append((mjd, self._file.tell(), len(payload)))
            self._file.write(payload)

    def finish(self) -> None:
        """Write the file, remove the unsorted one."""
        self._file.close()
        self._index.sort()
        size = self._unsorted.stat().st_size
        unsorted = np.memmap(self._unsorted, np.uint8, "r") if size else np.zeros(0, np.uint8)
        with self._path.open("wb") as ordered:
            for _, offset, length in self._index:
                ordered.write(struct.pack(">I", length) + unsorted[offset : offset + length].tobytes())
        self._unsorted.unlink()

    def __enter__(self) -> PacketFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
