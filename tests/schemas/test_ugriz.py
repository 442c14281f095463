"""The generic ugriz packet and the FITS images written for it."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DeadLetterReason, PacketError
from schemas.fits_writer import image_hdu, primary_hdu
from schemas.surveys.ugriz import SCHEMA_NAME, UGRIZ


def packet(**changes: Any) -> dict[str, Any]:
    pixels = np.random.default_rng(1).normal(100.0, 5.0, (32, 32)).astype("<f4")
    cutout = {"height": 32, "width": 32, "pixels": pixels.tobytes(), "valid": None, "noiseNjy": 5.0}
    record = {"schemavsn": "1.0", "objectId": "a", "sourceId": "1", "midpointMjdTai": 53650.3, "nightMjd": None}
    record |= {"band": "g", "ra": 10.0, "dec": 0.5, "psfFlux": 12.5, "psfFluxErr": 1.0, "reliability": None}
    record |= {"psfFwhmArcsec": 1.5, "isMoving": False, "withdrawnMjdTai": None}
    return record | {"science": cutout, "template": None, "difference": None} | changes


def test_planes_on_the_grid() -> None:
    """A 32 x 32 cutout passes pixel by pixel but for the sky; an absent cutout is a masked plane."""
    record = packet()
    observation = UGRIZ.read_observation(record, UGRIZ.read_header(record, SCHEMA_NAME), False)  # type: ignore[misc]
    stored = np.frombuffer(record["science"]["pixels"], "<f4").reshape(32, 32)
    np.testing.assert_allclose(np.ptp(stored - observation.science.pixels), 0.0, atol=1e-4)
    assert abs(float(np.median(observation.science.pixels))) < 1.0
    assert (observation.science.noise_njy, observation.difference.num_valid) == (5.0, 0)
    assert (observation.diff_flux_njy, observation.night) == (12.5, 53649)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"objectId": None}, DeadLetterReason.MISSING_FIELD),
        ({"band": "Q"}, DeadLetterReason.BAD_FIELD),
        ({"midpointMjdTai": 1477960994.5}, DeadLetterReason.BAD_FIELD),
        ({"ra": float("nan")}, DeadLetterReason.MISSING_FIELD),
        ({"science": {"height": 9, "width": 9, "pixels": b"", "valid": None}}, DeadLetterReason.BAD_FIELD),
        ({"science": {"height": 1 << 30, "width": 9, "pixels": b"", "valid": None}}, DeadLetterReason.TOO_LARGE),
    ],
)
def test_faults_are_named(changes: dict[str, Any], reason: DeadLetterReason) -> None:
    """Each damaged field ends in a PacketError of its own reason."""
    record = packet(**changes)
    with pytest.raises(PacketError) as caught:
        UGRIZ.read_observation(record, UGRIZ.read_header(record, SCHEMA_NAME), False)  # type: ignore[misc]
    assert caught.value.reason is reason


@given(shape=st.tuples(st.integers(1, 40), st.integers(1, 40)), number=st.floats(-1e9, 1e9))
def test_written_fits_is_read_by_astropy(shape: tuple[int, int], number: float) -> None:
    """Pixels and header values written are those astropy reads, bit for bit, extensions included."""
    pixels = np.random.default_rng(2).normal(size=shape).astype(np.float32)
    payload = primary_hdu(pixels, (("CRVAL1", number), ("BUNIT", "nJy")), extend=True)
    payload += image_hdu(pixels.astype(np.float64), "PSFIMAGE")
    with fits.open(io.BytesIO(payload)) as hdus:
        np.testing.assert_array_equal(hdus[0].data, pixels)
        np.testing.assert_array_equal(hdus["PSFIMAGE"].data, pixels.astype(np.float64))
        assert (hdus[0].header["CRVAL1"], hdus[0].header["BUNIT"]) == (number, "nJy")
