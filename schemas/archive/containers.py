"""Many-record Avro containers as a stream of one-record containers: blocks are read one at a time.

A record that is cut out keeps the container's schema, metadata and sync marker and is not compressed again, so that
the same archive always gives the same bytes.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import IO, Any, Final

import fastavro

from schemas.avro import CONTAINER_MAGIC, MAX_BLOCK_BYTES, SYNC_SIZE, block_codec
from schemas.avro_record import RecordReader, reader_of
from schemas.errors import PacketError

# A longer stretch without a sync marker than this holds no block that would be read.
SCAN_BYTES: Final = 1 << 20
_MAX_VARINT: Final = 10
# what reading a damaged header may raise
HEADER_ERRORS: Final = (
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    PacketError,
)


@dataclass(frozen=True, slots=True)
class _Container:
    """A container's header; ``head`` begins every one-record container cut out of it."""

    sync: bytes
    head: bytes
    reader: RecordReader
    inflate: Callable[[bytes], bytes]


class BlockError(ValueError):
    """A block, or the header, is not what Avro allows."""


def split_container(stream: IO[bytes], damaged: Callable[[str], None]) -> Iterator[bytes]:
    """The records of the container that ``stream`` is at the start of, each as a container of its own.

    A block that cannot be read is reported to ``damaged`` and skipped up to the next sync marker. BlockError when
    the header cannot be read. EOFError and the errors of a decompressing stream pass through.
    """
    container = _read_header(stream)
    while True:
        start = stream.tell()
        try:
            count, block = _read_block(stream, container)
        except _End:
            return
        except BlockError as error:
            damaged(f"the block at byte {start} is skipped: {error}")
            stream.seek(start)  # its stated size may have led past the next block
            if not _find(stream, container.sync):
                return
            continue
        yield from _records(block, count, container, damaged)


def holds_one_packet(payload: bytes) -> bool:
    """Whether a container is one packet, to be handed on as it is: one record, or so damaged that no second block
    can be told apart (then decoding says what is wrong with it)."""
    stream = io.BytesIO(payload)
    try:
        container = _read_header(stream)
    except BlockError:
        return True
    start = stream.tell()
    try:
        count, _ = _read_block(stream, container)
    except (BlockError, _End):
        block_end = payload.find(container.sync, start)
        return block_end < 0 or block_end + SYNC_SIZE == len(payload)
    return count <= 1 and stream.tell() == len(payload)


def _read_header(stream: IO[bytes]) -> _Container:
    try:
        if stream.read(len(CONTAINER_MAGIC)) != CONTAINER_MAGIC:
            raise BlockError("expected an Avro object container")
        metadata: Any = fastavro.schemaless_reader(stream, metadata_schema(), None)
        sync = stream.read(SYNC_SIZE)
        reader = reader_of(bytes(metadata["avro.schema"]))
        inflate = block_codec(metadata.get("avro.codec", b"null"))
    except HEADER_ERRORS as error:
        raise BlockError(f"header: {type(error).__name__}: {error}") from error
    if len(sync) != SYNC_SIZE:
        raise BlockError("cut short inside the header")
    head = io.BytesIO()
    head.write(CONTAINER_MAGIC)
    fastavro.schemaless_writer(head, metadata_schema(), metadata | {"avro.codec": b"null"})
    head.write(sync)
    return _Container(sync, head.getvalue(), reader, inflate)


@cache
def metadata_schema() -> Any:
    """The parsed schema of a container's header."""
    return fastavro.parse_schema({"type": "map", "values": "bytes"})


class _End(Exception):
    """No further block."""


def _read_block(stream: IO[bytes], container: _Container) -> tuple[int, bytes]:
    count, size = _read_long(stream, may_end=True), _read_long(stream)
    if not 0 <= size <= MAX_BLOCK_BYTES or not 0 <= count <= MAX_BLOCK_BYTES:
        raise BlockError(f"it states {count} records in {size} bytes")
    data = stream.read(size)
    if len(data) != size or stream.read(SYNC_SIZE) != container.sync:
        raise BlockError("expected sync marker not found")
    try:
        return count, container.inflate(data)
    except (ValueError, zlib.error, PacketError) as error:
        raise BlockError(f"{type(error).__name__}: {error}") from error


def _records(block: bytes, count: int, container: _Container, damaged: Callable[[str], None]) -> Iterator[bytes]:
    end = 0
    for number in range(count):
        start = end
        try:
            end = container.reader.skip(block, start)
        except PacketError as error:
            damaged(f"{count - number} records of a block are skipped: {error.detail}")
            return
        record = block[start:end]
        yield b"".join((container.head, _long_bytes(1), _long_bytes(len(record)), record, container.sync))
    if end != len(block):
        damaged(f"{len(block) - end} stray bytes after the records of a block")


def _find(stream: IO[bytes], sync: bytes) -> bool:
    """Move to just after the next sync marker; False when there is none."""
    tail = b""
    while chunk := stream.read(SCAN_BYTES):
        window = tail + chunk
        place = window.find(sync)
        if place >= 0:
            stream.seek(place + len(sync) - len(window), io.SEEK_CUR)
            return True
        tail = window[1 - len(sync) :]
    return False


def _read_long(stream: IO[bytes], *, may_end: bool = False) -> int:
    """An Avro long; _End when the stream ends before it and may."""
    value = 0
    for place in range(_MAX_VARINT):
        byte = stream.read(1)
        if not byte:
            if may_end and place == 0:
                raise _End
            raise BlockError("cut short")
        value |= (byte[0] & 0x7F) << (7 * place)
        if byte[0] < 0x80:
            return (value >> 1) ^ -(value & 1)
    raise BlockError("a length of more than ten bytes")


def _long_bytes(value: int) -> bytes:
    """Zigzag varint of a non-negative number."""
    rest = value << 1
    encoded = bytearray()
    while rest > 0x7F:
        encoded.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*encoded, rest))
