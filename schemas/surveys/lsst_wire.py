"""Bundled LSST schemas and a reader that takes only what a stamp needs from a packet's Avro body.

The Confluent schema id of an LSST alert is 100 * major + minor (lsst/alert_packet). Versions 7.0 to 11.1 are bundled,
one self-contained file a version without the documentation texts, so that a registry outage changes nothing.

Why a reader of our own: a packet of 70 to 300 kB is mostly histories, some 1,000 nested records of up to 100 unions.
Even skipping them takes a general Avro reader milliseconds, 20 times all the rest. The fields a stamp needs come
before them (the alert's own ids and its diaSource) and after them (three cutouts, the last fields).
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final

import fastavro

from schemas.records import raw_schema

FITS_START: Final = b"SIMPLE  ="
LAST_LEADING_FIELD: Final = "diaSource"
CUTOUT_FIELDS: Final = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
NULL_BRANCH: Final = 0x00
BYTES_BRANCH: Final = 0x02
LONGEST_LENGTH: Final = 5  # bytes of an Avro length below 2**34
BUNDLED: Final[dict[int, str]] = {
    700: "7_0",
    701: "7_1",
    702: "7_2",
    703: "7_3",
    704: "7_4",
    800: "8_0",
    900: "9_0",
    1000: "10_0",
    1001: "10_1",
    1100: "11_0",
    1101: "11_1",
}


def bundled_schema(schema_id: int) -> dict[str, Any] | None:
    """The writer schema (JSON) of a Confluent schema id, None when it is not bundled."""
    version = BUNDLED.get(schema_id)
    return None if version is None else raw_schema(f"lsst/lsst.v{version}.alert")


@cache
def _leading_schema(schema_id: int) -> Any:
    """The alert's fields up to its diaSource, as a record of its own."""
    schema = bundled_schema(schema_id)
    if schema is None:
        raise ValueError(f"schema id {schema_id} is not bundled")
    names = [field["name"] for field in schema["fields"]]
    if tuple(names[-len(CUTOUT_FIELDS) :]) != CUTOUT_FIELDS:
        raise ValueError(f"schema id {schema_id} does not end with the cutouts")
    leading = schema["fields"][: names.index(LAST_LEADING_FIELD) + 1]
    return fastavro.parse_schema({"type": "record", "name": f"{schema['name']}.leading", "fields": leading})


def read_ends(schema_id: int, body: bytes, *, start: int = 0) -> dict[str, Any] | None:
    """The leading fields and the cutouts of the Avro body that begins at ``start`` and ends with ``body``.

    None when the cutouts cannot be told apart with certainty (none is there, or the lengths do not add up to the
    end): then the whole body must be decoded. What lies between, the histories, is neither read nor checked: it is
    not used, and its damage costs no stamp. Raises what fastavro raises on damaged leading fields.
    """
    cutouts = _find_cutouts(body, start)
    if cutouts is None:
        return None
    buffer = io.BytesIO(body)
    buffer.seek(start)
    record: dict[str, Any] = fastavro.schemaless_reader(buffer, _leading_schema(schema_id), None)  # type: ignore[assignment]
    if buffer.tell() > cutouts[0]:
        return None
    for name, value in zip(CUTOUT_FIELDS, cutouts[1], strict=True):
        record[name] = value
    return record


def _find_cutouts(body: bytes, start: int) -> tuple[int, list[bytes | None]] | None:
    """Offset of the first cutout's union branch and the three cutouts, None when they do not end the body."""
    image = body.find(FITS_START, start)
    if image < 0:
        return None
    for num_bytes in range(1, LONGEST_LENGTH + 1):
        first = image - num_bytes - 1
        if first >= start and body[first] == BYTES_BRANCH and _varint(body, first + 1)[1] == image:
            found = _read_unions(body, first)
            if found is not None:
                num_null = len(CUTOUT_FIELDS) - len(found)
                # cutouts before the first image are nulls, one zero byte each
                if body[first - num_null : first] == bytes(num_null):
                    return first - num_null, [None] * num_null + found
    return None


def _read_unions(body: bytes, offset: int) -> list[bytes | None] | None:
    """At most three [null, bytes] unions from ``offset`` to exactly the body's end; None when they do not fit."""
    found: list[bytes | None] = []
    while offset < len(body):
        if len(found) == len(CUTOUT_FIELDS):
            return None
        branch = body[offset]
        offset += 1
        if branch == NULL_BRANCH:
            found.append(None)
            continue
        if branch != BYTES_BRANCH:
            return None
        size, offset = _varint(body, offset)
        if size < 0 or size > len(body) - offset:
            return None
        found.append(body[offset : offset + size])
        offset += size
    return found


def _varint(body: bytes, offset: int) -> tuple[int, int]:
    """An Avro long (zigzag varint of at most five bytes) and the offset after it; (-1, offset) when it is none."""
    value = 0
    for shift in range(0, 7 * LONGEST_LENGTH, 7):
        if offset >= len(body):
            break
        byte = body[offset]
        offset += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), offset
    return -1, offset
