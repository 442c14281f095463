"""Bundled LSST schemas and a reader that takes only what a stamp needs from a packet's Avro body.

The Confluent schema id of an LSST alert is 100 * major + minor (lsst/alert_packet). Versions 7.0 to 11.1 are bundled,
one self-contained file a version without the documentation texts, so that a registry outage changes nothing.

Why a reader of our own: a packet of 70 to 300 kB is mostly histories, some 1,000 nested records of up to 100 unions.
Even skipping them takes a general Avro reader milliseconds, 20 times all the rest. The fields a stamp needs come
before them (the alert's own ids and its diaSource) and after them (three cutouts, the last fields).
"""

from __future__ import annotations

from typing import Any, Final

from schemas.avro_record import RecordReader
from schemas.avro_schema import Node, definition, parse_schema
from schemas.records import raw_schema
from schemas.varint import read_length

FITS_START: Final = b"SIMPLE  ="
LAST_LEADING_FIELD: Final = "diaSource"
CUTOUT_FIELDS: Final = ("cutoutDifference", "cutoutScience", "cutoutTemplate")
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


def schema_named(name: str) -> dict[str, Any] | None:
    """The bundled schema called ``lsst.v10_0`` or ``lsst.v10_0.alert``; None for any other name."""
    version = name.removesuffix(".alert").removeprefix("lsst.v")
    bundled = version in BUNDLED.values() and name.startswith("lsst.v")
    return raw_schema(f"lsst/lsst.v{version}.alert") if bundled else None


def leading_reader(schema: Node) -> RecordReader | None:
    """Reads an alert's fields up to its diaSource, as a record of its own.

    None when the schema is not an LSST alert's: it has no diaSource, or does not end with three nullable cutouts.
    """
    names = [name for name, _ in schema.children]
    if LAST_LEADING_FIELD not in names or tuple(names[-len(CUTOUT_FIELDS) :]) != CUTOUT_FIELDS:
        return None
    for _, node in schema.children[-len(CUTOUT_FIELDS) :]:
        if [branch.kind for _, branch in node.children] != ["null", "bytes"]:
            return None
    fields = schema.children[: names.index(LAST_LEADING_FIELD) + 1]
    return RecordReader(parse_schema(definition("leading", fields)))


def read_ends(leading: RecordReader, body: bytes, *, start: int = 0) -> dict[str, Any] | None:
    """The leading fields and the cutouts of the Avro body that begins at ``start`` and ends with ``body``.

    ``leading``: of ``leading_reader``. None when the cutouts cannot be told apart with certainty: not all three are
    there (a null's zero byte may as well be a stray one), or their lengths do not add up to the end; then the whole
    body must be decoded. What lies between, the histories, is neither read nor checked: it is not used, and its
    damage costs no stamp. PacketError bad_avro on damaged leading fields.
    """
    cutouts: dict[str, bytes] = {}
    end = len(body)
    for name in reversed(CUTOUT_FIELDS):
        found = _cutout_before(body, start, end)
        if found is None:
            return None
        image, first = found
        cutouts[name] = body[image:end]
        end = first
    record, end_of_leading = leading.read(body, start)
    return None if end_of_leading > end else record | cutouts


def _cutout_before(body: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the FITS file that ends at ``end`` begins, and the union branch before its length; else None."""
    image = body.rfind(FITS_START, start, end)
    for num_bytes in range(1, LONGEST_LENGTH + 1):
        first = image - num_bytes - 1
        if first >= start and body[first] == BYTES_BRANCH and _length(body, first + 1) == (image, end):
            return image, first
    return None


def _length(body: bytes, position: int) -> tuple[int, int]:
    """Where what a length at ``position`` announces begins and ends; (-1, -1) when it is none that fits the body."""
    try:
        return read_length(body, position)
    except ValueError:
        return -1, -1
