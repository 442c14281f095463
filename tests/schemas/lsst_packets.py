"""LSST packets for the tests: small ones of our own making, written with a bundled schema."""

from __future__ import annotations

import io
from functools import cache
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.fits_writer import image_hdu, primary_hdu
from schemas.surveys.lsst_wire import bundled_schema

PSF_SIGMA_PX = 1.6
VARIANCE = 25.0


def gaussian(side: int, column: float, row: float, sigma: float) -> NDArray[np.float64]:
    """A point source of unit flux, [side, side]."""
    rows, columns = np.mgrid[:side, :side]
    profile = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return np.asarray(profile, np.float64)


def cutout(
    image: NDArray[np.float64],
    *,
    rotation_deg: float = 0.0,
    column: float,
    row: float,
    with_matrix: bool = True,
    variance: NDArray[np.float64] | None = None,
    **changes: float | str,
) -> bytes:
    """A cutout as Rubin writes it: the source on 0-based (column, row), the row axis at ``rotation_deg``."""
    angle, scale = np.radians(rotation_deg), 0.2 / 3600
    matrix = {"PC1_1": -np.cos(angle), "PC1_2": np.sin(angle), "PC2_1": np.sin(angle), "PC2_2": np.cos(angle)}
    cards: dict[str, float | str] = {"ROTPA": rotation_deg, "BUNIT": "nJy", "CRPIX1": column + 1, "CRPIX2": row + 1}
    if with_matrix:
        cards |= {name: float(value * scale) for name, value in matrix.items()} | {"CDELT1": 1.0, "CDELT2": 1.0}
    cards |= changes
    uncertainty = np.full(image.shape, VARIANCE) if variance is None else variance
    return (
        primary_hdu(image.astype(np.float32), tuple(cards.items()), extend=True)
        + image_hdu(uncertainty.astype(np.float32), "UNCERT")
        + image_hdu(gaussian(41, 20.0, 20.0, PSF_SIGMA_PX), "PSFIMAGE")
    )


def alert(**source: Any) -> dict[str, Any]:
    """A v10.0 record without cutouts; keywords change its diaSource."""
    dia_source = {"diaSourceId": 7, "visit": 1, "detector": 2, "diaObjectId": 5, "ssObjectId": None}
    dia_source |= {"midpointMjdTai": 61109.25, "ra": 150.0, "dec": 2.0, "x": 1.0, "y": 1.0, "band": "r"}
    dia_source |= {"psfFlux": 1000.0, "psfFluxErr": 50.0, "timeProcessedMjdTai": 61109.3, "reliability": 0.9}
    record: dict[str, Any] = {"diaSourceId": 7, "diaSource": dia_source | source}
    return record | {"cutoutDifference": None, "cutoutScience": None, "cutoutTemplate": None}


def _filled(schema: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """The record with 0 or False where the schema version needs a value that it lacks."""
    for field in schema["fields"]:
        if isinstance(field["type"], dict) and field["type"]["type"] == "record":
            record = record | {field["name"]: _filled(field["type"], record[field["name"]])}
        elif field["name"] not in record and "default" not in field:
            kind = field["type"]["type"] if isinstance(field["type"], dict) else field["type"]
            record = record | {field["name"]: _ZEROS[kind]}
    return record


_ZEROS: dict[str, Any] = {"long": 0, "int": 0, "float": 0.0, "double": 0.0, "boolean": False, "string": ""}


@cache
def _parsed(schema_id: int) -> Any:
    return fastavro.parse_schema(bundled_schema(schema_id))  # type: ignore[arg-type]


def wire(record: dict[str, Any], schema_id: int = 1000) -> bytes:
    """The record in Confluent wire format; absent nullable fields are null, others 0."""
    schema = bundled_schema(schema_id)
    assert schema is not None
    record = _filled(schema, record)
    buffer = io.BytesIO(b"\x00" + schema_id.to_bytes(4, "big"))
    buffer.seek(5)
    fastavro.schemaless_writer(buffer, _parsed(schema_id), record)
    return buffer.getvalue()
