"""Rubin/LSST alert packets: Confluent wire format, bundled schema, uncompressed FITS (lsst/alert_packet).

A cutout is a FITS file of three images: HDU0 the pixels in nJy, UNCERT their variance, PSFIMAGE the PSF in float64.
Its header is that of packets of schema 10.0: the linear terms of the detector's WCS for that visit, without CTYPE,
the reference point on the source; ROTPA, the position angle of the row axis; CUTMINX and CUTMINY, the cutout's place
on the detector.
"""

from __future__ import annotations

import io
import math
import struct
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.fits_writer import Cards, image_hdu, primary_hdu
from schemas.surveys.lsst_wire import BUNDLED, bundled_schema
from schemas.writers.alert import AlertFields, Stamps

PIXEL_ARCSEC: Final = 0.2
SCHEMA_ID: Final = 1000
OLDEST_SCHEMA_ID: Final = 900
MAGIC: Final = b"\x00"
DETECTOR: Final = 94
# An alert is sent about a minute after the exposure.
PROCESSING_DAYS: Final = 1.0 / 1440.0
# The order of the bundled schemas' last fields.
CUTOUTS: Final = ("difference", "science", "template")


@dataclass(frozen=True, slots=True)
class Pointing:
    """How a visit's detector lay on the sky. rotation_deg: position angle of the row axis, east of north.

    column, row: 0-based place of the source on the cutout. corner: CUTMINX and CUTMINY, the cutout's place on
    the detector.
    """

    rotation_deg: float
    column: float
    row: float
    corner: tuple[int, int] = (1000, 1000)


@cache
def _schema(schema_id: int) -> Any:
    schema = bundled_schema(schema_id)
    if schema is None:
        known = ", ".join(str(number) for number in BUNDLED)
        raise ValueError(f"LSST schema id {schema_id} is not bundled: one of {known}")
    return fastavro.parse_schema(schema)


def lsst_packet(
    fields: AlertFields,
    stamps: Stamps,
    pointing: Pointing,
    *,
    variance: NDArray[np.float32],
    psf: NDArray[np.float64],
    schema_id: int = SCHEMA_ID,
) -> bytes:
    """One packet of a static object. Square stamps of 0.2 arcsec pixels, whose number may differ between alerts.

    variance: nJy^2 a pixel, shaped as the stamps; psf: unit sum, of any shape. schema_id: 100 * major + minor, from
    9.0 on, which has withdrawals (ValueError when it is not bundled or older).
    """
    if schema_id < OLDEST_SCHEMA_ID:
        raise ValueError(f"LSST schema id {schema_id}: packets are written from {OLDEST_SCHEMA_ID} on")
    source_id, object_id = int(fields.source_id), int(fields.object_id)
    record: dict[str, Any] = {
        "diaSourceId": source_id,
        "diaSource": _source(fields, source_id, object_id, pointing) | {"bboxSize": variance.shape[0]},
        "diaObject": {
            "diaObjectId": object_id,
            "validityStartMjdTai": fields.mjd + PROCESSING_DAYS,
            "ra": fields.ra,
            "dec": fields.dec,
            "nDiaSources": 1,
            **{f"{band}_psfFluxNdata": int(band == fields.band) for band in BANDS},
        },
    }
    header = wcs_cards(fields, pointing)
    images = dict(stamps.named())
    for name in CUTOUTS:
        image = images[name]
        record[f"cutout{name.capitalize()}"] = None if image is None else cutout_fits(image, variance, psf, header)
    buffer = io.BytesIO()
    buffer.write(MAGIC + struct.pack(">I", schema_id))
    fastavro.schemaless_writer(buffer, _schema(schema_id), record)
    return buffer.getvalue()


def wcs_cards(fields: AlertFields, pointing: Pointing) -> Cards:
    """The header cards that place a cutout on the sky, as packets of schema 10.0 have them."""
    scale_deg = PIXEL_ARCSEC / 3600.0
    sine = scale_deg * math.sin(math.radians(pointing.rotation_deg))
    cosine = scale_deg * math.cos(math.radians(pointing.rotation_deg))
    return (
        ("CUTMINX", pointing.corner[0]),
        ("CUTMINY", pointing.corner[1]),
        ("ROTPA", pointing.rotation_deg),
        ("BUNIT", "nJy"),
        ("WCSAXES", 2),
        ("CRPIX1", pointing.column + 1.0),
        ("CRPIX2", pointing.row + 1.0),
        ("PC1_1", -cosine),
        ("PC1_2", sine),
        ("PC2_1", sine),
        ("PC2_2", cosine),
        ("CDELT1", 1.0),
        ("CDELT2", 1.0),
        ("CRVAL1", fields.ra),
        ("CRVAL2", fields.dec),
        ("LATPOLE", 90.0),
        ("MJDREF", 0.0),
    )


def cutout_fits(
    image: NDArray[np.float32], variance: NDArray[np.float32], psf: NDArray[np.float64], header: Cards
) -> bytes:
    """The three HDUs of one cutout."""
    uncertainty = image_hdu(variance, "UNCERT", (("UTYPE", "VarianceUncertainty"),))
    return primary_hdu(image, header, extend=True) + uncertainty + image_hdu(psf, "PSFIMAGE")


def _source(fields: AlertFields, source_id: int, object_id: int, pointing: Pointing) -> dict[str, Any]:
    return {
        "diaSourceId": source_id,
        "visit": source_id,
        "detector": DETECTOR,
        "diaObjectId": None if fields.is_moving else object_id,
        "ssObjectId": object_id if fields.is_moving else 0,
        "parentDiaSourceId": 0,
        "midpointMjdTai": fields.mjd,
        "ra": fields.ra,
        "dec": fields.dec,
        # in real packets x - CUTMINX is CRPIX1
        "x": pointing.corner[0] + pointing.column + 1.0,
        "y": pointing.corner[1] + pointing.row + 1.0,
        "psfNdata": 0,
        "trailNdata": 0,
        "dipoleNdata": 0,
        "snr": abs(fields.flux_njy) / fields.flux_err_njy,
        "isNegative": fields.flux_njy < 0,
        "psfFlux": fields.flux_njy,
        "psfFluxErr": fields.flux_err_njy,
        "reliability": fields.reliability,
        "band": fields.band,
        "timeProcessedMjdTai": fields.mjd + PROCESSING_DAYS,
        "timeWithdrawnMjdTai": fields.withdrawn_mjd,
        "ixxPSF": _second_moment(fields.psf_fwhm_arcsec),
        "iyyPSF": _second_moment(fields.psf_fwhm_arcsec),
        "ixyPSF": None if fields.psf_fwhm_arcsec is None else 0.0,
    }


def _second_moment(fwhm_arcsec: float | None) -> float | None:
    """Of a Gaussian, arcsec^2."""
    return None if fwhm_arcsec is None else (fwhm_arcsec / 2.3548) ** 2
