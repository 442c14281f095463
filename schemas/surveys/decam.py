"""DECam: decoded only. Two packet formats, DESIRT's (desirt.alert) and DECAT's (decat.object)."""

from __future__ import annotations

from typing import Final

from schemas.outcome import Identity
from schemas.surveys import fields
from schemas.surveys.base import PacketHeader, Record, Survey

DESIRT: Final = "desirt.alert"
DECAT: Final = "decat.object"
DESIRT_CUTOUTS: Final = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}
DECAT_CUTOUTS: Final = {"science": "scicutout", "template": "refcutout", "difference": "diffcutout"}


def owns(schema_name: str, record: Record) -> bool:
    """By the schema's name."""
    return schema_name in (DESIRT, DECAT)


def read_header(record: Record, schema_name: str) -> PacketHeader:
    """Identity and position of one alert; times are UTC, DECAT's band is the first letter of the filter's name."""
    if schema_name == DESIRT:
        source = fields.nested(record, "candidate")
        object_id, source_id = fields.identifier(record, "objectId"), fields.identifier(record, "candid")
        band = fields.identifier(source, "band")
        reliability = fields.optional_number(source, "reliability")
    else:
        source = fields.nested(record, "triggersource")
        object_id, source_id = fields.identifier(record, "objectid"), fields.identifier(source, "sourceid")
        band = fields.identifier(source, "filter")[:1]
        reliability = fields.optional_number(source, "rb")
    identity = Identity("decam", schema_name, None, object_id, source_id, fields.mjd_utc(source, "mjd"), band)
    return PacketHeader(
        identity=identity,
        ra=fields.number(source, "ra", 0.0, 360.0),
        dec=fields.number(source, "dec", -90.0, 90.0),
        reliability=fields.optional_single(reliability),
    )


def cutouts(record: Record) -> dict[str, bytes | None]:
    """The gzipped FITS bytes by name."""
    if "triggersource" in record:
        source = fields.nested(record, "triggersource")
        return {name: fields.cutout_bytes(source, key) for name, key in DECAT_CUTOUTS.items()}
    return {name: fields.cutout_bytes(record, key) for name, key in DESIRT_CUTOUTS.items()}


DECAM: Final = Survey("decam", None, owns, read_header, cutouts, None)
