"""StampSequence and its grid view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.bands import BANDS
from schemas.observation import Observation, Plane
from schemas.sequence import PLANES, StampSequence, build_sequence, grid_view
from tests.broker_plugin.stamp_log import GRID, make_observation


def build(observations: Sequence[Observation]) -> StampSequence:
    digests = [bytes([place]) * 16 for place in range(len(observations))]
    return build_sequence("ztf", "A", GRID, observations, digests, view_digest="ab")


@st.composite
def frames(draw: st.DrawFn) -> list[Observation]:
    """Frames in time order, several a night, some planes masked."""
    found = []
    mjd = 59000.0
    for source in range(draw(st.integers(0, 8))):
        mjd += draw(st.sampled_from([0.01, 0.4, 1.0, 7.0]))
        band = draw(st.sampled_from(BANDS))
        frame = make_observation(source=source, mjd=mjd, band=band, num_valid=draw(st.sampled_from([0, 500, 1024])))
        found.append(replace(frame, psf_fwhm_arcsec=draw(st.none() | st.just(1.5))))
    return found


@settings(max_examples=40, deadline=None)
@given(observations=frames())
def test_a_sequence_holds_its_frames(observations: list[Observation]) -> None:
    """Every array says of frame l what observation l says; masked pixels are 0, an unknown PSF is NaN."""
    sequence = build(observations)
    assert len(sequence) == len(observations)
    for index, frame in enumerate(observations):
        for plane_index, plane in enumerate((frame.science, frame.difference)):
            assert np.array_equal(sequence.planes_LPHW[index, plane_index], plane.pixels)
            assert np.array_equal(sequence.valid_LPHW[index, plane_index], plane.valid)
            assert sequence.noise_LP[index, plane_index] == np.float32(plane.noise_njy)
        assert (sequence.mjd_L[index], sequence.night_L[index]) == (frame.mjd, frame.night)
        assert sequence.band_L[index] == frame.band_id
        psf = sequence.psf_fwhm_arcsec_L[index]
        assert np.isnan(psf) if frame.psf_fwhm_arcsec is None else psf == np.float32(frame.psf_fwhm_arcsec)
    assert not sequence.planes_LPHW[~sequence.valid_LPHW].any()
    assert sum(sequence.frames_per_band.values()) == len(sequence)
    assert sequence.num_nights == len({frame.night for frame in observations})
    assert np.isnan(sequence.ra) if not observations else sequence.ra == observations[-1].ra


@settings(max_examples=40, deadline=None)
@given(observations=frames(), plane=st.sampled_from(PLANES), num_bands=st.sampled_from([1, 5, 6]))
def test_the_grid_shows_the_latest_frame_of_each_night_and_band(
    observations: list[Observation], plane: str, num_bands: int
) -> None:
    """Each observed cell is the night's last frame of its band; each other cell is black, masked, not observed."""
    bands = BANDS[:num_bands]
    grid = grid_view(build(observations), plane=plane, bands=bands)
    nights = sorted({frame.night for frame in observations})
    assert grid.images_TBHW.shape == (len(nights), num_bands, 32, 32)
    assert grid.bands == bands
    for row, night in enumerate(nights):
        assert grid.mjd_T[row] == max(frame.mjd for frame in observations if frame.night == night)
        for column, band in enumerate(bands):
            shown = [frame for frame in observations if (frame.night, frame.band) == (night, band)]
            assert grid.observed_TB[row, column] == bool(shown)
            expected: Plane = getattr(shown[-1], plane) if shown else Plane.masked()
            assert np.array_equal(grid.images_TBHW[row, column], expected.pixels)
            assert np.array_equal(grid.valid_TBHW[row, column], expected.valid)


def test_what_is_no_sequence() -> None:
    """Frames out of order or repeated, of another object or grid, or without their digests are refused."""
    first, second = make_observation(source=0), make_observation(source=1)
    for wrong, message in (
        ([second, first], "out of time order"),
        ([first, first], "out of time order"),
        ([replace(first, object_id="B")], "is of ztf:B"),
        ([replace(first, grid_id="other")], "on grid other"),
    ):
        with pytest.raises(ValueError, match=message):
            build(wrong)
    with pytest.raises(ValueError, match="1 observations but 0 digests"):
        build_sequence("ztf", "A", GRID, [first], [], view_digest="ab")


def test_pixels_under_a_mask_never_show() -> None:
    """A plane that carries values where it is masked gives 0 there."""
    frame = make_observation()
    loud = Plane(np.full((32, 32), 9, np.float32), np.eye(32, dtype=np.bool_), 1.0)
    sequence = build([replace(frame, science=loud)])
    assert sequence.planes_LPHW[0, 0].sum() == 9 * 32
