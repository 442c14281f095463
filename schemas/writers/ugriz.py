"""The project's own ugriz packet (``avsc/ugriz_alert.avsc``): calibrated, north-up stamps as bare arrays."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.records import raw_schema
from schemas.writers.alert import AlertFields, Stamps, container


@cache
def _schema() -> Any:
    # fastavro writes a field's doc and default in an order that changes from process to process; without the docs a
    # packet's bytes are a function of the alert
    return fastavro.parse_schema(_without_docs(raw_schema("ugriz_alert")))


def _without_docs(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_docs(value) for key, value in schema.items() if key != "doc"}
    return [_without_docs(part) for part in schema] if isinstance(schema, list) else schema


def ugriz_packet(
    fields: AlertFields, stamps: Stamps, *, noise_njy: float | None = None, night_mjd: int | None = None
) -> bytes:
    """One packet. Stamps of up to 512 pixels a side, 0.396 arcsec each, the source at index size // 2.

    noise_njy: standard deviation of one pixel, None when it is to be measured. night_mjd: the site night, None when
    it follows from the time.
    """
    said = asdict(fields)
    record: dict[str, Any] = {
        "schemavsn": "1.0",
        "objectId": said["object_id"],
        "sourceId": said["source_id"],
        "midpointMjdTai": said["mjd"],
        "nightMjd": night_mjd,
        "band": said["band"],
        "ra": said["ra"],
        "dec": said["dec"],
        "psfFlux": said["flux_njy"],
        "psfFluxErr": said["flux_err_njy"],
        "reliability": said["reliability"],
        "psfFwhmArcsec": said["psf_fwhm_arcsec"],
        "isMoving": said["is_moving"],
        "withdrawnMjdTai": said["withdrawn_mjd"],
    }
    record |= {name: None if image is None else _cutout(image, noise_njy) for name, image in stamps.named()}
    return container(_schema(), record)


def _cutout(image: NDArray[np.float32], noise_njy: float | None) -> dict[str, Any]:
    height, width = image.shape
    pixels = image.astype("<f4").tobytes()
    return {"height": height, "width": width, "pixels": pixels, "valid": None, "noiseNjy": noise_njy}
