"""A stamp-log message as a fact for the store: its keys are read, its pixels are left packed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from broker_plugin.messages import LogMessage
from schemas.bands import band_id
from schemas.errors import RecordError
from schemas.observation import NUM_PIXELS, content_digest, log_key
from schemas.records import codec
from schemas.view import FactKey

NO_GRID = ""
WITHDRAWN = -1


@dataclass(frozen=True, slots=True)
class StoredFact:
    """One fact on its way into the store; ``key.first_offset`` is the offset it was read at."""

    object_key: bytes
    key: FactKey
    payload: bytes


def read_stored_fact(message: LogMessage) -> StoredFact:
    """The message's fact; RecordError when its value is no fact, states no time, or belongs under another key."""
    payload = message.payload
    if codec("withdrawal").matches(payload):
        record = codec("withdrawal").decode(payload)
        grid_id, num_valid = NO_GRID, WITHDRAWN
    else:
        record = codec("observation").decode(payload)
        grid_id = record["grid_id"]
        num_valid = _num_valid(record["science"]) + _num_valid(record["difference"])
    object_key = log_key(record["survey"], record["object_id"])
    if message.key != object_key:
        raise RecordError(f"stamp-log key {message.key!r} over a fact of {object_key!r}")
    if not math.isfinite(record["mjd"]):
        raise RecordError(f"fact of {object_key!r} at MJD {record['mjd']}")
    key = FactKey(
        source_id=record["source_id"],
        digest=content_digest(payload),
        first_offset=message.offset,
        mjd=record["mjd"],
        band_id=band_id(record["band"]),
        grid_id=grid_id,
        num_valid=num_valid,
    )
    return StoredFact(object_key, key, payload)


def _num_valid(plane: dict[str, Any]) -> int:
    """Unmasked pixels of a packed plane; RecordError when it is not of the one size there is."""
    valid: bytes = plane["valid"]
    if valid and (len(plane["pixels"]) != 2 * NUM_PIXELS or len(valid) * 8 != NUM_PIXELS):
        raise RecordError(f"plane of {len(plane['pixels'])} + {len(valid)} bytes")
    return int.from_bytes(valid).bit_count()
