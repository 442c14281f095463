"""ATLAS: decoded only. Its alerts have no template cutout and its o and c bands are none of ugrizy."""

from __future__ import annotations

from typing import Final

from schemas.outcome import Identity
from schemas.surveys import fields
from schemas.surveys.base import PacketHeader, Record, Survey

CUTOUTS: Final = {"science": "cutoutScience", "difference": "cutoutDifference"}


def owns(schema_name: str, record: Record) -> bool:
    """By the schema's name."""
    return schema_name == "atlas.alert"


def read_header(record: Record, schema_name: str) -> PacketHeader:
    """Identity and position of one alert; ``mjd`` is the start of exposure, UTC."""
    candidate = fields.nested(record, "candidate")
    identity = Identity(
        survey="atlas",
        schema_name=schema_name,
        survey_version=fields.identifier(record, "schemavsn"),
        object_id=fields.identifier(record, "objectId"),
        source_id=fields.identifier(record, "candid"),
        mjd=fields.mjd_utc(candidate, "mjd"),
        band=fields.identifier(candidate, "filter"),
    )
    ra, dec = fields.number(candidate, "RA", 0.0, 360.0), fields.number(candidate, "Dec", -90.0, 90.0)
    return PacketHeader(identity=identity, ra=ra, dec=dec)


def cutouts(record: Record) -> dict[str, bytes | None]:
    """The plain FITS bytes by name; there never is a template."""
    found: dict[str, bytes | None] = {"science": None, "template": None, "difference": None}
    for name, key in CUTOUTS.items():
        if record.get(key) is not None:
            found[name] = fields.cutout_bytes(fields.nested(record, key), "stampData")
    return found


ATLAS: Final = Survey("atlas", None, owns, read_header, cutouts, None)
