"""Hostile Avro containers, built by hand: for the tests and the fuzz test."""

from __future__ import annotations

import json
import zlib
from typing import Any, Final

SYNC: Final = b"hostile-sync-16b"


def long(value: int) -> bytes:
    """An Avro long."""
    number = (value << 1) ^ (value >> 63)
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def text(value: bytes, *, says: int | None = None) -> bytes:
    """Avro bytes; ``says`` is the length that is stated instead of the true one."""
    return long(len(value) if says is None else says) + value


def container(schema: Any, body: bytes, *, count: int = 1, codec: bytes = b"null", size: int | None = None) -> bytes:
    """A container of one block; ``schema`` as JSON value or as text, ``size`` what the block states as its own."""
    raw = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    header = long(2) + text(b"avro.schema") + text(raw) + text(b"avro.codec") + text(codec) + long(0)
    return b"Obj\x01" + header + SYNC + long(count) + text(body, says=size) + SYNC


def record(*fields: Any, name: str = "thing") -> dict[str, Any]:
    """A record whose fields f0, f1, ... have these types."""
    return {"type": "record", "name": name, "fields": [{"name": f"f{i}", "type": t} for i, t in enumerate(fields)]}


def array(items: Any) -> dict[str, Any]:
    """An array type."""
    return {"type": "array", "items": items}


def nested(kind: str, depth: int) -> bytes:
    """JSON text of ``depth`` arrays or maps around an int, in a record."""
    key = "items" if kind == "array" else "values"
    opening = f'{{"type": "{kind}", "{key}": '.encode()
    return b'{"type": "record", "name": "r", "fields": [{"name": "f", "type": %s"int"%s}]}' % (
        opening * depth,
        b"}" * depth,
    )


def doubling(depth: int) -> dict[str, Any]:
    """A record of 10**depth null fields by naming one type ten times a level: no bytes, no end."""
    inner: Any = "null"
    for level in range(depth):
        inner = record(inner, *[f"r{level - 1}" if level else "null"] * 9, name=f"r{level}")
    return dict(inner)


def bomb(num_bytes: int) -> bytes:
    """A raw deflate stream of zeros, made in pieces."""
    deflater = zlib.compressobj(9, wbits=-15)
    piece = bytes(1 << 20)
    return b"".join([*(deflater.compress(piece) for _ in range(num_bytes >> 20)), deflater.flush()])


HUGE: Final = 2**62
LINKED: Final = record(["null", "thing"])

# name -> (packet, the reason it ends with)
PACKETS: Final[dict[str, tuple[bytes, str]]] = {
    "array of nulls": (container(record(array("null")), long(HUGE) + long(0)), "bad_schema"),
    "array of empty records": (container(record(array(record(name="e"))), long(HUGE) + long(0)), "bad_schema"),
    "array of fixed 0": (
        container(record(array({"type": "fixed", "name": "z", "size": 0})), long(HUGE) + long(0)),
        "bad_schema",
    ),
    "array of nested nothing": (
        container(record(array(record("null", record("null", name="i"), name="e"))), long(HUGE) + long(0)),
        "bad_schema",
    ),
    "huge array": (container(record(array("int")), long(HUGE) + long(1) + long(0)), "bad_avro"),
    "huge negative block": (container(record(array("int")), long(-HUGE) + long(1) + long(1) + long(0)), "bad_avro"),
    "smallest number of items": (container(record(array("int")), long(-(2**63)) + long(0)), "bad_avro"),
    "block size lies": (container(record(array("int")), long(-1) + long(9) + long(1) + long(0)), "bad_avro"),
    "huge map": (container(record({"type": "map", "values": "null"}), long(HUGE) + b"\x00" * 50), "bad_avro"),
    "too many items": (
        container(record(array(["null", "int"])), long(1_500_000) + bytes(1_500_001)),
        "bad_avro",
    ),
    "too many nothings": (
        container(record(array(record(*["null"] * 999, "int", name="e"))), long(5_000) + bytes(5_001)),
        "bad_avro",
    ),
    "negative length": (container(record("bytes"), long(-5) + bytes(10)), "bad_avro"),
    "length beyond the end": (container(record("string"), long(HUGE) + b"abc"), "bad_avro"),
    "length without end": (container(record("bytes"), b"\xff" * 200), "bad_avro"),
    "branch out of range": (container(record(["null", "int"]), long(7)), "bad_avro"),
    "symbol out of range": (
        container(record({"type": "enum", "name": "e", "symbols": ["A", "B"]}), long(5)),
        "bad_avro",
    ),
    "text that is none": (container(record("string"), text(b"\xff\xfe")), "bad_avro"),
    "huge fixed": (container(record({"type": "fixed", "name": "z", "size": 2**40}), b"abc"), "bad_schema"),
    "negative fixed": (container(record({"type": "fixed", "name": "z", "size": -4}), b"abc"), "bad_schema"),
    "linked list": (container(LINKED, b"\x02" * 1_000_000 + b"\x00"), "bad_schema"),
    "record in itself": (container(record("thing"), b""), "bad_schema"),
    "deep arrays": (container(nested("array", 33), b"\x02" * 33 + b"\x00" * 34), "bad_schema"),
    "very deep arrays": (container(nested("array", 7_000), b"\x02" * 5_000), "bad_schema"),
    "very deep list": (container(b"[" * 200_000, b""), "bad_schema"),
    "doubling records": (container(doubling(9), b""), "bad_schema"),
    "large schema": (container(json.dumps(record("int")).encode() + b" " * 300_000, b"\x02"), "too_large"),
    "many fields": (container(record(record(*["int"] * 100, name="r"), *["r"] * 99), bytes(10_000)), "bad_schema"),
    "no schema": (container(b"\xff{", b""), "bad_schema"),
    "number with many digits": (container(b'{"type": ' + b"9" * 5_000 + b"}", b""), "bad_schema"),
    "not a record": (container("long", b"\x02"), "bad_schema"),
    "no field": (container(record(), b""), "bad_container"),
    "huge record count": (container(record("int"), b"\x02", count=HUGE), "bad_container"),
    "negative record count": (container(record("int"), b"\x02", count=-1), "bad_container"),
    "block beyond the end": (container(record("int"), b"\x02", size=HUGE), "bad_container"),
    "negative block": (container(record("int"), b"\x02", size=-9), "bad_container"),
    "huge header": (b"Obj\x01" + long(HUGE) + text(b"avro.schema"), "bad_schema"),
    "header length lies": (b"Obj\x01" + long(1) + text(b"avro.schema", says=HUGE), "bad_schema"),
    "other codec": (container(record("int"), b"\x02", codec=b"zstandard"), "bad_schema"),
    "bad deflate": (container(record("int"), b"\xff\xff\xff", codec=b"deflate"), "bad_container"),
    "deflate bomb": (container(record("bytes"), bomb(1 << 30), codec=b"deflate"), "too_large"),
}
