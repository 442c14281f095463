"""Hostile schemas and bodies: refused with a reason, at once."""

from __future__ import annotations

import io
import json
import time
from typing import Any

import fastavro
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.avro import read_container
from schemas.avro_record import RecordReader, read_whole, reader_of
from schemas.avro_schema import parse_schema
from schemas.errors import DeadLetterReason, PacketError
from tests.schemas import hostile

LIMIT_S = 5.0


@pytest.mark.parametrize("name", hostile.PACKETS)
def test_hostile_packets_are_refused_at_once(name: str) -> None:
    """Each ends in a PacketError with its reason, in seconds."""
    packet, reason = hostile.PACKETS[name]
    started = time.perf_counter()
    with pytest.raises(PacketError) as error:
        read_container(packet)
    assert error.value.reason.value == reason, error.value
    assert time.perf_counter() - started < LIMIT_S


PRIMITIVES: dict[str, st.SearchStrategy[Any]] = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(2**31), 2**31 - 1),
    "long": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(width=32, allow_nan=False),
    "double": st.floats(allow_nan=False),
    "bytes": st.binary(max_size=150),
    "string": st.text(max_size=80),
}
Typed = tuple[Any, st.SearchStrategy[Any]]


def _typed(names: st.SearchStrategy[str]) -> st.SearchStrategy[Typed]:
    """A schema and the values it takes."""
    primitive = st.sampled_from(sorted(PRIMITIVES)).map(lambda kind: (kind, PRIMITIVES[kind]))
    enum = names.map(lambda n: ({"type": "enum", "name": n, "symbols": ["A", "B"]}, st.sampled_from(["A", "B"])))
    fixed = names.map(lambda n: ({"type": "fixed", "name": n, "size": 3}, st.binary(min_size=3, max_size=3)))

    def grow(inner: st.SearchStrategy[Typed]) -> st.SearchStrategy[Typed]:
        sized = inner.filter(lambda pair: pair[0] != "null")
        array = sized.map(lambda pair: (hostile.array(pair[0]), st.lists(pair[1], max_size=4)))
        mapping = inner.map(
            lambda pair: (
                {"type": "map", "values": pair[0]},
                st.dictionaries(st.text(max_size=3), pair[1], max_size=3),
            )
        )
        nullable = sized.filter(lambda pair: not isinstance(pair[0], list)).map(
            lambda pair: (["null", pair[0]], st.none() | pair[1])
        )
        record = st.tuples(names, st.lists(inner, min_size=1, max_size=5)).map(lambda pair: _record(*pair))
        return array | mapping | nullable | record.filter(lambda pair: not _is_empty(pair[0]))

    return st.recursive(primitive | enum | fixed, grow, max_leaves=12)


def _record(name: str, fields: list[Typed]) -> Typed:
    values = st.fixed_dictionaries({f"f{i}": strategy for i, (_, strategy) in enumerate(fields)})
    return hostile.record(*[schema for schema, _ in fields], name=name), values


def _is_empty(schema: Any) -> bool:
    return parse_schema(schema).min_bytes == 0


COUNTER = iter(range(10**9))
NAMES = st.builds(lambda: f"n{next(COUNTER)}")


@st.composite
def written(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """A record schema, a value and its bytes."""
    schema, values = _record("top", [*draw(st.lists(_typed(NAMES), max_size=5)), ("long", PRIMITIVES["long"])])
    value = draw(values)
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, fastavro.parse_schema(schema), value)
    return schema, value, buffer.getvalue()


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much], deadline=None)
@given(case=written(), data=st.data())
def test_records_round_trip_and_cuts_are_found(case: tuple[Any, Any, bytes], data: st.DataObject) -> None:
    """Any record that fastavro writes is read to the same values; cut anywhere, or with a byte more, it is refused;
    fields left out are not in it, and the others are as they were."""
    schema, value, body = case
    assert read_whole(RecordReader(parse_schema(schema)), body) == value
    names = [field["name"] for field in schema["fields"]]
    unread = frozenset(data.draw(st.sets(st.sampled_from(names))))
    reader = RecordReader(parse_schema(schema), unread=unread)
    assert read_whole(reader, body) == {name: part for name, part in value.items() if name not in unread}
    with pytest.raises(PacketError) as error:
        read_whole(reader, body[: data.draw(st.integers(0, len(body) - 1))])
    assert error.value.reason is DeadLetterReason.BAD_AVRO
    with pytest.raises(PacketError) as error:
        read_whole(reader, body + b"\x00")
    assert error.value.reason is DeadLetterReason.TRAILING_BYTES


def test_blocks_that_state_their_size_are_read() -> None:
    """An array in two blocks, one of them with its size in bytes, is one array."""
    body = hostile.long(-2) + hostile.long(2) + b"\x02\x04" + hostile.long(1) + b"\x06" + hostile.long(0)
    packet = hostile.container(hostile.record(hostile.array("int")), body)
    assert read_container(packet).record == {"f0": [1, 2, 3]}


def test_names_in_namespaces_are_resolved() -> None:
    """A type is found by its short name within its namespace, by its full name, and through a top-level union."""
    inner = {"type": "record", "name": "i", "namespace": "a.b", "fields": [{"name": "x", "type": "int"}]}
    fields = [
        {"name": "one", "type": inner},
        {"name": "two", "type": "a.b.i"},
        {"name": "three", "type": ["null", "a.b.i"]},
    ]
    schema = {"type": "record", "name": "o", "namespace": "a", "fields": fields}
    expected = {"one": {"x": 1}, "two": {"x": 2}, "three": {"x": 3}}
    assert reader_of(json.dumps(schema).encode()).read(b"\x02\x04\x02\x06") == (expected, 4)
    union = reader_of(json.dumps(["null", schema]).encode())
    assert union.schema_name == "a.o"
    assert union.read(b"\x02\x02\x04\x02\x06") == (expected, 5)
    for body in (b"\x00", b"\x04\x02\x04\x02\x06", b"\x01", b""):
        with pytest.raises(PacketError, match="bad_avro"):
            union.read(body)
