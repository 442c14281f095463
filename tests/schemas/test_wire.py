"""Confluent wire format, schema ids and bare Avro bodies; reading only the ends of an LSST packet."""

from __future__ import annotations

import io
from typing import Any

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import AvroRecord
from schemas.avro_schema import parse_schema
from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, PacketError, SchemaUnavailable
from schemas.surveys.lsst_wire import BUNDLED, CUTOUT_FIELDS, bundled_schema, leading_reader, read_ends, schema_named
from schemas.wire import PacketReader
from tests.schemas.lsst_packets import alert, cutout, wire

IMAGE = cutout(np.arange(900.0).reshape(30, 30), column=14.0, row=14.5)


class OneSchema:
    """A resolver that knows one id, and counts how often it is asked."""

    def __init__(self, schema_id: int, schema: dict[str, Any]) -> None:
        self.known, self._schema = schema_id, schema
        self.num_asked = 0

    def schema(self, schema_id: int) -> dict[str, Any]:
        self.num_asked += 1
        if schema_id != self.known:
            raise SchemaUnavailable(schema_id, "the registry does not know it")
        return self._schema


@pytest.mark.parametrize("schema_id", BUNDLED)
def test_every_bundled_schema_reads_ends(schema_id: int) -> None:
    """Each bundled schema names its version, has the shape that the ends are read by, and is found by name."""
    schema = bundled_schema(schema_id)
    assert schema is not None
    name = f"lsst.v{schema_id // 100}_{schema_id % 100}"
    assert schema["name"] == f"{name}.alert"
    assert leading_reader(parse_schema(schema)) is not None
    assert schema_named(name) is schema


@given(present=st.tuples(st.booleans(), st.booleans(), st.booleans()), history=st.booleans())
def test_the_ends_are_those_of_the_whole(present: tuple[bool, bool, bool], *, history: bool) -> None:
    """Whatever cutouts are there, the leading fields and cutouts equal those of a full decode by fastavro."""
    record = alert() | {name: IMAGE if there else None for name, there in zip(CUTOUT_FIELDS, present, strict=True)}
    if history:
        record["prvDiaSources"] = [record["diaSource"]] * 3
    payload = wire(record)
    schema = bundled_schema(1000)
    assert schema is not None
    ends = read_ends(leading_reader(parse_schema(schema)), payload, start=5)
    assert (ends is not None) is all(present)
    whole: Any = fastavro.schemaless_reader(io.BytesIO(payload[5:]), fastavro.parse_schema(schema), None)
    found = PacketReader().read(payload)
    assert (found.schema_name, found.schema_id) == ("lsst.v10_0.alert", 1000)
    for name in ("diaSourceId", "diaSource", *CUTOUT_FIELDS):
        assert found.record[name] == whole[name]
        assert ends is None or ends[name] == whole[name]


def test_ends_that_do_not_add_up_are_not_believed() -> None:
    """A stray byte, a cut, or what looks like a header among the pixels makes the reader decode the whole body."""
    schema = bundled_schema(1000)
    assert schema is not None
    leading = leading_reader(parse_schema(schema))
    images = dict.fromkeys(CUTOUT_FIELDS, IMAGE)
    payload = wire(alert() | images)
    assert read_ends(leading, payload, start=5) is not None
    for damaged in (payload + b"\x00", payload[:-1], wire(alert() | images | {"cutoutTemplate": None}) + b"\x00"):
        assert read_ends(leading, damaged, start=5) is None
    lure = wire(alert() | images | {"cutoutScience": IMAGE[:-9] + b"SIMPLE  ="})
    assert read_ends(leading, lure, start=5) is None
    assert PacketReader().read(lure).record["cutoutDifference"] == IMAGE


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"\x00\x00\x03", DeadLetterReason.UNKNOWN_FRAMING),
        (b"\x00\x00\x00\x03\xe8", DeadLetterReason.BAD_AVRO),
        (b"\x00bj\x01\x04avro", DeadLetterReason.UNKNOWN_FRAMING),
        (wire(alert())[:-9], DeadLetterReason.BAD_AVRO),
        (wire(alert() | {"cutoutScience": IMAGE})[:-9], DeadLetterReason.BAD_AVRO),
        (wire(alert()) + b"\x00", DeadLetterReason.TRAILING_BYTES),
        (b"SIMPLE", DeadLetterReason.UNKNOWN_FRAMING),
        (b"", DeadLetterReason.EMPTY),
    ],
)
def test_damage_is_named(payload: bytes, reason: DeadLetterReason) -> None:
    """Cut, overlong and foreign messages each end in a PacketError of their reason."""
    with pytest.raises(PacketError) as caught:
        PacketReader().read(payload)
    assert caught.value.reason is reason


def test_an_unknown_id_is_asked_for_once_and_never_guessed() -> None:
    """An id that is not bundled goes to the resolver, is kept, and without one is SchemaUnavailable."""
    payload = b"\x00" + (1200).to_bytes(4, "big") + wire(alert())[5:]
    with pytest.raises(SchemaUnavailable, match="1200 is not bundled and no schema registry"):
        PacketDecoder().decode(payload)
    schema = bundled_schema(1000)
    assert schema is not None
    resolver = OneSchema(1200, schema)
    reader = PacketReader(resolver)
    packets = [reader.read(payload) for _ in range(3)]
    assert resolver.num_asked == 1
    assert packets[0] == AvroRecord("lsst.v10_0.alert", packets[0].record, 1200)
    with pytest.raises(SchemaUnavailable, match="does not know"):
        reader.read(b"\x00\x00\x00\x05\x00rest")


def test_a_resolvers_nonsense_is_no_fault_of_the_packet() -> None:
    """A registry that gives something else than a record schema leaves the schema unavailable."""
    reader = PacketReader(OneSchema(1200, {"type": "string"}))
    with pytest.raises(SchemaUnavailable, match="not a record"):
        reader.read(b"\x00" + (1200).to_bytes(4, "big"))


def test_a_stated_schema_reads_bare_bodies_and_unknown_ids() -> None:
    """With a stated schema a bare body is read, a message of an unknown id too; a bundled id is read as itself."""
    schema = bundled_schema(900)
    assert schema is not None
    reader = PacketReader(stated=schema)
    payload = wire(alert(), 900)
    assert reader.read(payload[5:]).record["diaSourceId"] == 7
    assert reader.read(b"\x00\x00\x00\x30\x39" + payload[5:]).schema_name == "lsst.v9_0.alert"
    assert reader.read(wire(alert())).schema_name == "lsst.v10_0.alert"
    with pytest.raises(PacketError):
        reader.read(b"\xff" * 40)
