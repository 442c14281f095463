"""A Classification in the DESC ELAsTiCC v0_9_1 brokerClassification schema, which TOM clients read unchanged.

Schema: LSSTDESC/elasticc, ``alert_schema/elasticc.v0_9_1.brokerClassification.avsc`` (bundled verbatim; the record
name is spelt ``brokerClassfication`` there). Class ids: its ``taxonomy/taxonomy.ipynb``. The alert and source ids are
the trigger's and the times the delivery's, so they vary by delivery; the probabilities do not.
"""

from __future__ import annotations

import io
from functools import cache
from typing import Any, Final

import fastavro

from schemas.classification import Classification
from schemas.records import raw_schema

SCHEMA_NAME: Final = "elasticc/elasticc.v0_9_1.brokerClassification"
BROKER_NAME: Final = "convention-broker"
CLASS_IDS: Final[dict[str, int]] = {"AGN": 2332, "SNIa": 2222, "SNOther": 2221, "Variable": 2320}
RESIDUAL_CLASS_ID: Final = 200
NOT_CLASSIFIED_CLASS_ID: Final = 300


@cache
def parsed_schema() -> Any:
    """The bundled schema, parsed once."""
    return fastavro.parse_schema(raw_schema(SCHEMA_NAME))


def to_broker_record(
    classification: Classification,
    *,
    alert_id: int,
    dia_source_id: int,
    alert_publish_ms: int,
    ingest_ms: int | None,
    broker_name: str = BROKER_NAME,
) -> dict[str, Any]:
    """The record as a dict; times are milliseconds since 1970-01-01 UTC.

    Only a classified sequence spreads its probability over the classes; an abstention or a sequence that is too
    short puts all of it on "not classified". Either way they sum to 1 and the residual class gets 0.
    """
    classes = dict.fromkeys(CLASS_IDS.values(), 0.0)
    classes |= {RESIDUAL_CLASS_ID: 0.0, NOT_CLASSIFIED_CLASS_ID: 1.0}
    if classification.predicted_class is not None and classification.probabilities is not None:
        total = sum(classification.probabilities)
        classes[NOT_CLASSIFIED_CLASS_ID] = 0.0
        for class_id, probability in zip(CLASS_IDS.values(), classification.probabilities, strict=True):
            classes[class_id] = probability / total
    return {
        "alertId": alert_id,
        "diaSourceId": dia_source_id,
        "elasticcPublishTimestamp": alert_publish_ms,
        "brokerIngestTimestamp": ingest_ms,
        "brokerName": broker_name,
        "brokerVersion": classification.plugin_version,
        "classifierName": classification.bundle_id,
        "classifierParams": f"status={classification.status} reason={classification.reason or ''} "
        f"num_frames={classification.num_frames} view={classification.view_digest}",
        "classifications": [{"classId": key, "probability": value} for key, value in classes.items()],
    }


def broker_body(record: dict[str, Any]) -> bytes:
    """The bare Avro body of a ``to_broker_record`` dict (the caller frames it with a schema id, or not at all)."""
    buffer = io.BytesIO()
    fastavro.schemaless_writer(buffer, parsed_schema(), record)
    return buffer.getvalue()


def read_broker_body(body: bytes) -> dict[str, Any]:
    """Inverse of ``broker_body``; timestamps come back as aware datetimes, as fastavro reads the logical type."""
    record: Any = fastavro.schemaless_reader(io.BytesIO(body), parsed_schema(), None)
    return dict(record)
