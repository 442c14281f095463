"""What a record becomes on the output cluster: plain Avro or Confluent wire format, and the ELAsTiCC copy."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

from broker_plugin.kafka.registry import Registry
from broker_plugin.messages import (
    HEADER_INGEST_TIME,
    HEADER_PRODUCER_TIME,
    HEADER_TRIGGER_SOURCE_ID,
    OutputRecord,
)
from broker_plugin.settings.sections import OutputSettings
from schemas.broker_classification import broker_body, to_broker_record
from schemas.records import raw_schema

WIRE_MAGIC: Final = b"\x00"
LARGEST_LONG: Final = 2**63 - 1


class OutputForm:
    """Frames records as the output's settings say. With a registry the schema is registered here, once.

    BrokerError when the registry refuses the schema, or does not answer for ``patience_s``.
    """

    def __init__(self, output: OutputSettings, *, patience_s: float) -> None:
        self._output = output
        self._header: bytes | None = None
        if output.registry_url is not None:
            subject = f"{output.topic}-value"
            schema_id = Registry(output).register(subject, raw_schema("classification"), patience_s=patience_s)
            self._header = WIRE_MAGIC + schema_id.to_bytes(4, "big")

    def value(self, record: OutputRecord) -> bytes:
        """A record in our own schema: with its fingerprint, or with the registry's id."""
        return record.value if self._header is None else self._header + record.classification.to_body()

    def messages(self, record: OutputRecord) -> Iterator[tuple[str, bytes]]:
        """(topic, value) of everything that a record becomes."""
        yield self._output.topic, self.value(record)
        if self._output.elasticc_topic is not None:
            yield self._output.elasticc_topic, self._elasticc(record)

    def _elasticc(self, record: OutputRecord) -> bytes:
        """The bare Avro body, as TOM clients read it: their schema is agreed on, not looked up."""
        headers = dict(record.headers)
        source_id = _number_of(headers.get(HEADER_TRIGGER_SOURCE_ID, b"").decode())
        produced_ms = _milliseconds(headers.get(HEADER_PRODUCER_TIME))
        ingested_ms = _milliseconds(headers.get(HEADER_INGEST_TIME))
        return broker_body(
            to_broker_record(
                record.classification,
                alert_id=source_id,
                dia_source_id=source_id,
                alert_publish_ms=produced_ms or ingested_ms or 0,
                ingest_ms=ingested_ms,
                broker_name=self._output.elasticc_broker_name,
            )
        )


def _number_of(source_id: str) -> int:
    """A source id as the 64-bit number that the schema wants; one that is none becomes 63 bits of its SHA-256."""
    if source_id.isdecimal() and int(source_id) <= LARGEST_LONG:
        return int(source_id)
    return int.from_bytes(hashlib.sha256(source_id.encode()).digest()[:8], "big") >> 1


def _milliseconds(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None
