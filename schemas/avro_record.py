"""Reads one record of a writer schema: walked and checked first, then only the wanted fields are read.

The walk (``schemas/avro_skip.py``) finds where each run of fields ends; fastavro then reads the wanted runs from
bytes that are known to hold them. Compiled once a schema, kept by its text.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any, Final

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from schemas.avro_schema import Node, definition, load_schema, refused
from schemas.avro_skip import Budget, Skip, SkipCompiler
from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.varint import read_long

NUM_CACHED_READERS: Final = 64
NOTHING: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True)
class _Run:
    """Neighbouring fields that are all read, or all left out (``schema`` is None)."""

    skip: Skip
    schema: Any


class RecordReader:
    """Reads records of one schema. schema_name: full name of the record, e.g. ``ztf.alert``.

    A top-level union is read as whichever of its records the data says.
    """

    def __init__(self, schema: Node, *, unread: frozenset[str] = NOTHING) -> None:
        self._is_union = schema.kind == "union"
        branches = [node for _, node in schema.children] if self._is_union else [schema]
        records = [node for node in branches if node.kind == "record"]
        if not records:
            raise refused(f"a {schema.kind} at the top, not a record")
        self.schema_name = records[0].name
        self.min_bytes = max(1, schema.min_bytes)
        compiler = SkipCompiler()
        self._branches = [
            _runs(node, compiler, unread) if node.kind == "record" and node.min_bytes else None for node in branches
        ]

    def read(self, data: bytes, position: int = 0) -> tuple[dict[str, Any], int]:
        """The wanted fields of the record at ``position`` and the position after it; PacketError bad_avro."""
        try:
            return self._read(data, position, wanted=True)
        except (ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError) as error:
            detail = str(error)[:200] or type(error).__name__
            raise PacketError(DeadLetterReason.BAD_AVRO, Stage.AVRO, detail) from error

    def skip(self, data: bytes, position: int = 0) -> int:
        """The position after the record at ``position``, which is checked and not read; PacketError bad_avro."""
        try:
            return self._read(data, position, wanted=False)[1]
        except ValueError as error:
            raise PacketError(DeadLetterReason.BAD_AVRO, Stage.AVRO, str(error)[:200]) from error

    def _read(self, data: bytes, position: int, *, wanted: bool) -> tuple[dict[str, Any], int]:
        branch = 0
        if self._is_union:
            branch, position = read_long(data, position)
            if not 0 <= branch < len(self._branches):
                raise ValueError(f"branch {branch} of a union of {len(self._branches)}")
        runs = self._branches[branch]
        if runs is None:
            raise ValueError(f"branch {branch} of the schema is no record, or an empty one")
        record: dict[str, Any] = {}
        budget = Budget()
        buffer = io.BytesIO(data)
        for run in runs:
            end = run.skip(data, position, budget)
            if wanted and run.schema is not None:
                buffer.seek(position)
                record |= fastavro.schemaless_reader(buffer, run.schema, None)  # type: ignore[arg-type]
                if buffer.tell() != end:
                    raise ValueError(f"two readings of the bytes from {position} end at {end} and {buffer.tell()}")
            position = end
        return record, position


def _runs(record: Node, compiler: SkipCompiler, unread: frozenset[str]) -> list[_Run]:
    found = []
    for left_out, group in groupby(record.children, key=lambda field: field[0] in unread):
        fields = tuple(group)
        try:
            schema = None if left_out else fastavro.parse_schema(definition("fields", fields))
        except (SchemaParseException, UnknownType, ValueError, TypeError, KeyError) as error:
            raise refused(f"{type(error).__name__}: {str(error)[:100]}") from error
        found.append(_Run(compiler.compile([node for _, node in fields]), schema))
    return found


@lru_cache(maxsize=NUM_CACHED_READERS)
def reader_of(text: bytes, unread: frozenset[str] = NOTHING) -> RecordReader:
    """The reader of a schema's JSON text, kept: parsing is most of the time that a packet takes, and a night has one
    schema. ``unread``: top-level fields to leave out. PacketError bad_schema or too_large."""
    return RecordReader(load_schema(text), unread=unread)


def read_whole(reader: RecordReader, body: bytes, position: int = 0) -> dict[str, Any]:
    """The record that fills ``body`` from ``position`` to its end; PacketError bad_avro, trailing_bytes."""
    record, end = reader.read(body, position)
    if end != len(body):
        detail = f"{len(body) - end} bytes after the record"
        raise PacketError(DeadLetterReason.TRAILING_BYTES, Stage.AVRO, detail)
    return record
