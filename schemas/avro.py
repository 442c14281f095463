"""Avro object containers as alert packets arrive in them (ZTF, our own), one record a packet.

The header and the blocks are read here, so that a schema is parsed once however many packets state it; fastavro reads
the records. What it may raise on damaged bytes is mapped here to a PacketError with its reason.
"""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from schemas.errors import DeadLetterReason, PacketError, Stage

CONTAINER_MAGIC: Final = b"Obj\x01"
SYNC_SIZE: Final = 16
NUM_CACHED_SCHEMAS: Final = 64
# of a deflated block; the largest sample archive has 40 MB in all
MAX_BLOCK_BYTES: Final = 64 << 20
_Inflate = Callable[[bytes], bytes]
READ_ERRORS: Final = (
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
    StopIteration,
    UnicodeDecodeError,
    SchemaParseException,
    UnknownType,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class AvroRecord:
    """One record with its writer schema's full name, e.g. ``ztf.alert``."""

    schema_name: str
    record: Mapping[str, Any]


def iter_container(payload: bytes) -> Iterator[AvroRecord]:
    """Every record of a container; PacketError at the place where it is damaged."""
    if not payload:
        raise PacketError(DeadLetterReason.EMPTY, Stage.FRAMING, "no bytes")
    if payload[:4] != CONTAINER_MAGIC:
        detail = f"starts with {payload[:4].hex()}, expected an Avro object container"
        raise PacketError(DeadLetterReason.UNKNOWN_FRAMING, Stage.FRAMING, detail)
    stream = io.BytesIO(payload)
    stream.seek(len(CONTAINER_MAGIC))
    try:
        metadata = _read(stream, metadata_schema())
        sync = stream.read(SYNC_SIZE)
        writer = writer_schema(bytes(metadata["avro.schema"]))
        inflate = block_codec(metadata.get("avro.codec", b"null"))
    except READ_ERRORS as error:
        raise PacketError(DeadLetterReason.BAD_SCHEMA, Stage.AVRO, f"header: {_text(error)}") from error
    if len(sync) != SYNC_SIZE:
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, "cut short inside the header")
    while stream.tell() < len(payload):
        yield from _records(stream, sync, writer, inflate)


def _records(
    stream: io.BytesIO, sync: bytes, writer: WriterSchema, inflate: Callable[[bytes], bytes]
) -> Iterator[AvroRecord]:
    """The records of one block; its stated size is checked before it is believed."""
    try:
        count, size = _read(stream, _long_schema()), _read(stream, _long_schema())
        left = len(stream.getbuffer()) - stream.tell()
        if not 0 <= size <= left - SYNC_SIZE or not 0 <= count <= MAX_BLOCK_BYTES:
            raise ValueError(f"a block of {count} records in {size} bytes, where {left} are left")
        block = inflate(stream.read(size))
        if stream.read(SYNC_SIZE) != sync:
            raise ValueError("expected sync marker not found")
        body = io.BytesIO(block)
        for _ in range(count):
            record = _read(body, writer.schema)
            if not isinstance(record, dict):
                raise ValueError(f"a {type(record).__name__}, not a record")
            yield AvroRecord(writer.name, record)
        if body.tell() != len(block):
            raise ValueError(f"{len(block) - body.tell()} stray bytes after the records")
    except READ_ERRORS as error:
        raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, _text(error)) from error


@dataclass(frozen=True, slots=True)
class WriterSchema:
    """A parsed writer schema and its name."""

    name: str
    schema: Any


def _read(stream: io.BytesIO, schema: Any) -> Any:
    return fastavro.schemaless_reader(stream, schema, None)


@cache
def metadata_schema() -> Any:
    """The parsed schema of a container's header."""
    return fastavro.parse_schema({"type": "map", "values": "bytes"})


@cache
def _long_schema() -> Any:
    return fastavro.parse_schema({"type": "long"})


@lru_cache(maxsize=NUM_CACHED_SCHEMAS)
def writer_schema(text: bytes) -> WriterSchema:
    """The schema that a header states. Parsing it is most of a ZTF packet's decode time, and a night has one."""
    raw = json.loads(text)
    return WriterSchema(_schema_name(raw), fastavro.parse_schema(raw))


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
        raise ValueError(f"a block of more than {MAX_BLOCK_BYTES} bytes")
    if not inflater.eof:
        raise ValueError("a deflated block is cut short")
    return data


def read_container(payload: bytes) -> AvroRecord:
    """The only record of a container; PacketError (record_count) when it holds none or several."""
    records = iter_container(payload)
    first = next(records, None)
    if first is None or next(records, None) is not None:
        count = "no record" if first is None else "several records"
        raise PacketError(DeadLetterReason.RECORD_COUNT, Stage.AVRO, f"{count} in one message, expected one")
    return first


def _schema_name(schema: Any) -> str:
    if isinstance(schema, list):  # a union at the top, as some re-written archives have
        schema = next((branch for branch in schema if isinstance(branch, dict) and branch.get("name")), {})
    if not isinstance(schema, dict):
        return ""
    name, namespace = str(schema.get("name", "")), schema.get("namespace")
    return f"{namespace}.{name}" if namespace and "." not in name else name


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
