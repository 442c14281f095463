"""Avro object containers: fastavro as the oracle, and damage as reasons."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import fastavro
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.avro import iter_container, read_container
from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, PacketError
from schemas.synthetic import generate_packets

SCHEMA: dict[str, Any] = {
    "type": "record",
    "name": "thing",
    "namespace": "test",
    "fields": [{"name": "number", "type": "long"}, {"name": "data", "type": ["null", "bytes"]}],
}
RECORDS = st.lists(
    st.fixed_dictionaries({"number": st.integers(-(2**63), 2**63 - 1), "data": st.none() | st.binary(max_size=50)}),
    max_size=8,
)
PACKET = next(generate_packets(seed=2, num_objects=1, num_frames=1)).payload


def container(records: list[dict[str, Any]], codec: str = "null", interval: int = 16000) -> bytes:
    buffer = io.BytesIO()
    fastavro.writer(buffer, fastavro.parse_schema(SCHEMA), records, codec=codec, sync_interval=interval)
    return buffer.getvalue()


@given(records=RECORDS, codec=st.sampled_from(["null", "deflate"]), interval=st.sampled_from([1, 16000]))
def test_containers_round_trip(records: list[dict[str, Any]], codec: str, interval: int) -> None:
    """What fastavro writes, in one block or many, plain or deflated, is read back with the schema's full name."""
    found = list(iter_container(container(records, codec, interval)))
    assert [packet.record for packet in found] == records
    assert all(packet.schema_name == "test.thing" for packet in found)


def test_one_message_holds_one_packet() -> None:
    """A container of no record or of two is refused as a message."""
    for records in ([], [{"number": 1, "data": None}] * 2):
        with pytest.raises(PacketError) as error:
            read_container(container(records))
        assert error.value.reason is DeadLetterReason.RECORD_COUNT


def test_an_unknown_codec_is_named() -> None:
    """A codec that is not read is a fault of the packet, named."""
    payload = container([{"number": 1, "data": None}]).replace(b"\x08null", b"\x08zstd", 1)
    with pytest.raises(PacketError, match="zstd"):
        read_container(payload)


@given(cut=st.integers(0, len(PACKET) - 1))
def test_a_cut_packet_is_a_packet_error(cut: int) -> None:
    """Cut anywhere, a packet ends in a PacketError and nothing else."""
    with pytest.raises(PacketError):
        PacketDecoder().decode(PACKET[:cut])


@given(place=st.integers(0, len(PACKET) - 1), value=st.integers(0, 255))
def test_a_changed_byte_never_escapes(place: int, value: int) -> None:
    """With one byte changed a packet is decoded or ends in a PacketError, and nothing else."""
    damaged = bytearray(PACKET)
    damaged[place] = value
    with contextlib.suppress(PacketError):
        PacketDecoder().decode(bytes(damaged))
