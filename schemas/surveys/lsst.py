"""Rubin/LSST: Confluent wire format or containers, plain FITS cutouts in nJy, turned north-up and resampled.

Schemas: lsst/alert_packet, 7.0 and newer. A cutout has three HDUs: image (nJy), UNCERT (variance, nJy^2), PSFIMAGE.
Its WCS has no CTYPE and is linear: PC times CDELT takes pixels to degrees on the tangent plane (the first axis is
east, its cos(dec) already in), and the source is on the reference pixel.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.fits import ImageHdu, read_hdus
from schemas.observation import NativeCutouts, Observation, Plane
from schemas.outcome import Identity
from schemas.resample import RESAMPLER, CutoutWcs, GridMap
from schemas.stamps import finite_mask, make_plane
from schemas.surveys import fields
from schemas.surveys.base import PacketHeader, Record, Survey
from schemas.timescales import NOON_CERRO_PACHON, site_night

GRID_ID: Final = "lsst-0.2-32"
GRID_ARCSEC: Final = 0.2
# LSSTCam has 0.2"; beyond these bounds a cutout is no LSST image, and the resampling kernel does not suit it
MIN_PIXEL_ARCSEC: Final = 0.15
MAX_PIXEL_ARCSEC: Final = 0.3
OLDEST_MAJOR: Final = 7
CUTOUTS: Final = {"science": "cutoutScience", "template": "cutoutTemplate", "difference": "cutoutDifference"}
NUM_HDUS: Final = 3
# A Gaussian's FWHM over the square root of its effective number of pixels: 2 sqrt(2 ln 2) / sqrt(4 pi).
FWHM_PER_ROOT_AREA: Final = 0.664286
_VERSION: Final = re.compile(r"lsst\.v(\d{1,4})_(\d{1,4})(?:\.|$)")


def owns(schema_name: str, record: Record) -> bool:
    """By the schema's name, or by the field that Spark-written copies keep it in."""
    return isinstance(record.get("diaSource"), dict) and (
        schema_name.startswith("lsst.") or "lsst_schema_version" in record
    )


def _version(record: Record, schema_name: str) -> str:
    """``10.0``; PacketError (unsupported_version) when the packet states none or one before 7.0."""
    stated = record.get("lsst_schema_version", schema_name)
    match = _VERSION.match(stated) if isinstance(stated, str) else None
    if match is None or int(match[1]) < OLDEST_MAJOR:
        detail = f"schema {stated!r:.60}, expected lsst.v{OLDEST_MAJOR}_0 or newer"
        raise PacketError(DeadLetterReason.UNSUPPORTED_VERSION, Stage.FIELDS, detail)
    return f"{int(match[1])}.{int(match[2])}"


def read_header(record: Record, schema_name: str) -> PacketHeader:
    """Identity and cut fields; the object id is None for a source of no static object (diaObjectId 0 or null).

    Whether a moving object's record is there says nothing: Spark writes one full of nulls.
    """
    version = _version(record, schema_name)
    source = fields.nested(record, "diaSource")
    object_id = source.get("diaObjectId")
    identity = Identity(
        survey="lsst",
        schema_name=schema_name,
        survey_version=version,
        object_id=fields.identifier(source, "diaObjectId") if object_id else None,
        source_id=fields.identifier(source, "diaSourceId"),
        mjd=fields.mjd(source, "midpointMjdTai"),
        band=fields.band(source, "band"),
    )
    return PacketHeader(
        identity=identity,
        ra=fields.number(source, "ra", 0.0, 360.0),
        dec=fields.number(source, "dec", -90.0, 90.0),
        reliability=fields.optional_single(fields.optional_number(source, "reliability")),
        is_moving=not object_id or bool(source.get("ssObjectId")),
        withdrawn_mjd=fields.optional_number(source, "timeWithdrawnMjdTai"),
    )


def cutouts(record: Record) -> dict[str, bytes | None]:
    """The FITS bytes by name; None for a cutout the packet lacks."""
    return {name: fields.cutout_bytes(record, key) for name, key in CUTOUTS.items()}


@dataclass(frozen=True, slots=True)
class _Cutout:
    """image, variance: float32 [H, W], finite (0 where not valid), nJy and nJy^2; psf: [h, w] or None."""

    image: NDArray[np.float32]
    valid: NDArray[np.bool_]
    variance: NDArray[np.float32]
    wcs: CutoutWcs
    psf: NDArray[np.float64] | None


def _read_cutout(data: bytes) -> _Cutout:
    hdus = read_hdus(data, limit=NUM_HDUS)
    image = hdus[0].pixels
    valid = finite_mask(image)
    variance = np.zeros_like(image)
    if len(hdus) > 1:
        variance = hdus[1].pixels
        if variance.shape != image.shape:
            raise _damaged(f"variance of {variance.shape} pixels for an image of {image.shape}")
        valid &= (variance > 0) & np.isfinite(variance)
    if not valid.all():
        image, variance = (np.where(valid, array, np.float32(0)) for array in (image, variance))
    return _Cutout(
        image.astype(np.float32, copy=False),
        valid,
        variance.astype(np.float32, copy=False),
        _wcs(hdus[0]),
        hdus[2].pixels.astype(np.float64, copy=False) if len(hdus) > 2 else None,
    )


def _damaged(detail: str) -> PacketError:
    return PacketError(DeadLetterReason.BAD_FITS, Stage.CUTOUT, detail)


def _wcs(hdu: ImageHdu) -> CutoutWcs:
    """From the linear WCS; from ROTPA and LSSTCam's pixels where the matrix is missing."""
    column, row = _card(hdu, "CRPIX1") - 1.0, _card(hdu, "CRPIX2") - 1.0
    if "PC1_1" in hdu.cards:
        east, north = _card(hdu, "CDELT1", 1.0) * 3600.0, _card(hdu, "CDELT2", 1.0) * 3600.0
        matrix = (_card(hdu, "PC1_1"), _card(hdu, "PC1_2", 0.0), _card(hdu, "PC2_1", 0.0), _card(hdu, "PC2_2"))
        wcs = CutoutWcs(column, row, east * matrix[0], east * matrix[1], north * matrix[2], north * matrix[3])
    else:
        rotation = _card(hdu, "ROTPA")
        wcs = CutoutWcs.from_rotation(rotation, pixel_scale_arcsec=GRID_ARCSEC, target_column=column, target_row=row)
    scale = math.sqrt(wcs.pixel_area_arcsec2)
    if not MIN_PIXEL_ARCSEC <= scale <= MAX_PIXEL_ARCSEC:
        raise _uncalibrated(f'pixels of {scale:.3g}", expected {MIN_PIXEL_ARCSEC} to {MAX_PIXEL_ARCSEC}')
    return wcs


def _card(hdu: ImageHdu, keyword: str, default: float | None = None) -> float:
    value = hdu.number(keyword) if keyword in hdu.cards else default
    if value is None:
        raise _uncalibrated(f"cutout without a usable {keyword}")
    return value


def _uncalibrated(detail: str) -> PacketError:
    return PacketError(DeadLetterReason.NO_CALIBRATION, Stage.CALIBRATION, detail)


def psf_fwhm_arcsec(cutout: _Cutout) -> float | None:
    """FWHM of a Gaussian with the PSF's effective area, (sum p)^2 / sum p^2 pixels; None without a usable PSF."""
    if cutout.psf is None:
        return None
    total, squares = float(cutout.psf.sum()), float(np.vdot(cutout.psf, cutout.psf))
    if not (0.0 < total < math.inf and 0.0 < squares < math.inf):
        return None
    return FWHM_PER_ROOT_AREA * total * math.sqrt(cutout.wcs.pixel_area_arcsec2 / squares)


def _planes(named: dict[str, _Cutout]) -> dict[str, Plane]:
    """Planes on the grid; cutouts of one geometry share one map, which is half of the work."""
    planes: dict[str, Plane] = {}
    maps: dict[tuple[CutoutWcs, tuple[int, ...]], GridMap] = {}
    for name, cutout in named.items():
        geometry = (cutout.wcs, cutout.image.shape)
        if geometry not in maps:
            maps[geometry] = GridMap(*geometry, GRID_ARCSEC)
        planes[name] = _plane(cutout, maps[geometry], subtract_sky=name == "science")
    return planes


def _plane(cutout: _Cutout, grid_map: GridMap, *, subtract_sky: bool) -> Plane:
    pixels, valid = grid_map.image(cutout.image), grid_map.mask(cutout.valid)
    noise = _noise(cutout, grid_map.variance_gain)
    return make_plane(pixels, valid, noise_njy=noise, subtract_sky=subtract_sky)


def _noise(cutout: _Cutout, variance_gain: float) -> float | None:
    """Standard deviation of one grid pixel, from the median variance; None (measure it) without variances."""
    variance = cutout.variance[cutout.valid]
    if not variance.size:
        return None
    middle = variance.size // 2
    median = float(np.partition(variance, middle)[middle])
    return math.sqrt(median * variance_gain) if median > 0.0 else None


def read_observation(record: Record, header: PacketHeader, keep_native: bool) -> Observation:
    """Calibrated, north-up stamps of one alert on the 0.2" grid."""
    identity, source = header.identity, fields.nested(record, "diaSource")
    stamps = cutouts(record)
    named = {name: _read_cutout(data) for name in ("science", "difference") if (data := stamps[name]) is not None}
    planes = _planes(named)
    shown: Any = next(iter(named.values()), None)
    assert identity.object_id is not None
    assert identity.source_id is not None
    assert identity.mjd is not None
    assert identity.band is not None
    return Observation(
        survey="lsst",
        object_id=identity.object_id,
        source_id=identity.source_id,
        mjd=identity.mjd,
        night=site_night(identity.mjd, NOON_CERRO_PACHON),
        band=identity.band,
        ra=header.ra,
        dec=header.dec,
        diff_flux_njy=fields.single(fields.optional_number(source, "psfFlux")),
        diff_flux_err_njy=fields.single(fields.optional_number(source, "psfFluxErr")),
        reliability=header.reliability,
        programid=None,
        grid_id=GRID_ID,
        resampler=RESAMPLER,
        rotation_deg=0.0 if shown is None else fields.single(shown.wcs.rotation_deg),
        psf_fwhm_arcsec=None if shown is None else fields.optional_single(psf_fwhm_arcsec(shown)),
        science=planes.get("science") or Plane.masked(),
        difference=planes.get("difference") or Plane.masked(),
        native=NativeCutouts(**stamps) if keep_native else None,
    )


LSST: Final = Survey("lsst", GRID_ID, owns, read_header, cutouts, read_observation)
