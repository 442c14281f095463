"""ZTF alert packets: Avro object containers with gzipped FITS stamps in DN (ZwickyTransientFacility/ztf-avro-alert).

The schema is a part of version 4.02: the fields that decoding reads, under their own names and types.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import replace
from functools import cache
from typing import Any, Final

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.fits_writer import primary_hdu
from schemas.surveys.ztf import BANDS, NJY_ZERO_POINT, PIXEL_ARCSEC
from schemas.timescales import JD_MINUS_MJD, tai_to_utc_mjd
from schemas.writers.alert import AlertFields, Stamps, container

ZERO_POINT: Final = 26.2
STATIC_DISTANCE: Final = -999.0  # of the nearest solar system object, where there is none
FAINTEST_NJY: Final = 1e-3
_FIDS: Final = {band: number for number, band in BANDS.items()}
_CUTOUT: Final = {
    "type": "record",
    "name": "cutout",
    "fields": [{"name": "fileName", "type": "string"}, {"name": "stampData", "type": "bytes"}],
}
_CANDIDATE: Final = {
    "jd": "double",
    "fid": "int",
    "programid": "int",
    "candid": "long",
    "isdiffpos": "string",
    "xpos": ["float", "null"],
    "ypos": ["float", "null"],
    "ra": "double",
    "dec": "double",
    "magpsf": "float",
    "sigmapsf": "float",
    "fwhm": ["float", "null"],
    "ssdistnr": ["float", "null"],
    "magzpsci": "float",
    "drb": ["float", "null"],
}


@cache
def _schema() -> Any:
    fields = [{"name": name, "type": kind} for name, kind in _CANDIDATE.items()]
    return fastavro.parse_schema(
        {
            "type": "record",
            "name": "alert",
            "namespace": "ztf",
            "fields": [
                {"name": "schemavsn", "type": "string"},
                {"name": "publisher", "type": "string"},
                {"name": "objectId", "type": "string"},
                {"name": "candid", "type": "long"},
                {"name": "candidate", "type": {"type": "record", "name": "candidate", "fields": fields}},
                {"name": "cutoutScience", "type": ["null", _CUTOUT], "default": None},
                {"name": "cutoutTemplate", "type": ["null", "ztf.cutout"], "default": None},
                {"name": "cutoutDifference", "type": ["null", "ztf.cutout"], "default": None},
            ],
        }
    )


def ztf_packet(
    fields: AlertFields,
    stamps: Stamps,
    *,
    zero_point: float = ZERO_POINT,
    programid: int = 1,
    position: tuple[float, float] | None = None,
) -> bytes:
    """One packet. Stamps of 63 x 63 pixels of 1.01 arcsec, the source in the middle one.

    zero_point: AB magnitude of 1 DN. position: (xpos, ypos), the source's 1-based place on the chip, which a stamp
    cut short at an edge needs. ZTF withdraws no source: ValueError when ``fields`` does; also for a band it lacks.
    """
    if fields.withdrawn_mjd is not None:
        raise ValueError(f"source {fields.source_id}: ZTF packets have no withdrawal")
    if fields.band not in _FIDS:
        raise ValueError(f"source {fields.source_id}: ZTF has no {fields.band} band, only {', '.join(_FIDS)}")
    njy_per_dn = np.float32(10 ** ((NJY_ZERO_POINT - zero_point) / 2.5))
    record: dict[str, Any] = {
        "schemavsn": "4.02",
        "publisher": "simulation",
        "objectId": fields.object_id,
        "candid": int(fields.source_id),
        "candidate": _candidate(fields, zero_point, programid, position),
    }
    if fields.flux_njy < 0 and stamps.difference is not None:
        stamps = replace(stamps, difference=-stamps.difference)  # as ZTF cuts it: reference minus science
    for name, image in stamps.named():
        cutout = None if image is None else _cutout(f"{fields.source_id}_{name}.fits.gz", image / njy_per_dn)
        record[f"cutout{name.capitalize()}"] = cutout
    return container(_schema(), record)


def _cutout(name: str, image_dn: NDArray[np.float32]) -> dict[str, Any]:
    return {"fileName": name, "stampData": gzip.compress(primary_hdu(image_dn), 1, mtime=0)}


def _candidate(
    fields: AlertFields, zero_point: float, programid: int, position: tuple[float, float] | None
) -> dict[str, Any]:
    size = max(abs(fields.flux_njy), FAINTEST_NJY)
    x, y = (None, None) if position is None else position
    fwhm = fields.psf_fwhm_arcsec
    return {
        "jd": tai_to_utc_mjd(fields.mjd) + JD_MINUS_MJD,
        "fid": _FIDS[fields.band],
        "programid": programid,
        "candid": int(fields.source_id),
        "isdiffpos": "t" if fields.flux_njy >= 0 else "f",
        "xpos": x,
        "ypos": y,
        "ra": fields.ra,
        "dec": fields.dec,
        "magpsf": NJY_ZERO_POINT - 2.5 * math.log10(size),
        "sigmapsf": 2.5 / math.log(10) * fields.flux_err_njy / size,
        "fwhm": None if fwhm is None else fwhm / PIXEL_ARCSEC,
        "ssdistnr": 0.0 if fields.is_moving else STATIC_DISTANCE,
        "magzpsci": zero_point,
        "drb": fields.reliability,
    }
