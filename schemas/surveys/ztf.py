"""ZTF: Avro object containers, gzipped FITS stamps of 63 x 63 pixels in DN.

Schema: ZwickyTransientFacility/ztf-avro-alert. ``jd`` is the START of the exposure, UTC. A stamp cut short at a chip
edge keeps the candidate on its pixel, so its centre follows from ``xpos`` and ``ypos``. A candidate of a negative
subtraction (``isdiffpos`` f or 0) comes with the stamp that it was found on, reference minus science: its pixels are
positive, and are turned round here, so that a difference plane is science minus reference whatever the candidate.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.fits import read_image
from schemas.observation import NativeCutouts, Observation, Plane
from schemas.outcome import Identity
from schemas.stamps import finite_mask, make_plane, place
from schemas.surveys.base import PacketHeader, Record, Survey
from schemas.timescales import JD_MINUS_MJD, NOON_PALOMAR, site_night, utc_to_tai_mjd

GRID_ID: Final = "ztf-1.01-32"
PIXEL_ARCSEC: Final = 1.01
STAMP_SIDE: Final = 63
STAMP_CENTER: Final = STAMP_SIDE // 2
RESAMPLER: Final = "cut-1"  # whole pixels, no interpolation
BANDS: Final = {1: "g", 2: "r", 3: "i"}
MOVING_ARCSEC: Final = 5.0
# AB magnitude of 1 nJy: 8.9 + 22.5
NJY_ZERO_POINT: Final = 31.4
SUBTRACTION_SIGNS: Final = {"t": 1.0, "1": 1.0, "true": 1.0, "f": -1.0, "0": -1.0, "false": -1.0}
CUTOUTS: Final = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}


def owns(schema_name: str, record: Record) -> bool:
    """Any record with ZTF's fields, whatever re-wrote its schema's name."""
    return isinstance(record.get("candidate"), dict) and "fid" in record["candidate"] and "jd" in record["candidate"]


def _number(record: Record, key: str) -> float | None:
    value = record.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.FIELDS, f"candidate.{key} is {value!r:.40}")
    return float(value) if math.isfinite(value) else None


def _needed(record: Record, key: str) -> float:
    value = _number(record, key)
    if value is None:
        raise PacketError(DeadLetterReason.MISSING_FIELD, Stage.FIELDS, f"candidate.{key} is missing")
    return value


def read_header(record: Record, schema_name: str) -> PacketHeader:
    """Identity and cut fields of one alert."""
    candidate = record["candidate"]
    object_id, source_id = record.get("objectId"), record.get("candid")
    if not isinstance(object_id, str) or not object_id or not isinstance(source_id, int):
        detail = f"objectId {object_id!r:.40}, candid {source_id!r:.40}"
        raise PacketError(DeadLetterReason.MISSING_FIELD, Stage.FIELDS, detail)
    band = BANDS.get(int(_needed(candidate, "fid")))
    if band is None:
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.FIELDS, f"candidate.fid is {candidate['fid']!r:.40}")
    try:
        mjd = utc_to_tai_mjd(_needed(candidate, "jd") - JD_MINUS_MJD)
    except ValueError as error:
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.FIELDS, f"candidate.jd: {error}") from error
    version = record.get("schemavsn")
    reliability = _number(candidate, "drb")
    if reliability is None:
        reliability = _number(candidate, "rb")
    programid = _number(candidate, "programid")
    distance = _number(candidate, "ssdistnr")
    return PacketHeader(
        identity=Identity(
            survey="ztf",
            schema_name=schema_name,
            survey_version=version if isinstance(version, str) else None,
            object_id=object_id,
            source_id=str(source_id),
            mjd=mjd,
            band=band,
        ),
        ra=_needed(candidate, "ra"),
        dec=_needed(candidate, "dec"),
        programid=None if programid is None else int(programid),
        reliability=reliability,
        is_moving=distance is not None and 0 <= distance <= MOVING_ARCSEC,
    )


def cutouts(record: Record) -> dict[str, bytes | None]:
    """The gzipped FITS bytes by name; None for a cutout the packet lacks."""
    found: dict[str, bytes | None] = {}
    for name, key in CUTOUTS.items():
        cutout: Any = record.get(key)
        data = cutout.get("stampData") if isinstance(cutout, dict) else None
        found[name] = data if isinstance(data, bytes) and data else None
    return found


def _center(position: float | None, side: int) -> int:
    """Index of the candidate's pixel along one axis of a stamp; ``position`` is its 1-based place on the chip."""
    if side >= STAMP_SIDE or position is None:
        return STAMP_CENTER
    return min(STAMP_CENTER, round(position) - 1)  # only the low edge shifts the origin


def _plane(data: bytes | None, candidate: Record, flux_per_dn: float, *, subtract_sky: bool) -> Plane:
    if data is None:
        return Plane.masked()
    image_HW = read_image(data)
    usable_HW = finite_mask(image_HW)
    flux_HW = np.where(usable_HW, image_HW, np.float32(0)) * np.float32(flux_per_dn)
    rows, columns = image_HW.shape
    row = _center(_number(candidate, "ypos"), rows)
    column = _center(_number(candidate, "xpos"), columns)
    pixels, valid = place(flux_HW, usable_HW, row, column)
    return make_plane(pixels, valid, subtract_sky=subtract_sky)


def read_observation(record: Record, header: PacketHeader, keep_native: bool) -> Observation:
    """Calibrated stamps of one alert: DN times 10^((31.4 - magzpsci) / 2.5) nJy, the difference with its sign."""
    candidate, identity = record["candidate"], header.identity
    stamps = cutouts(record)
    zero_point = _number(candidate, "magzpsci")
    if zero_point is None or not 0 < zero_point < 40:
        for data in filter(None, stamps.values()):
            read_image(data)  # a cutout's own fault says more
        detail = f"candidate.magzpsci is {candidate.get('magzpsci')!r:.40}"
        raise PacketError(DeadLetterReason.NO_CALIBRATION, Stage.CALIBRATION, detail)
    flux_per_dn = 10 ** ((NJY_ZERO_POINT - zero_point) / 2.5)
    sign = _subtraction_sign(candidate)
    flux, error = _stated_flux(candidate, sign)
    fwhm = _number(candidate, "fwhm")
    assert identity.object_id is not None
    assert identity.source_id is not None
    assert identity.mjd is not None
    assert identity.band is not None
    return Observation(
        survey="ztf",
        object_id=identity.object_id,
        source_id=identity.source_id,
        mjd=identity.mjd,
        night=site_night(identity.mjd, NOON_PALOMAR),
        band=identity.band,
        ra=header.ra,
        dec=header.dec,
        diff_flux_njy=flux,
        diff_flux_err_njy=error,
        reliability=header.reliability,
        programid=header.programid,
        grid_id=GRID_ID,
        resampler=RESAMPLER,
        rotation_deg=0.0,
        psf_fwhm_arcsec=fwhm * PIXEL_ARCSEC if fwhm is not None and fwhm > 0 else None,
        science=_plane(stamps["science"], candidate, flux_per_dn, subtract_sky=True),
        difference=_plane(stamps["difference"], candidate, sign * flux_per_dn, subtract_sky=False),
        native=NativeCutouts(**stamps) if keep_native else None,
    )


def _subtraction_sign(candidate: Record) -> float:
    """1 for science minus reference, -1 for reference minus science; ``isdiffpos``: t, f, 1, 0 or a boolean."""
    sign = SUBTRACTION_SIGNS.get(str(candidate.get("isdiffpos")).lower())
    if sign is None:
        detail = f"candidate.isdiffpos is {candidate.get('isdiffpos')!r:.40}, neither t nor f"
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.FIELDS, detail)
    return sign


def _stated_flux(candidate: Record, sign: float) -> tuple[float, float]:
    """Difference flux and error, nJy, from magpsf and sigmapsf."""
    magnitude, sigma = _number(candidate, "magpsf"), _number(candidate, "sigmapsf")
    if magnitude is None or not -5 < magnitude < 50:
        return math.nan, math.nan
    flux = 10 ** ((NJY_ZERO_POINT - magnitude) / 2.5)
    return sign * flux, math.nan if sigma is None else flux * sigma * math.log(10) / 2.5


ZTF: Final = Survey("ztf", GRID_ID, owns, read_header, cutouts, read_observation)
