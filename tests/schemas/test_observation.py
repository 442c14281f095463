"""Observation and Withdrawal: their bytes read back, whatever the values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker_plugin.messages import LogMessage
from broker_plugin.store.facts import read_stored_fact
from schemas.bands import BANDS, band_id, band_name
from schemas.errors import RecordError
from schemas.observation import (
    LARGEST_MULTIPLE,
    NativeCutouts,
    Observation,
    Plane,
    Withdrawal,
    content_digest,
    log_key,
    read_fact,
)

FLOAT16_STEP = 2.0**-11
# multiples of the scale below float16's smallest normal number are kept in steps of 2^-24
SMALLEST_STEP = 2.0**-25

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
float32s = st.floats(width=32, allow_nan=False)


@st.composite
def planes(draw: st.DrawFn) -> Plane:
    """Noise of any scale with some far brighter pixels, some pixels or all of them masked."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    noise = draw(st.sampled_from([0.0, 1e-3, 1.0, 80.0, 1e6]))
    pixels = generator.normal(0, max(noise, 1e-3), (32, 32)).astype(np.float32)
    pixels[generator.random((32, 32)) < 0.01] *= np.float32(draw(st.sampled_from([1.0, 1e3, 1e7, -1e7])))
    valid = generator.random((32, 32)) < draw(st.sampled_from([0.0, 0.001, 0.5, 1.0]))
    if not valid.any():
        return Plane.masked()
    return Plane(np.where(valid, pixels, np.float32(0)), valid, float(np.float32(noise)))


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    cutouts = st.none() | st.binary(max_size=9)
    return Observation(
        survey=draw(st.sampled_from(["ztf", "lsst", "ugriz"])),
        object_id=draw(texts),
        source_id=draw(texts),
        mjd=draw(st.floats(40000, 90000)),
        night=draw(st.integers(-(2**31), 2**31 - 1)),
        band=draw(st.sampled_from(BANDS)),
        ra=draw(st.floats(0, 360)),
        dec=draw(st.floats(-90, 90)),
        diff_flux_njy=draw(float32s),
        diff_flux_err_njy=draw(float32s),
        reliability=draw(st.none() | st.floats(0, 1, width=32)),
        programid=draw(st.none() | st.integers(0, 3)),
        grid_id=draw(texts),
        resampler=draw(texts),
        rotation_deg=draw(st.floats(-180, 180, width=32)),
        psf_fwhm_arcsec=draw(st.none() | st.floats(0, 10, width=32)),
        science=draw(planes()),
        difference=draw(planes()),
        native=draw(st.none() | st.builds(NativeCutouts, cutouts, cutouts, cutouts)),
    )


def assert_close(found: Plane, plane: Plane) -> None:
    assert np.array_equal(found.valid, plane.valid)
    assert found.noise_njy == plane.noise_njy
    assert not found.pixels[~plane.valid].any()
    scale = max(plane.noise_njy, float(np.abs(plane.pixels).max()) / LARGEST_MULTIPLE) or 1.0
    tolerance = FLOAT16_STEP * 1.001 * np.abs(plane.pixels) + SMALLEST_STEP * scale
    assert (np.abs(found.pixels - plane.pixels) <= tolerance).all()


@settings(max_examples=60)
@given(observation=observations())
def test_an_observation_reads_back(observation: Observation) -> None:
    """All fields are equal, pixels to half a float16 step of their multiple, masks exactly; masked pixels are 0."""
    payload = observation.to_bytes()
    assert payload == observation.to_bytes()
    found = read_fact(payload)
    assert isinstance(found, Observation)
    assert_close(found.science, observation.science)
    assert_close(found.difference, observation.difference)
    assert replace(found, science=observation.science, difference=observation.difference) == observation
    assert found.num_valid == observation.num_valid


@settings(max_examples=40)
@given(observation=observations(), offset=st.integers(0, 2**60))
def test_the_stores_keys_are_the_observations(observation: Observation, offset: int) -> None:
    """What the store reads without unpacking pixels is what the whole observation says."""
    payload = observation.to_bytes()
    key = log_key(observation.survey, observation.object_id)
    fact = read_stored_fact(LogMessage(0, offset, key, payload))
    assert (fact.object_key, fact.payload) == (key, payload)
    found = fact.key
    assert (found.source_id, found.mjd, found.band_id, found.grid_id, found.num_valid) == (
        observation.source_id,
        observation.mjd,
        observation.band_id,
        observation.grid_id,
        observation.num_valid,
    )
    assert (found.first_offset, found.digest) == (offset, content_digest(payload))
    assert not found.is_withdrawal


@given(
    withdrawal=st.builds(
        Withdrawal,
        st.just("lsst"),
        texts,
        texts,
        st.floats(40000, 90000),
        st.sampled_from(BANDS),
        st.floats(40000, 90000),
    )
)
def test_a_withdrawal_reads_back(withdrawal: Withdrawal) -> None:
    """Every field survives, and the store knows it for a withdrawal."""
    payload = withdrawal.to_bytes()
    assert read_fact(payload) == withdrawal
    key = log_key(withdrawal.survey, withdrawal.object_id)
    found = read_stored_fact(LogMessage(0, 0, key, payload)).key
    assert found.is_withdrawal
    assert (found.source_id, found.band_id, found.mjd) == (withdrawal.source_id, withdrawal.band_id, withdrawal.mjd)


@settings(max_examples=60)
@given(observation=observations(), data=st.data())
def test_damaged_records_are_record_errors(observation: Observation, data: st.DataObject) -> None:
    """A record with a byte changed, or cut short, is read or is a RecordError: nothing else escapes."""
    payload = bytearray(observation.to_bytes())
    place = data.draw(st.integers(0, min(len(payload), 300) - 1))
    payload[place] ^= data.draw(st.integers(1, 255))
    cut = bytes(payload[: data.draw(st.integers(0, len(payload)))])
    for damaged in (bytes(payload), cut):
        for read in (read_fact, lambda value: read_stored_fact(LogMessage(0, 0, b"", value))):
            try:
                read(damaged)
            except RecordError:
                continue


def test_bands() -> None:
    """Ids are 1..6 and read back; 0 is padding and no band."""
    assert [band_name(band_id(band)) for band in BANDS] == list(BANDS)
    assert [band_id(band) for band in BANDS] == [1, 2, 3, 4, 5, 6]
    for wrong in (0, 7, -1):
        with pytest.raises(ValueError, match="unknown band id"):
            band_name(wrong)
    with pytest.raises(ValueError, match="unknown band 'w'"):
        band_id("w")
