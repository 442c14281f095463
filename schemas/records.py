"""Avro single-object encoding of our own records: the one codec of the stamp log, ledger and dead letters.

Layout (Avro 1.11 specification, "Single-object encoding"): C3 01, the schema's CRC-64-AVRO fingerprint as
eight little-endian bytes, then the schemaless body. The fingerprint makes a record say which schema wrote it.
"""

from __future__ import annotations

import io
import json
from functools import cache
from importlib.resources import files
from typing import Any, Final, cast

import fastavro
from fastavro.schema import fingerprint, to_parsing_canonical_form

from schemas.errors import RecordError

MARKER: Final = b"\xc3\x01"
HEADER_SIZE: Final = 10


@cache
def raw_schema(name: str) -> dict[str, Any]:
    """The Avro schema ``schemas/avsc/<name>.avsc`` as JSON."""
    text = files("schemas").joinpath(f"avsc/{name}.avsc").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


class RecordCodec:
    """Encodes and decodes one record type; construct once, at module level cost of one schema parse."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.schema: Any = fastavro.parse_schema(raw_schema(name))
        crc = fingerprint(to_parsing_canonical_form(raw_schema(name)), "CRC-64-AVRO")
        # fastavro prints the fingerprint's little-endian bytes as hex, in wire order
        self.header: Final = MARKER + bytes.fromhex(crc)

    def encode(self, record: dict[str, Any]) -> bytes:
        """Header and body of one record; the same record always gives the same bytes."""
        buffer = io.BytesIO()
        buffer.write(self.header)
        fastavro.schemaless_writer(buffer, self.schema, record)
        return buffer.getvalue()

    def matches(self, payload: bytes) -> bool:
        """Whether the payload says it was written with this schema."""
        return payload[:HEADER_SIZE] == self.header

    def decode(self, payload: bytes) -> dict[str, Any]:
        """The record; RecordError when the bytes are not one, are cut short or are followed by others."""
        if not self.matches(payload):
            raise RecordError(
                f"no {self.name} record: starts with {payload[:HEADER_SIZE].hex()}, expected {self.header.hex()}"
            )
        buffer = io.BytesIO(payload)
        buffer.seek(HEADER_SIZE)
        try:
            record: Any = fastavro.schemaless_reader(buffer, self.schema, None)
        except (EOFError, ValueError, IndexError, UnicodeDecodeError, OverflowError, MemoryError) as error:
            raise RecordError(f"{self.name} record of {len(payload)} bytes cannot be read: {error!r}") from error
        if buffer.tell() != len(payload):
            raise RecordError(f"{self.name} record is followed by {len(payload) - buffer.tell()} stray bytes")
        return cast(dict[str, Any], record)


@cache
def codec(name: str) -> RecordCodec:
    """The shared codec of ``schemas/avsc/<name>.avsc``."""
    return RecordCodec(name)
