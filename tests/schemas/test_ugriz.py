"""The generic ugriz packet and the FITS images written for it."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, FilterReason, PacketError
from schemas.fits_writer import image_hdu, primary_hdu
from schemas.observation import Observation, Withdrawal
from schemas.outcome import Filtered, Stamped
from schemas.surveys.ugriz import SCHEMA_NAME, UGRIZ
from schemas.writers.alert import AlertFields, Stamps
from schemas.writers.ugriz import ugriz_packet

FIELDS = AlertFields("SIM1", "9", 53650.25, "i", 10.5, -0.5, flux_njy=1250.0, flux_err_njy=50.0)


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


@settings(deadline=None, max_examples=50)
@given(
    side=st.integers(20, 60),
    has=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    bad=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=5),
)
def test_written_packets_are_read(side: int, has: tuple[bool, bool, bool], bad: list[tuple[int, int]]) -> None:
    """What the writer is given comes back from the decoder: pixels around the middle to the bit, NaN as masked,
    absent cutouts as masked planes, the fields as they were."""
    image = np.random.default_rng(side).normal(0.0, 50.0, (side, side)).astype(np.float32)
    for place in bad:
        image[place] = np.nan
    science, template, difference = (image if there else None for there in has)
    payload = ugriz_packet(FIELDS, Stamps(science, difference, template), noise_njy=50.0)
    outcome = PacketDecoder().decode(payload)
    assert isinstance(outcome, Stamped)
    found = outcome.fact
    assert isinstance(found, Observation)
    assert (found.survey, found.object_id, found.source_id, found.band) == ("ugriz", "SIM1", "9", "i")
    assert (found.mjd, found.ra, found.dec) == (FIELDS.mjd, FIELDS.ra, FIELDS.dec)
    assert (found.diff_flux_njy, found.diff_flux_err_njy) == (FIELDS.flux_njy, FIELDS.flux_err_njy)
    assert (found.science.num_valid > 0, found.difference.num_valid > 0) == (has[0], has[2])
    if difference is not None:
        expected, valid = place_in_grid(image)
        np.testing.assert_array_equal(found.difference.valid, valid)
        np.testing.assert_array_equal(found.difference.pixels[valid], expected[valid])
        assert found.difference.noise_njy == 50.0


def place_in_grid(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image with its pixel (side // 2, side // 2) on (16, 16), and where it is finite."""
    padded = np.pad(image, 32, constant_values=np.nan)
    start = 32 + image.shape[0] // 2 - 16
    cut = padded[start : start + 32, start : start + 32]
    return cut, np.isfinite(cut)


@pytest.mark.parametrize(("is_moving", "withdrawn_mjd"), [(True, None), (False, 53700.5)])
def test_moving_and_withdrawn(*, is_moving: bool, withdrawn_mjd: float | None) -> None:
    """A moving object's packet is filtered; a withdrawn source is a withdrawal."""
    fields = replace(FIELDS, is_moving=is_moving, withdrawn_mjd=withdrawn_mjd)
    outcome = PacketDecoder().decode(ugriz_packet(fields, Stamps(np.ones((32, 32), np.float32), None)))
    if withdrawn_mjd is None:
        assert outcome == Filtered(outcome.identity, FilterReason.MOVING_OBJECT)
    else:
        assert isinstance(outcome, Stamped)
        assert outcome.fact == Withdrawal("ugriz", "SIM1", "9", FIELDS.mjd, "i", withdrawn_mjd)
