"""Avro object containers as alert packets arrive in them (ZTF, our own); and what all framings share.

The header and the blocks are read here and every length they state is checked before it is believed; the records are
read by ``schemas/avro_record.py``. All damage ends in a PacketError with its reason.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from schemas.avro_record import NOTHING, RecordReader, reader_of
from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.varint import read_length, read_long

CONTAINER_MAGIC: Final = b"Obj\x01"
SYNC_SIZE: Final = 16
MAX_METADATA: Final = 100
NUM_CACHED_HEADERS: Final = 64
HEADER_KEY_SIZE: Final = 64
# of a deflated block; the largest sample archive has 40 MB in all
MAX_BLOCK_BYTES: Final = 64 << 20
_Inflate = Callable[[bytes], bytes]


class SchemaResolver(Protocol):
    """Where the schemas of Confluent ids come from that are not bundled: a registry, with its cache."""

    def schema(self, schema_id: int) -> dict[str, Any]:
        """The writer schema as JSON; SchemaUnavailable when it is not to be had just now."""


@dataclass(frozen=True, slots=True)
class AvroRecord:
    """One record with its writer schema's full name, e.g. ``ztf.alert``; schema_id: the Confluent id it stated."""

    schema_name: str
    record: Mapping[str, Any]
    schema_id: int | None = None


def iter_container(payload: bytes, *, unread: frozenset[str] = NOTHING) -> Iterator[AvroRecord]:
    """Every record of a container without the fields ``unread``; PacketError at the place where it is damaged."""
    if not payload:
        raise PacketError(DeadLetterReason.EMPTY, Stage.FRAMING, "no bytes")
    if payload[:4] != CONTAINER_MAGIC:
        detail = f"starts with {payload[:4].hex()}: no Avro object container and no Confluent wire format"
        raise PacketError(DeadLetterReason.UNKNOWN_FRAMING, Stage.FRAMING, detail)
    header = _header(payload, unread)
    position = len(header.raw)
    sync = payload[position : position + SYNC_SIZE]
    position += SYNC_SIZE
    if position > len(payload):
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, "cut short inside the header")
    while position < len(payload):
        count, block, position = _read_block(payload, position, sync, header.inflate)
        yield from _records(count, block, header.reader)


@dataclass(frozen=True, slots=True)
class _Header:
    """A container's header without its sync marker: its bytes, and what they say."""

    raw: bytes
    inflate: _Inflate
    reader: RecordReader


# by their first bytes: comparing a whole header with one that was read takes a tenth of reading it
_headers: Final[dict[tuple[bytes, frozenset[str]], _Header]] = {}


def _header(payload: bytes, unread: frozenset[str]) -> _Header:
    key = (payload[:HEADER_KEY_SIZE], unread)
    header = _headers.get(key)
    if header is not None and payload.startswith(header.raw):
        return header
    try:
        metadata, end = _read_metadata(payload, len(CONTAINER_MAGIC))
        inflate = block_codec(metadata.get(b"avro.codec", b"null"))
        schema = metadata[b"avro.schema"]
    except (ValueError, KeyError) as error:
        raise PacketError(DeadLetterReason.BAD_SCHEMA, Stage.AVRO, f"header: {_text(error)}") from error
    header = _Header(payload[:end], inflate, reader_of(schema, unread))
    if len(_headers) >= NUM_CACHED_HEADERS:
        _headers.clear()
    _headers[key] = header
    return header


def _read_metadata(payload: bytes, position: int) -> tuple[dict[bytes, bytes], int]:
    """The header's map of text to bytes; ValueError where it is damaged."""
    found: dict[bytes, bytes] = {}
    while True:
        count, position = read_long(payload, position)
        if count == 0:
            return found, position
        if count < 0:  # a block that also states its size
            count, position = -count, read_long(payload, position)[1]
        if len(found) + count > MAX_METADATA:
            raise ValueError(f"{count} entries, at most {MAX_METADATA}")
        for _ in range(count):
            start, end = read_length(payload, position)
            value_start, position = read_length(payload, end)
            found[payload[start:end]] = payload[value_start:position]


def _read_block(payload: bytes, position: int, sync: bytes, inflate: _Inflate) -> tuple[int, bytes, int]:
    """Stated number of records of the block at ``position``, its bytes and the position after it."""
    try:
        count, position = read_long(payload, position)
        start, end = read_length(payload, position)
        if count < 0:
            raise ValueError(f"a block of {count} records")
        if payload[end : end + SYNC_SIZE] != sync:
            raise ValueError("expected sync marker not found")
        return count, inflate(payload[start:end]), end + SYNC_SIZE
    except (ValueError, zlib.error) as error:
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, _text(error)) from error


def _records(count: int, block: bytes, reader: RecordReader) -> Iterator[AvroRecord]:
    position = 0
    if count * reader.min_bytes > len(block):
        detail = f"a block of {count} records in {len(block)} bytes"
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, detail)
    for _ in range(count):
        record, position = reader.read(block, position)
        yield AvroRecord(reader.schema_name, record)
    if position != len(block):
        detail = f"{len(block) - position} stray bytes after the records"
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, detail)


def block_codec(name: bytes) -> _Inflate:
    """What undoes a container's codec; ValueError when it is another than null and deflate."""
    if name == b"null":
        return bytes
    if name == b"deflate":
        return _inflate
    raise ValueError(f"codec {name!r:.40} is not read here: null or deflate")


def _inflate(block: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=-15)
    data = inflater.decompress(block, MAX_BLOCK_BYTES + 1)
    if len(data) > MAX_BLOCK_BYTES:
        raise PacketError(DeadLetterReason.TOO_LARGE, Stage.AVRO, f"a block of more than {MAX_BLOCK_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("a deflated block is cut short")
    return data


def read_container(payload: bytes, *, unread: frozenset[str] = NOTHING) -> AvroRecord:
    """The only record of a container; PacketError (record_count) when it holds none or several."""
    records = iter_container(payload, unread=unread)
    first = next(records, None)
    if first is None or next(records, None) is not None:
        count = "no record" if first is None else "several records"
        raise PacketError(DeadLetterReason.RECORD_COUNT, Stage.AVRO, f"{count} in one message, expected one")
    return first


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
