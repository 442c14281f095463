"""Dates to MJD, UTC to TAI, and site nights."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime
from math import floor
from typing import Final

# (MJD UTC from which it holds, TAI - UTC in s): IERS Bulletin C, since 1999. No leap second since 2017-01-01.
_LEAP_SECONDS: Final = ((51179, 32), (53736, 33), (54832, 34), (56109, 35), (57204, 36), (57754, 37))
_STARTS: Final = [start for start, _ in _LEAP_SECONDS]
JD_MINUS_MJD: Final = 2400000.5
FIRST_MJD: Final = 15020.0  # of 1900 and 2200: a JD or a year taken for an MJD lies outside
LAST_MJD: Final = 124593.0
_MJD_EPOCH: Final = datetime(1858, 11, 17, tzinfo=UTC)
# UTC of local mean noon as a fraction of a day: (12 h - east longitude / 15) / 24.
NOON_PALOMAR: Final = 0.5 + 116.8650 / 360
NOON_CERRO_PACHON: Final = 0.5 + 70.7494 / 360


def date_to_utc_mjd(date: str | datetime) -> float:
    """MJD (UTC, days) of a date, ISO 8601 where it is text, UTC without a zone; ValueError when it is none."""
    moment = datetime.fromisoformat(date) if isinstance(date, str) else date
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (moment - _MJD_EPOCH).total_seconds() / 86400


def read_mjd(text: str, *, tai: bool = False) -> float:
    """MJD of an MJD, which is taken as it stands, or of an ISO 8601 date (UTC without a zone), which is brought to
    UTC or, on demand, to TAI. ValueError when the text is neither, or not from 1900 to 2200."""
    try:
        mjd = float(text)
    except ValueError:
        mjd = _read_iso(text)
        return in_range(utc_to_tai_mjd(mjd) if tai else mjd)
    return in_range(mjd)


def _read_iso(text: str) -> float:
    try:
        return date_to_utc_mjd(text)
    except ValueError:
        raise ValueError("neither an MJD nor ISO 8601") from None


def in_range(mjd: float) -> float:
    """``mjd``; ValueError when it is not from 1900 to 2200, as a JD is not."""
    if not FIRST_MJD <= mjd <= LAST_MJD:
        raise ValueError(f"MJD {mjd:.10g} is not between 1900 and 2200 (MJD = JD - 2400000.5; a date is YYYY-MM-DD)")
    return mjd


def utc_to_tai_mjd(mjd_utc: float) -> float:
    """MJD (TAI, days) of an MJD in UTC; ValueError before 1999, for which no survey here has data."""
    index = bisect_right(_STARTS, mjd_utc) - 1
    if index < 0:
        raise ValueError(f"MJD {mjd_utc} is before 1999")
    return mjd_utc + _LEAP_SECONDS[index][1] / 86400


def tai_to_utc_mjd(mjd_tai: float) -> float:
    """MJD (UTC, days) of an MJD in TAI; ValueError before 1999. A leap second itself reads as the one after it."""
    for start, seconds in reversed(_LEAP_SECONDS):
        mjd_utc = mjd_tai - seconds / 86400
        if mjd_utc >= start:
            return mjd_utc
    raise ValueError(f"MJD {mjd_tai} is before 1999")


def site_night(mjd: float, noon: float) -> int:
    """Number of the night that holds ``mjd``, counted from the site's local mean noon (a fraction of a UTC day)."""
    return floor(mjd - noon)
