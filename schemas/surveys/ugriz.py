"""The generic ugriz packet (``avsc/ugriz_alert.avsc``): calibrated, north-up cutouts for SDSS-like data.

Grid ``sdss-0.396-32``: the packet's own pixels, cut or padded around the middle; nothing is resampled.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import DeadLetterReason, PacketError, Stage
from schemas.fits_writer import primary_hdu
from schemas.observation import NativeCutouts, Observation, Plane
from schemas.outcome import Identity
from schemas.stamps import make_plane, place
from schemas.surveys import fields
from schemas.surveys.base import PacketHeader, Record, Survey

SCHEMA_NAME: Final = "convention.v1.UgrizAlert"
GRID_ID: Final = "sdss-0.396-32"
RESAMPLER: Final = "none-1"
LARGEST_SIDE: Final = 512
# Apache Point Observatory, degrees east; a night is counted from local mean noon.
SITE_LONGITUDE_DEG: Final = -105.8203
CUTOUT_NAMES: Final = ("science", "template", "difference")


def owns(schema_name: str, record: Record) -> bool:
    """By the schema's full name only."""
    return schema_name == SCHEMA_NAME


def read_header(record: Record, schema_name: str) -> PacketHeader:
    """Identity and cut fields; PacketError names the field at fault."""
    identity = Identity(
        survey="ugriz",
        schema_name=schema_name,
        survey_version=fields.identifier(record, "schemavsn"),
        object_id=fields.identifier(record, "objectId"),
        source_id=fields.identifier(record, "sourceId"),
        mjd=fields.mjd(record, "midpointMjdTai"),
        band=fields.band(record, "band"),
    )
    return PacketHeader(
        identity=identity,
        ra=fields.number(record, "ra", 0.0, 360.0),
        dec=fields.number(record, "dec", -90.0, 90.0),
        reliability=fields.optional_single(fields.optional_number(record, "reliability")),
        is_moving=bool(record.get("isMoving")),
        withdrawn_mjd=fields.optional_number(record, "withdrawnMjdTai"),
    )


def night_of(mjd_tai: float) -> int:
    """Site night: floor of the MJD counted from local mean noon."""
    return math.floor(mjd_tai + SITE_LONGITUDE_DEG / 360.0 - 0.5)


def read_pixels(record: Record, name: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]] | None:
    """A cutout's pixels (nJy, float32 [H, W]) and valid mask; None when the packet has none.

    PacketError when the stated shape and the bytes disagree.
    """
    if record.get(name) is None:
        return None
    cutout = fields.nested(record, name)
    height, width = int(fields.number(cutout, "height")), int(fields.number(cutout, "width"))
    pixels, bits = cutout.get("pixels"), cutout.get("valid")
    if not (1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise PacketError(DeadLetterReason.TOO_LARGE, Stage.CUTOUT, f"{name} of {height} x {width} pixels")
    if not isinstance(pixels, bytes) or len(pixels) != 4 * height * width:
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.CUTOUT, f"{name} pixels do not fill {height} x {width}")
    image = np.frombuffer(pixels, "<f4").reshape(height, width).astype(np.float32)
    if bits is None:
        return image, np.isfinite(image)
    if not isinstance(bits, bytes) or len(bits) != (height * width + 7) // 8:
        raise PacketError(DeadLetterReason.BAD_FIELD, Stage.CUTOUT, f"{name} mask does not fill {height} x {width}")
    valid = np.unpackbits(np.frombuffer(bits, np.uint8), count=height * width).view(np.bool_).reshape(height, width)
    return image, valid & np.isfinite(image)


def read_plane(record: Record, name: str, *, subtract_sky: bool) -> Plane:
    """A cutout on the grid; fully masked when the packet has none."""
    found = read_pixels(record, name)
    if found is None:
        return Plane.masked()
    image, valid = found
    noise = fields.optional_number(record[name], "noiseNjy")
    if noise is not None and noise < 0.0:
        raise fields.bad(f"{name}.noiseNjy", noise)
    placed = place(image, valid, image.shape[0] // 2, image.shape[1] // 2)
    return make_plane(*placed, noise_njy=noise, subtract_sky=subtract_sky)


def read_observation(record: Record, header: PacketHeader, keep_native: bool) -> Observation:
    """The packet's planes on grid ``sdss-0.396-32``."""
    identity = header.identity
    if identity.object_id is None or identity.source_id is None or identity.mjd is None or identity.band is None:
        raise fields.missing("objectId, sourceId, midpointMjdTai or band")
    night = fields.optional_number(record, "nightMjd")
    return Observation(
        survey="ugriz",
        object_id=identity.object_id,
        source_id=identity.source_id,
        mjd=identity.mjd,
        night=night_of(identity.mjd) if night is None else int(night),
        band=identity.band,
        ra=header.ra,
        dec=header.dec,
        diff_flux_njy=fields.single(fields.optional_number(record, "psfFlux")),
        diff_flux_err_njy=fields.single(fields.optional_number(record, "psfFluxErr")),
        reliability=header.reliability,
        programid=None,
        grid_id=GRID_ID,
        resampler=RESAMPLER,
        rotation_deg=0.0,
        psf_fwhm_arcsec=fields.optional_single(fields.optional_number(record, "psfFwhmArcsec")),
        science=read_plane(record, "science", subtract_sky=True),
        difference=read_plane(record, "difference", subtract_sky=False),
        native=NativeCutouts(**cutouts(record)) if keep_native else None,
    )


def cutouts(record: Record) -> dict[str, bytes | None]:
    """The cutouts as FITS images (float32, NaN where masked), since the packet itself carries bare arrays."""

    def as_fits(name: str) -> bytes | None:
        found: Any = read_pixels(record, name)
        return None if found is None else primary_hdu(np.where(found[1], found[0], np.float32(np.nan)))

    return {name: as_fits(name) for name in CUTOUT_NAMES}


UGRIZ: Final = Survey(
    name="ugriz",
    grid_id=GRID_ID,
    owns=owns,
    read_header=read_header,
    cutouts=cutouts,
    read_observation=read_observation,
)
