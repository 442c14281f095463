"""Messages as they stand on Kafka: Confluent wire format, Avro object containers, or bare Avro of a stated schema.

Wire format: a zero byte, the schema id as four big-endian bytes, the Avro body to the end. An id is looked up, never
guessed: one version's body can often be read as another's, with wrong values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from schemas.avro import CONTAINER_MAGIC, AvroRecord, SchemaResolver, read_container
from schemas.avro_record import RecordReader, read_whole
from schemas.avro_schema import parse_schema
from schemas.errors import DeadLetterReason, PacketError, SchemaUnavailable, Stage
from schemas.surveys.base import HISTORIES
from schemas.surveys.lsst_wire import bundled_schema, leading_reader, read_ends

WIRE_MAGIC: Final = b"\x00"
WIRE_HEADER_SIZE: Final = 5
# Registries count ids up from 1, Rubin's are 100 * major + minor: a larger one is damage, and must not be waited for.
LARGEST_SCHEMA_ID: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class _Schema:
    """A writer schema's reader and, when it is of an LSST alert, that of its leading fields (see ``lsst_wire``)."""

    whole: RecordReader
    leading: RecordReader | None

    @classmethod
    def parse(cls, raw: Any) -> _Schema:
        """PacketError when it is no schema of a record."""
        schema = parse_schema(raw)
        return cls(RecordReader(schema, unread=HISTORIES), leading_reader(schema))

    def read(self, payload: bytes, start: int, schema_id: int | None) -> AvroRecord:
        """The body from ``start`` to the end: its ends only where that is enough, all of it otherwise."""
        try:
            record = None if self.leading is None else read_ends(self.leading, payload, start=start)
            if record is None:
                record = read_whole(self.whole, payload, start)
        except PacketError as error:
            error.schema_id = schema_id
            raise
        return AvroRecord(self.whole.schema_name, record, schema_id)


class PacketReader:
    """Reads messages of one packet each, whatever frames them. Schemas are parsed once and kept for ever.

    resolver: asked for ids that are not bundled. stated: the schema of bare Avro bodies and of wire messages whose id
    nobody knows; without one such messages are refused.
    """

    def __init__(self, resolver: SchemaResolver | None = None, stated: Any = None) -> None:
        """PacketError when the stated schema is none of a record."""
        self._resolver = resolver
        self._stated = None if stated is None else _Schema.parse(stated)
        self._schemas: dict[int, _Schema] = {}

    def read(self, payload: bytes) -> AvroRecord:
        """The packet's record; PacketError when it is at fault, SchemaUnavailable when its schema is not known."""
        if payload[:1] == WIRE_MAGIC:
            return self._read_wire(payload)
        if self._stated is not None and payload and payload[: len(CONTAINER_MAGIC)] != CONTAINER_MAGIC:
            return self._stated.read(payload, 0, None)
        return read_container(payload, unread=HISTORIES)

    def _read_wire(self, payload: bytes) -> AvroRecord:
        if len(payload) < WIRE_HEADER_SIZE:
            detail = f"{len(payload)} bytes starting with 00, expected a schema id and a body"
            raise PacketError(DeadLetterReason.UNKNOWN_FRAMING, Stage.FRAMING, detail)
        schema_id = int.from_bytes(payload[1:WIRE_HEADER_SIZE], "big")
        if schema_id > LARGEST_SCHEMA_ID:
            detail = f"starts with 00 and schema id {schema_id}, more than {LARGEST_SCHEMA_ID}"
            raise PacketError(DeadLetterReason.UNKNOWN_FRAMING, Stage.FRAMING, detail)
        return self._schema(schema_id).read(payload, WIRE_HEADER_SIZE, schema_id)

    def _schema(self, schema_id: int) -> _Schema:
        schema = self._schemas.get(schema_id)
        if schema is None:
            schema = self._schemas[schema_id] = self._find(schema_id)
        return schema

    def _find(self, schema_id: int) -> _Schema:
        raw = bundled_schema(schema_id)
        if raw is None and self._stated is not None:
            return self._stated
        if raw is None:
            if self._resolver is None:
                raise SchemaUnavailable(schema_id, "no schema registry is set")
            raw = self._resolver.schema(schema_id)
        try:
            return _Schema.parse(raw)
        except PacketError as error:
            raise SchemaUnavailable(schema_id, f"what the registry gives is not usable: {error.detail}") from error
