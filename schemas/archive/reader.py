"""ArchiveReader: every packet of files, folders, tars, containers and Kafka dumps, as a stream in archive order.

What a file holds is told by its first bytes:
    1f 8b                  gzip: what is inside is read on, so tar.gz and .avro.gz work
    "ustar" at byte 257    a tar (ZTF's nightly form: one packet a member)
    "Obj" 01               an Avro object container, of one record (one packet as it is) or of many
    anything else          one packet as it is, e.g. one Kafka message in Confluent wire format
and by its name where that cannot: ``*.kcat`` is a dump of Kafka messages, each after its length as four bytes, big
endian, as ``kcat -C -e -t TOPIC -f '%R%s'`` writes it.

Files are read in the order given, a folder's in the order of their names; a folder's files that are no packets by
their names (OTHER_SUFFIXES: tables, settings, texts, training sequences) are passed over. What cannot be read is
reported and skipped; nothing larger than MAX_MEMBER_BYTES is held in memory.
"""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, cast

from schemas.archive.containers import BlockError, holds_one_packet, split_container
from schemas.archive.packet import ArchivePacket, Damage, Extent
from schemas.avro import CONTAINER_MAGIC
from schemas.errors import ArchiveError, SettingsError

MAX_MEMBER_BYTES: Final = 64 << 20
# A container up to this size is looked at whole, to see whether it is one packet.
SMALL_BYTES: Final = 4 << 20
TAR_BLOCK: Final = 512
MAX_NESTING: Final = 3
# a truth table, a README, a set of training sequences beside the packets
OTHER_SUFFIXES: Final = frozenset(
    f".{name}" for name in ("csv", "f2", "html", "json", "md", "npy", "npz", "parquet", "rec", "toml", "txt", "valid")
)
_GZIP_MAGIC: Final = b"\x1f\x8b"
_TAR_MAGIC: Final = (b"ustar", 257)
_LONG_NAME: Final = b"L"
_STREAM_ERRORS: Final = (OSError, EOFError, zlib.error)


class ArchiveReader:
    """Iterate it for the packets, once. ``damage`` is told of what is skipped.

    num_bytes: size of all files; bytes_read: how far reading has come in them, compressed bytes where compressed.
    SettingsError when a path does not exist, ArchiveError when there is no file in them.
    """

    def __init__(self, paths: Sequence[Path], damage: Callable[[Damage], None]) -> None:
        self.files = list_files(paths)
        if not self.files:
            raise ArchiveError(f"{', '.join(map(str, paths))}: holds no file")
        self.num_bytes = sum(size for _, size in self.files)
        self._damage = damage
        self._done = 0
        self._file: IO[bytes] | None = None

    @property
    def bytes_read(self) -> int:
        """See the class."""
        return self._done + (self._file.tell() if self._file is not None and not self._file.closed else 0)

    def __iter__(self) -> Iterator[ArchivePacket]:
        for path, size in self.files:
            try:
                with path.open("rb") as self._file:
                    yield from self._stream(str(path), self._file, Extent(path, 0, size), 0)
            except _STREAM_ERRORS as error:
                self._damage(Damage(str(path), f"the rest of the file is skipped: {_text(error)}"))
            self._file = None
            self._done += size

    def _stream(self, name: str, stream: IO[bytes], extent: Extent | None, depth: int) -> Iterator[ArchivePacket]:
        """The packets of what ``stream`` holds; extent: where that stands verbatim in a file."""
        start = stream.tell()
        head = stream.read(TAR_BLOCK)
        stream.seek(start)
        if depth > MAX_NESTING:
            self._damage(Damage(name, f"archives within archives, more than {MAX_NESTING} deep"))
        elif head.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=stream) as inner:
                yield from self._stream(_inner_name(name), cast(IO[bytes], inner), None, depth + 1)
        elif head.startswith(*_TAR_MAGIC) or name.endswith(".tar"):
            yield from self._tar(name, stream, extent, depth)
        elif name.endswith(".kcat"):
            yield from self._messages(name, stream, extent)
        elif head.startswith(CONTAINER_MAGIC):
            yield from self._container(name, stream, extent)
        else:
            yield from self._packet(name, stream, extent)

    def _packet(self, name: str, stream: IO[bytes], extent: Extent | None) -> Iterator[ArchivePacket]:
        payload = stream.read(MAX_MEMBER_BYTES + 1)
        if len(payload) > MAX_MEMBER_BYTES:
            self._damage(Damage(name, f"neither an archive nor a packet: more than {MAX_MEMBER_BYTES} bytes"))
            return
        yield ArchivePacket(name, 0, payload, extent)

    def _container(self, name: str, stream: IO[bytes], extent: Extent | None) -> Iterator[ArchivePacket]:
        start = stream.tell()
        payload = stream.read(SMALL_BYTES + 1)
        if len(payload) <= SMALL_BYTES:
            if holds_one_packet(payload):
                yield ArchivePacket(name, 0, payload, extent)
                return
            stream = io.BytesIO(payload)
        else:
            del payload
            stream.seek(start)
        try:
            records = split_container(stream, lambda detail: self._damage(Damage(name, detail)))
            for index, record in enumerate(records):
                yield ArchivePacket(name, index, record)
        except BlockError as error:
            self._damage(Damage(name, f"the container is skipped: {error}"))

    def _messages(self, name: str, stream: IO[bytes], extent: Extent | None) -> Iterator[ArchivePacket]:
        index, place = 0, 4
        while length := stream.read(4):
            size = int.from_bytes(length, signed=True)
            payload = stream.read(size) if 0 <= size <= MAX_MEMBER_BYTES else b""
            if len(length) < 4 or len(payload) < size or size > MAX_MEMBER_BYTES:
                self._damage(Damage(name, f"message {index} at byte {place - 4} is cut short: the rest is skipped"))
                return
            size = max(size, 0)  # -1: a message without a value
            here = None if extent is None else Extent(extent.path, extent.offset + place, size)
            yield ArchivePacket(name, index, payload, here)
            index, place = index + 1, place + size + 4

    def _tar(self, name: str, stream: IO[bytes], extent: Extent | None, depth: int) -> Iterator[ArchivePacket]:
        place = lost = 0
        long_name: str | None = None
        while block := stream.read(TAR_BLOCK):
            place += len(block)
            header = _tar_header(block)
            if header is None:
                lost += 0 if block.count(0) == TAR_BLOCK else len(block)
                continue
            if lost:
                self._damage(Damage(name, f"{lost} bytes before byte {place - TAR_BLOCK} are no tar member: skipped"))
                lost = 0
            member = f"{name}!{long_name or header.name}"
            padded = -(-header.size // TAR_BLOCK) * TAR_BLOCK
            if header.size > MAX_MEMBER_BYTES:
                self._damage(Damage(member, f"{header.size} bytes, more than {MAX_MEMBER_BYTES}: skipped"))
                stream.seek(padded, io.SEEK_CUR)
            else:
                data = stream.read(padded)[: header.size]
                if len(data) < header.size:
                    self._damage(Damage(member, f"cut short after {len(data)} of {header.size} bytes: skipped"))
                    return
                if header.isreg():
                    here = None if extent is None else Extent(extent.path, extent.offset + place, header.size)
                    yield from self._stream(member, io.BytesIO(data), here, depth + 1)
                long_name = data.rstrip(b"\0").decode(errors="replace") if header.type == _LONG_NAME else None
            place += padded
        if lost:
            self._damage(Damage(name, f"the last {lost} bytes are no tar member: skipped"))


def list_files(paths: Sequence[Path]) -> list[tuple[Path, int]]:
    """Every file of the paths with its size, a folder's sorted by name at each level; links are not followed into
    folders. A folder's files of OTHER_SUFFIXES are left out. SettingsError names a path that does not exist."""
    return [(path, path.stat().st_size) for path, is_packet in _walk(paths) if is_packet]


def passed_over(paths: Sequence[Path]) -> list[Path]:
    """Files in folders that ``list_files`` leaves out, since their names say that they are no packets."""
    return [path for path, is_packet in _walk(paths) if not is_packet]


def _walk(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    for path in paths:
        if path.is_file():
            yield path, True
        elif path.is_dir():
            for folder, subfolders, names in os.walk(path):
                subfolders.sort()
                found = (Path(folder, name) for name in sorted(names))
                yield from ((file, file.suffix not in OTHER_SUFFIXES) for file in found if file.is_file())
        else:
            raise SettingsError(f"{path}: no such file or folder")


def _tar_header(block: bytes) -> tarfile.TarInfo | None:
    """The member that a tar block announces, None when it is no header (zeros, data, damage)."""
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None


def _inner_name(name: str) -> str:
    if name.endswith(".tgz"):
        return f"{name.removesuffix('.tgz')}.tar"
    return name.removesuffix(".gz")


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
