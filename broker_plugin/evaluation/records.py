"""DeliveredRecord: a classification and the delivery that brought it, as replay writes and evaluation reads it.

One flat record in each of three formats (Avro container ``.avro``, ``.parquet``, JSON lines ``.jsonl``): the fields
of ``schemas/avsc/classification.avsc`` followed by the delivery's. Records stand in delivery order.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Final

import fastavro

from schemas.classification import CLASS_NAMES, Classification, Status
from schemas.errors import RecordError
from schemas.records import raw_schema

PER_CLASS_FIELDS: Final = ("probabilities", "spread")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What triggered a record and when. None where it is not known.

    trigger_mjd: TAI days; trigger_flux_njy: difference flux as the packet states it, nJy; log_offset: place of the
    trigger in the stamp log (or, offline, in the archive); ingest_time, publish_time: Unix time in s at which the
    packet was taken in (None offline) and the record was ready. Times are not part of the record's identity.
    """

    trigger_source_id: str
    trigger_mjd: float
    trigger_band: str
    trigger_flux_njy: float | None = None
    trigger_flux_err_njy: float | None = None
    log_offset: int | None = None
    ingest_time: float | None = None
    publish_time: float | None = None


@dataclass(frozen=True, slots=True)
class DeliveredRecord:
    """One trigger's classification and its delivery."""

    classification: Classification
    delivery: Delivery

    def to_row(self) -> dict[str, Any]:
        """The flat record: JSON-ready, the same in every format."""
        row: dict[str, Any] = {}
        for field in fields(Classification):
            row[field.name] = getattr(self.classification, field.name)
        row["status"] = self.classification.status.value
        for name in PER_CLASS_FIELDS:
            if row[name] is not None:
                row[name] = dict(zip(CLASS_NAMES, row[name], strict=True))
        row["frames_per_band"] = dict(self.classification.frames_per_band)
        for field in fields(Delivery):
            row[field.name] = getattr(self.delivery, field.name)
        return row

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> DeliveredRecord:
        """Inverse of ``to_row``; RecordError names the field that is missing, unknown or wrong."""
        names = {field.name for field in (*fields(Classification), *fields(Delivery))}
        if row.keys() != names:
            missing, unknown = sorted(names - row.keys()), sorted(row.keys() - names)
            raise RecordError(
                f"not a record of this version: missing {missing or 'none'}, unknown {unknown or 'none'}"
            )
        values = dict(row)
        try:
            values["status"] = Status(values["status"])
            for name in PER_CLASS_FIELDS:
                if values[name] is not None:
                    values[name] = tuple(float(values[name][class_name]) for class_name in CLASS_NAMES)
        except (ValueError, KeyError, TypeError) as error:
            raise RecordError(f"record of object {row['object_id']!r} cannot be read: {error!r}") from error
        delivery = Delivery(**{field.name: values.pop(field.name) for field in fields(Delivery)})
        return cls(Classification(**values), delivery)


@cache
def delivered_schema() -> Any:
    """The Avro schema of the flat record, parsed: classification.avsc's fields and the delivery's."""
    schema = raw_schema("classification")

    def optional(name: str, kind: str) -> dict[str, Any]:
        return {"name": name, "type": ["null", kind], "default": None}

    delivery = [
        {"name": "trigger_source_id", "type": "string"},
        {"name": "trigger_mjd", "type": "double"},
        {"name": "trigger_band", "type": "string"},
        optional("trigger_flux_njy", "double"),
        optional("trigger_flux_err_njy", "double"),
        optional("log_offset", "long"),
        optional("ingest_time", "double"),
        optional("publish_time", "double"),
    ]
    named = {**schema, "name": "DeliveredClassification", "fields": [*schema["fields"], *delivery]}
    return fastavro.parse_schema(named)
