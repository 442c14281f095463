"""DeadLetter: a packet that could not become an observation, with all that is needed to try it again.

A payload larger than the dead-letter topic takes is left out; its coordinates, size and SHA-256 stay, so that it can
be fetched from the original topic and recognised.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from schemas.errors import PacketError
from schemas.records import codec


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Fields as documented in ``avsc/dead_letter.avsc``; payload_sha256 is of the whole original payload."""

    reason: str
    stage: str
    detail: str
    schema_id: int | None
    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    payload: bytes | None
    payload_size: int
    payload_sha256: bytes
    plugin_version: str

    @classmethod
    def from_error(
        cls,
        error: PacketError,
        payload: bytes,
        *,
        topic: str,
        partition: int,
        offset: int,
        timestamp_ms: int,
        key: bytes | None,
        plugin_version: str,
        max_payload_bytes: int,
    ) -> DeadLetter:
        """The dead letter of one packet; ``payload`` is kept only when it is at most ``max_payload_bytes`` long."""
        return cls(
            reason=error.reason.value,
            stage=error.stage.value,
            detail=error.detail,
            schema_id=error.schema_id,
            topic=topic,
            partition=partition,
            offset=offset,
            timestamp_ms=timestamp_ms,
            key=key,
            payload=payload if len(payload) <= max_payload_bytes else None,
            payload_size=len(payload),
            payload_sha256=hashlib.sha256(payload).digest(),
            plugin_version=plugin_version,
        )

    def to_bytes(self) -> bytes:
        """The dead-letter topic's value; the same dead letter always gives the same bytes."""
        return codec("dead_letter").encode(
            {
                "reason": self.reason,
                "stage": self.stage,
                "detail": self.detail,
                "schema_id": self.schema_id,
                "topic": self.topic,
                "partition": self.partition,
                "offset": self.offset,
                "timestamp_ms": self.timestamp_ms,
                "key": self.key,
                "payload": self.payload,
                "payload_size": self.payload_size,
                "payload_sha256": self.payload_sha256,
                "plugin_version": self.plugin_version,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> DeadLetter:
        """Inverse of ``to_bytes``; RecordError when it is not one."""
        return cls(**codec("dead_letter").decode(payload))
