"""Reading fields of a decoded packet with the faults named: what every survey module does to every field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from schemas.bands import BANDS
from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.timescales import utc_to_tai_mjd

# MJD of 1899-12-12 and 2132-08-31: a date outside is a unit mistake (seconds, JD), and would not fit our records.
EARLIEST_MJD: Final = 15000.0
LATEST_MJD: Final = 100000.0


def missing(name: str) -> PacketError:
    """The error of a field that is absent or null."""
    return PacketError(DeadLetterReason.MISSING_FIELD, Stage.FIELDS, name)


def bad(name: str, value: object) -> PacketError:
    """The error of a field whose value makes no sense; at most 60 characters of the value are quoted."""
    return PacketError(DeadLetterReason.BAD_FIELD, Stage.FIELDS, f"{name} is {repr(value)[:60]}")


def nested(record: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A required nested record."""
    value = record.get(name)
    if value is None:
        raise missing(name)
    if not isinstance(value, Mapping):
        raise bad(name, value)
    return value


def identifier(record: Mapping[str, Any], name: str) -> str:
    """A required id as a decimal string: a non-empty text or an integer."""
    value = record.get(name)
    if value is None or value == "":
        raise missing(name)
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise bad(name, value)
    return str(value)


def number(record: Mapping[str, Any], name: str, low: float = -math.inf, high: float = math.inf) -> float:
    """A required finite number between ``low`` and ``high``."""
    value = optional_number(record, name)
    if value is None:
        raise missing(name)
    if not low <= value <= high:
        raise bad(name, value)
    return value


def optional_number(record: Mapping[str, Any], name: str) -> float | None:
    """A number; None when absent, null or NaN (how surveys write "unknown"). Infinity is a fault."""
    value = record.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise bad(name, value)
    result = float(value)
    if math.isinf(result):
        raise bad(name, value)
    return None if math.isnan(result) else result


def single(value: float | None) -> float:
    """Rounded to float32, as our records carry it; NaN for None and for what is beyond float32's range."""
    if value is None or abs(value) > float(np.finfo(np.float32).max):
        return math.nan
    return float(np.float32(value))


def optional_single(value: float | None) -> float | None:
    """``single``, with None kept (and NaN made None)."""
    result = single(value)
    return None if math.isnan(result) else result


def mjd(record: Mapping[str, Any], name: str) -> float:
    """A required MJD within 1899 to 2132."""
    return number(record, name, EARLIEST_MJD, LATEST_MJD)


def mjd_utc(record: Mapping[str, Any], name: str) -> float:
    """A required MJD in UTC, as TAI."""
    value = mjd(record, name)
    try:
        return utc_to_tai_mjd(value)
    except ValueError as error:
        raise bad(name, value) from error


def band(record: Mapping[str, Any], name: str) -> str:
    """A required band name, one of u g r i z y."""
    value = record.get(name)
    if value is None:
        raise missing(name)
    if value not in BANDS:
        raise bad(name, value)
    return str(value)


def cutout_bytes(record: Mapping[str, Any], name: str) -> bytes | None:
    """An optional cutout; None when absent, null or empty."""
    value = record.get(name)
    if value is None or value == b"":
        return None
    if not isinstance(value, bytes):
        raise bad(name, value)
    return value
