"""Observation and Withdrawal: the two facts the stamp log carries, and their bytes.

Shapes: a plane is [32, 32] (rows, columns), the difference's and the science image's are kept apart.
Units: nJy for flux, degrees for angles, days (MJD, TAI) for time. A masked pixel holds 0 and ``valid`` False;
a plane the packet did not have is fully masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import band_id
from schemas.errors import RecordError
from schemas.records import codec

STAMP_SIZE: Final = 32
NUM_PIXELS: Final = STAMP_SIZE * STAMP_SIZE
# float16 has 11 bits of significand up to 65504; brighter pixels are carried by a larger scale.
LARGEST_MULTIPLE: Final = 60000.0
DIGEST_SIZE: Final = 16


@dataclass(frozen=True, slots=True)
class Plane:
    """One calibrated stamp.

    pixels: float32 [32, 32], nJy, 0 where masked; valid: bool [32, 32]; noise_njy: standard deviation of one
    pixel, 0 when everything is masked.
    """

    pixels: NDArray[np.float32]
    valid: NDArray[np.bool_]
    noise_njy: float

    @classmethod
    def masked(cls) -> Plane:
        """A plane the packet lacks."""
        shape = (STAMP_SIZE, STAMP_SIZE)
        return cls(np.zeros(shape, np.float32), np.zeros(shape, np.bool_), 0.0)

    @property
    def num_valid(self) -> int:
        """Number of unmasked pixels, 0..1024."""
        return int(np.count_nonzero(self.valid))

    def to_record(self) -> dict[str, Any]:
        """The plane as an Avro ``Plane``: float16 multiples of the noise scale, mask bits packed."""
        if not self.valid.any():
            return {"noise_njy": 0.0, "scale_njy": 0.0, "pixels": b"", "valid": b""}
        pixels = np.where(self.valid, self.pixels, np.float32(0))
        peak = float(np.abs(pixels).max())
        noise = float(np.float32(self.noise_njy))
        scale = float(np.float32(max(noise, peak / LARGEST_MULTIPLE)))
        if scale == 0.0:
            scale = 1.0
        return {
            "noise_njy": noise,
            "scale_njy": scale,
            "pixels": (pixels / np.float32(scale)).astype("<f2").tobytes(),
            "valid": np.packbits(self.valid).tobytes(),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Plane:
        """Inverse of ``to_record`` up to float16 rounding; RecordError for a wrong length or a flux not finite."""
        if not record["valid"]:
            return cls.masked()
        if len(record["pixels"]) != 2 * NUM_PIXELS or len(record["valid"]) * 8 != NUM_PIXELS:
            raise RecordError(f"plane of {len(record['pixels'])} + {len(record['valid'])} bytes")
        shape = (STAMP_SIZE, STAMP_SIZE)
        multiples = np.frombuffer(record["pixels"], "<f2").astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            pixels = (multiples * np.float32(record["scale_njy"])).reshape(shape)
        if not np.isfinite(pixels).all():
            raise RecordError("a plane holds a flux that is not finite")
        valid = np.unpackbits(np.frombuffer(record["valid"], np.uint8)).view(np.bool_).reshape(shape)
        return cls(pixels, valid, float(record["noise_njy"]))


@dataclass(frozen=True, slots=True)
class NativeCutouts:
    """The packet's own cutout bytes (FITS, gzipped for ZTF); None where it had none."""

    science: bytes | None
    template: bytes | None
    difference: bytes | None


@dataclass(frozen=True, slots=True)
class Observation:
    """One exposure of one object; fields as documented in ``avsc/observation.avsc``."""

    survey: str
    object_id: str
    source_id: str
    mjd: float
    night: int
    band: str
    ra: float
    dec: float
    diff_flux_njy: float
    diff_flux_err_njy: float
    reliability: float | None
    programid: int | None
    grid_id: str
    resampler: str
    rotation_deg: float
    psf_fwhm_arcsec: float | None
    science: Plane
    difference: Plane
    native: NativeCutouts | None = None

    @property
    def num_valid(self) -> int:
        """Unmasked pixels over both planes, 0..2048."""
        return self.science.num_valid + self.difference.num_valid

    @property
    def band_id(self) -> int:
        """1..6 for u g r i z y."""
        return band_id(self.band)

    def to_bytes(self) -> bytes:
        """The stamp-log value: a pure function of the packet and the settings, so that a redelivery repeats it."""
        native = self.native
        return codec("observation").encode(
            {
                "survey": self.survey,
                "object_id": self.object_id,
                "source_id": self.source_id,
                "mjd": self.mjd,
                "night": self.night,
                "band": self.band,
                "ra": self.ra,
                "dec": self.dec,
                "diff_flux_njy": self.diff_flux_njy,
                "diff_flux_err_njy": self.diff_flux_err_njy,
                "reliability": self.reliability,
                "programid": self.programid,
                "grid_id": self.grid_id,
                "resampler": self.resampler,
                "rotation_deg": self.rotation_deg,
                "psf_fwhm_arcsec": self.psf_fwhm_arcsec,
                "science": self.science.to_record(),
                "difference": self.difference.to_record(),
                "native": None
                if native is None
                else {
                    "science": native.science,
                    "template": native.template,
                    "difference": native.difference,
                },
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Observation:
        """Inverse of ``to_bytes`` up to float16 rounding of the pixels; RecordError when it is not one."""
        record = codec("observation").decode(payload)
        record["science"] = Plane.from_record(record["science"])
        record["difference"] = Plane.from_record(record["difference"])
        if record["native"] is not None:
            record["native"] = NativeCutouts(**record["native"])
        return cls(**record)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """The survey takes a source back; fields as documented in ``avsc/withdrawal.avsc``."""

    survey: str
    object_id: str
    source_id: str
    mjd: float
    band: str
    withdrawn_mjd: float

    @property
    def band_id(self) -> int:
        """1..6 for u g r i z y."""
        return band_id(self.band)

    def to_bytes(self) -> bytes:
        """The stamp-log value."""
        return codec("withdrawal").encode(
            {
                "survey": self.survey,
                "object_id": self.object_id,
                "source_id": self.source_id,
                "mjd": self.mjd,
                "band": self.band,
                "withdrawn_mjd": self.withdrawn_mjd,
            }
        )

    @classmethod
    def from_bytes(cls, payload: bytes) -> Withdrawal:
        """Inverse of ``to_bytes``; RecordError when it is not one."""
        return cls(**codec("withdrawal").decode(payload))


def read_fact(payload: bytes) -> Observation | Withdrawal:
    """A stamp-log value as what it says it is; RecordError when it is neither."""
    if codec("withdrawal").matches(payload):
        return Withdrawal.from_bytes(payload)
    return Observation.from_bytes(payload)


def log_key(survey: str, object_id: str) -> bytes:
    """Kafka key of the stamp log and of the output topic: all facts of one object share a partition."""
    return f"{survey}:{object_id}".encode()


def content_digest(payload: bytes) -> bytes:
    """Identity of a fact: BLAKE2b-128 of its stamp-log value, 16 bytes."""
    return blake2b(payload, digest_size=DIGEST_SIZE).digest()
