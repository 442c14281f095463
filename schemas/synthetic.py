"""Seeded simulated ZTF packets of objects that rise, fade or vary: for the demo and the tests, no survey's truth.

A packet is a ZTF object container with the fields that decoding reads and gzipped FITS stamps of 63 x 63 DN, so it
goes through the same decoder as a real one.
"""

from __future__ import annotations

import gzip
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import fastavro
import numpy as np
from numpy.typing import NDArray

SIDE: Final = 63
ZERO_POINT: Final = 26.2
FIRST_JD: Final = 2_460_000.5
NOISE_DN: Final = 12.0
CLASSES: Final = ("AGN", "SNIa", "SNOther", "Variable")
_CUTOUT: Final = {"type": "record", "name": "cutout", "fields": [{"name": "stampData", "type": "bytes"}]}
_FIELDS: Final = {
    "jd": "double",
    "fid": "int",
    "programid": "int",
    "ra": "double",
    "dec": "double",
    "magpsf": "float",
    "sigmapsf": "float",
    "isdiffpos": "string",
    "magzpsci": "float",
    "fwhm": "float",
    "drb": "float",
    "ssdistnr": "float",
}
_SCHEMA: Final[dict[str, Any]] = {
    "type": "record",
    "name": "alert",
    "namespace": "ztf",
    "fields": [
        {"name": "schemavsn", "type": "string"},
        {"name": "objectId", "type": "string"},
        {"name": "candid", "type": "long"},
        {
            "name": "candidate",
            "type": {
                "type": "record",
                "name": "candidate",
                "fields": [{"name": name, "type": kind} for name, kind in _FIELDS.items()],
            },
        },
        {"name": "cutoutScience", "type": ["null", _CUTOUT]},
        {"name": "cutoutDifference", "type": ["null", "ztf.cutout"]},
    ],
}


@dataclass(frozen=True, slots=True)
class SimulatedPacket:
    """payload: the wire bytes; true_class: what was drawn."""

    payload: bytes
    object_id: str
    true_class: str


@cache
def _parsed() -> Any:
    return fastavro.parse_schema(_SCHEMA)


def fits_bytes(image_HW: NDArray[np.float32]) -> bytes:
    """A primary FITS image, BITPIX -32."""
    rows, columns = image_HW.shape
    values = {"SIMPLE": "T", "BITPIX": "-32", "NAXIS": "2", "NAXIS1": str(columns), "NAXIS2": str(rows)}
    cards = "".join(f"{key:<8}= {value:>20}".ljust(80) for key, value in values.items()) + "END".ljust(80)
    data = image_HW.astype(">f4").tobytes()
    return cards.ljust(2880).encode() + data + bytes(-len(data) % 2880)


def generate_packets(*, seed: int, num_objects: int, num_frames: int = 12) -> Iterator[SimulatedPacket]:
    """Packets of ``num_objects`` objects with ``num_frames`` exposures each, in time order; classes take turns."""
    random = np.random.default_rng(seed)
    objects = [_Object.draw(index, random) for index in range(num_objects)]
    for frame in range(num_frames):
        for target in objects:
            yield target.packet(frame, 3.0 * frame, random)


@dataclass(frozen=True, slots=True)
class _Object:
    index: int
    true_class: str
    ra: float
    dec: float
    peak_dn: float
    host_dn: float
    phase: float

    @classmethod
    def draw(cls, index: int, random: np.random.Generator) -> _Object:
        return cls(
            index,
            CLASSES[index % len(CLASSES)],
            float(random.uniform(0, 360)),
            float(random.uniform(-20, 60)),
            float(random.uniform(3000, 20000)),
            float(random.uniform(0, 20000)),
            float(random.uniform(0, 1)),
        )

    def flux(self, days: float, random: np.random.Generator) -> float:
        """Difference flux in DN at ``days`` after the first exposure."""
        if self.true_class in ("SNIa", "SNOther"):
            rise, fall = (6.0, 15.0) if self.true_class == "SNIa" else (4.0, 60.0)
            since = days - 8.0 - 4.0 * self.phase
            return self.peak_dn * math.exp(-0.5 * (since / rise) ** 2 if since < 0 else -since / fall)
        if self.true_class == "Variable":
            return self.peak_dn * math.sin(2 * math.pi * (days / 0.57 + self.phase))
        return 0.3 * self.peak_dn * float(random.normal())

    def packet(self, frame: int, days: float, random: np.random.Generator) -> SimulatedPacket:
        fwhm = float(random.uniform(1.7, 2.8))
        sigma = fwhm / 2.3548
        rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE // 2
        psf = np.exp(-(rows**2 + columns**2) / (2 * sigma**2)) / (2 * math.pi * sigma**2)
        noise = random.normal(0, NOISE_DN, (2, SIDE, SIDE))
        flux = self.flux(days, random)
        host = self.host_dn * np.exp(-np.hypot(rows, columns) / 3.0) / (2 * math.pi * 9.0)
        difference = (flux * psf + noise[0]).astype(np.float32)
        science = (flux * psf + host + 200.0 + noise[1]).astype(np.float32)
        object_id = f"ZTF00sim{self.index:05d}"
        magnitude = ZERO_POINT - 2.5 * math.log10(max(abs(flux), 1.0))
        candidate = {
            "jd": FIRST_JD + days + float(random.uniform(0, 0.3)),
            "fid": 1 + frame % 2,
            "programid": 1,
            "ra": self.ra,
            "dec": self.dec,
            "magpsf": magnitude,
            "sigmapsf": 0.05,
            "isdiffpos": "t" if flux >= 0 else "f",
            "magzpsci": ZERO_POINT,
            "fwhm": fwhm,
            "drb": 0.99,
            "ssdistnr": -999.0,
        }
        record = {
            "schemavsn": "4.02",
            "objectId": object_id,
            "candid": 10_000 * self.index + frame + 1,
            "candidate": candidate,
            "cutoutScience": {"stampData": gzip.compress(fits_bytes(science), 1, mtime=0)},
            "cutoutDifference": {"stampData": gzip.compress(fits_bytes(difference), 1, mtime=0)},
        }
        buffer = io.BytesIO()
        # a fixed sync marker keeps the bytes a function of the seed
        fastavro.writer(buffer, _parsed(), [record], sync_marker=b"convention-brok!")
        return SimulatedPacket(buffer.getvalue(), object_id, self.true_class)
