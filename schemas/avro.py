"""Avro object containers as alert packets arrive in them (ZTF, our own), one record a packet.

fastavro reads the records. What it may raise on damaged bytes is mapped here to a PacketError with its reason.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from schemas.errors import DeadLetterReason, PacketError, Stage

CONTAINER_MAGIC: Final = b"Obj\x01"
_READ_ERRORS: Final = (
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
    try:
        reader = fastavro.reader(io.BytesIO(payload))
        name = _schema_name(reader.writer_schema)
    except _READ_ERRORS as error:
        raise PacketError(DeadLetterReason.BAD_SCHEMA, Stage.AVRO, f"header: {_text(error)}") from error
    while True:
        try:
            record = next(reader, None)
        except _READ_ERRORS as error:
            raise PacketError(DeadLetterReason.BAD_CONTAINER, Stage.AVRO, _text(error)) from error
        if record is None:
            return
        if not isinstance(record, dict):
            raise PacketError(DeadLetterReason.BAD_SCHEMA, Stage.AVRO, f"a {type(record).__name__}, not a record")
        yield AvroRecord(name, record)


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
    return str(schema.get("name", "")) if isinstance(schema, dict) else ""


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"
