"""LSST packets, from wire bytes to north-up stamps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.cuts import Cuts
from schemas.decode import PacketDecoder
from schemas.errors import DeadLetterReason, FilterReason, PacketError
from schemas.observation import Observation, Withdrawal
from schemas.outcome import Filtered, Stamped
from schemas.surveys.lsst_wire import BUNDLED
from tests.schemas.lsst_packets import PSF_SIGMA_PX, VARIANCE, alert, cutout, gaussian, wire

SIDE = 42


def observe(record: dict[str, Any]) -> Observation:
    outcome = PacketDecoder().decode(wire(record))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    return outcome.fact


def with_cutouts(data: bytes, **source: Any) -> dict[str, Any]:
    return alert(**source) | {"cutoutScience": data, "cutoutDifference": data}


@settings(deadline=None, max_examples=50)
@given(
    rotation=st.floats(-180, 180),
    column=st.floats(19, 22),
    row=st.floats(19, 22),
    east=st.floats(-1.2, 1.2),
    north=st.floats(-1.2, 1.2),
    with_matrix=st.booleans(),
)
def test_derotation(
    rotation: float, column: float, row: float, east: float, north: float, *, with_matrix: bool
) -> None:
    """A companion planted east and north of the target, on a detector turned by any angle, lands where north-up puts
    it, with the matrix or with ROTPA alone; the flux is kept and the row axis' angle is recorded."""
    angle = math.radians(rotation)
    # the pixel's row axis points to position angle `rotation`, its column axis 90 degrees clockwise on the sky
    along_row = (east * math.sin(angle) + north * math.cos(angle)) / 0.2
    along_column = (-east * math.cos(angle) + north * math.sin(angle)) / 0.2
    image = 1000.0 * gaussian(SIDE, column + along_column, row + along_row, 1.6)
    data = cutout(image, rotation_deg=rotation, column=column, row=row, with_matrix=with_matrix)
    found = observe(with_cutouts(data))
    stamp = found.difference.pixels.astype(np.float64)
    rows, columns = np.mgrid[:32, :32]
    assert stamp.sum() == pytest.approx(1000.0, rel=0.01)
    assert (stamp * columns).sum() / stamp.sum() == pytest.approx(15.5 - east / 0.2, abs=0.05)
    assert (stamp * rows).sum() / stamp.sum() == pytest.approx(15.5 + north / 0.2, abs=0.05)
    assert math.cos(math.radians(found.rotation_deg) - angle) == pytest.approx(1.0, abs=1e-6)


def test_the_packets_facts_are_kept() -> None:
    """Identity, band, fluxes, noise and seeing are those of the packet; the night is Cerro Pachon's."""
    data = cutout(np.zeros((SIDE, SIDE)), column=20.0, row=21.0)
    found = observe(with_cutouts(data))
    assert (found.survey, found.object_id, found.source_id, found.band) == ("lsst", "5", "7", "r")
    assert (found.mjd, found.night, found.grid_id) == (61109.25, 61108, "lsst-0.2-32")
    assert (found.diff_flux_njy, found.diff_flux_err_njy) == (1000.0, 50.0)
    assert found.reliability == pytest.approx(0.9)
    assert found.psf_fwhm_arcsec == pytest.approx(2.3548 * PSF_SIGMA_PX * 0.2, rel=0.01)
    assert 0.5 * math.sqrt(VARIANCE) < found.difference.noise_njy <= math.sqrt(VARIANCE)
    assert found.difference.num_valid == 1024
    assert Observation.from_bytes(found.to_bytes()).rotation_deg == found.rotation_deg


@pytest.mark.parametrize("schema_id", BUNDLED)
def test_every_bundled_version(schema_id: int) -> None:
    """A packet of each bundled version becomes the same stamps; from 9.0 on it can be withdrawn."""
    data = cutout(100.0 * gaussian(SIDE, 20.0, 21.0, 1.6), column=20.0, row=21.0)
    outcome = PacketDecoder().decode(wire(with_cutouts(data), schema_id))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Observation)
    assert outcome.identity.survey_version == f"{schema_id // 100}.{schema_id % 100}"
    assert outcome.fact.difference.pixels.tobytes() == observe(with_cutouts(data)).difference.pixels.tobytes()
    outcome = PacketDecoder().decode(wire(with_cutouts(data, timeWithdrawnMjdTai=61120.0), schema_id))
    assert isinstance(outcome, Stamped)
    assert isinstance(outcome.fact, Withdrawal) is (schema_id >= 900)


def test_an_absent_cutout_and_unusable_pixels_are_masked() -> None:
    """A null cutout is a masked plane; NaN pixels and pixels without variance are masked with what they reach."""
    image, variance = np.ones((SIDE, SIDE)), np.full((SIDE, SIDE), VARIANCE)
    image[5:8, 5:8] = np.nan
    variance[30, 30] = 0.0
    data = cutout(image, column=20.5, row=20.5, variance=variance)
    found = observe(alert() | {"cutoutScience": None, "cutoutDifference": data})
    assert found.science.num_valid == 0
    assert 1024 - 4 * 4 - 6 * 6 <= found.difference.num_valid < 1024
    assert np.isfinite(found.difference.pixels).all()
    np.testing.assert_allclose(found.difference.pixels[found.difference.valid], 1.0, rtol=1e-4)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"diaObjectId": 0, "ssObjectId": 9}, FilterReason.MOVING_OBJECT),
        ({"diaObjectId": None}, FilterReason.MOVING_OBJECT),
        ({"ssObjectId": 9}, FilterReason.MOVING_OBJECT),
        ({"reliability": 0.2}, FilterReason.RELIABILITY),
    ],
)
def test_filters(source: dict[str, Any], reason: FilterReason) -> None:
    """Moving objects and unreliable sources are filtered, each with its reason."""
    outcome = PacketDecoder(cuts=Cuts(min_reliability=0.5)).decode(wire(alert(**source)))
    assert isinstance(outcome, Filtered)
    assert outcome.reason is reason


def test_a_source_of_no_object_is_never_grouped() -> None:
    """With the moving-object cut off, a source of no static object still makes no stamp; a moving one that has a
    static object does."""
    decoder = PacketDecoder(cuts=Cuts(reject_moving=False))
    data = cutout(np.zeros((SIDE, SIDE)), column=20.0, row=21.0)
    assert isinstance(decoder.decode(wire(with_cutouts(data, diaObjectId=0, ssObjectId=9))), Filtered)
    assert isinstance(decoder.decode(wire(with_cutouts(data, ssObjectId=9))), Stamped)


def test_a_withdrawn_source_is_a_withdrawal_whatever_the_cuts() -> None:
    """timeWithdrawnMjdTai makes a Withdrawal of the source, even where its reliability fails a cut."""
    outcome = PacketDecoder(cuts=Cuts(min_reliability=0.99)).decode(wire(alert(timeWithdrawnMjdTai=61120.5)))
    assert isinstance(outcome, Stamped)
    assert outcome.fact == Withdrawal("lsst", "5", "7", 61109.25, "r", 61120.5)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PC1_1": 0.0, "PC1_2": 0.0}, DeadLetterReason.NO_CALIBRATION),
        ({"CDELT1": 5.0}, DeadLetterReason.NO_CALIBRATION),
        ({"CRPIX1": "none"}, DeadLetterReason.NO_CALIBRATION),
    ],
)
def test_an_unusable_wcs_is_named(changes: dict[str, Any], reason: DeadLetterReason) -> None:
    """A degenerate matrix, foreign pixels and a reference pixel that is no number end in no_calibration, with the
    packet's schema id."""
    data = cutout(np.zeros((SIDE, SIDE)), column=20.0, row=21.0, **changes)
    with pytest.raises(PacketError) as caught:
        PacketDecoder().decode(wire(with_cutouts(data)))
    assert (caught.value.reason, caught.value.schema_id) == (reason, 1000)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ({"midpointMjdTai": 1477960994.5}, DeadLetterReason.BAD_FIELD),
        ({"band": None}, DeadLetterReason.MISSING_FIELD),
        ({"ra": 400.0}, DeadLetterReason.BAD_FIELD),
        ({"dec": math.nan}, DeadLetterReason.MISSING_FIELD),
    ],
)
def test_bad_fields_are_named(source: dict[str, Any], reason: DeadLetterReason) -> None:
    """A time in seconds, a missing band and an impossible position each end in their reason."""
    with pytest.raises(PacketError) as caught:
        PacketDecoder().decode(wire(alert(**source)))
    assert caught.value.reason is reason
