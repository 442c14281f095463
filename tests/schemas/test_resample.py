"""Resampling onto the north-up grid: geometry against astropy's WCS, flux, masks, noise."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.resample import CutoutWcs, GridMap

SCALE = 0.2


def gaussian(shape: tuple[int, int], column: float, row: float, sigma: float) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    profile = np.exp(-((columns - column) ** 2 + (rows - row) ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    return profile.astype(np.float32)


def astropy_wcs(wcs: CutoutWcs, ra: float, dec: float) -> WCS:
    """A gnomonic WCS of the same linear map, with its reference point at the target."""
    result = WCS(naxis=2)
    result.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    result.wcs.crval = [ra, dec]
    result.wcs.crpix = [wcs.target_column + 1, wcs.target_row + 1]
    result.wcs.cd = (
        np.array([[wcs.east_per_column, wcs.east_per_row], [wcs.north_per_column, wcs.north_per_row]]) / 3600.0
    )
    return result


def brightest(stamp: np.ndarray) -> tuple[float, float]:
    """Flux-weighted (column, row) of the 13 x 13 pixels around the peak."""
    row, column = np.unravel_index(int(stamp.argmax()), stamp.shape)
    rows, columns = np.mgrid[row - 6 : row + 7, column - 6 : column + 7]
    cut = stamp[row - 6 : row + 7, column - 6 : column + 7]
    return float((cut * columns).sum() / cut.sum()), float((cut * rows).sum() / cut.sum())


@given(
    rotation=st.floats(-180, 180),
    east=st.floats(-1.5, 1.5),
    north=st.floats(-1.5, 1.5),
    dec=st.floats(-70, 30),
    scale=st.floats(0.195, 0.205),
)
def test_a_star_lands_where_astropy_says(
    rotation: float, east: float, north: float, dec: float, scale: float
) -> None:
    """A star at a given sky offset, put on native pixels by astropy's WCS, appears north-up at that offset."""
    wcs = CutoutWcs.from_rotation(rotation, pixel_scale_arcsec=scale, target_column=20.3, target_row=19.8)
    ra = 150.0 + east / 3600.0 / np.cos(np.radians(dec))
    column, row = astropy_wcs(wcs, 150.0, dec).all_world2pix(ra, dec + north / 3600.0, 0)
    native = gaussian((41, 41), float(column), float(row), 1.5)
    stamp = GridMap(wcs, (41, 41), SCALE).image(native)
    found_column, found_row = brightest(stamp)
    assert found_column == pytest.approx(15.5 - east / SCALE, abs=0.03)
    assert found_row == pytest.approx(15.5 + north / SCALE, abs=0.03)


@given(rotation=st.floats(-180, 180), scale=st.floats(0.195, 0.205), column=st.floats(19, 22), row=st.floats(19, 22))
def test_flux_is_conserved(rotation: float, scale: float, column: float, row: float) -> None:
    """The sum over a point source is kept to 0.5%, whatever the rotation, pixel scale and phase."""
    wcs = CutoutWcs.from_rotation(rotation, pixel_scale_arcsec=scale, target_column=column, target_row=row)
    native = gaussian((42, 42), column + 0.4, row - 0.3, 0.35 / scale) * 1000.0
    assert GridMap(wcs, (42, 42), SCALE).image(native).sum() == pytest.approx(1000.0, rel=5e-3)


def test_width_is_kept() -> None:
    """A PSF of 0.7 arcsec FWHM is no more than 1% wider after rotation by 33 degrees."""
    sigma = 0.7 / 2.3548 / SCALE
    wcs = CutoutWcs.from_rotation(33.0, pixel_scale_arcsec=SCALE, target_column=20.37, target_row=20.61)
    stamp = GridMap(wcs, (42, 42), SCALE).image(gaussian((42, 42), 20.37, 20.61, sigma)).astype(np.float64)
    expected = gaussian((32, 32), 15.5, 15.5, sigma).astype(np.float64)
    assert (stamp**2).sum() == pytest.approx((expected**2).sum(), rel=0.02)


def test_identity_is_exact() -> None:
    """A north-up 32 x 32 stamp on the grid's own scale passes bit for bit, with its noise and mask."""
    rng = np.random.default_rng(5)
    images = rng.normal(0.0, 10.0, (32, 32)).astype(np.float32)
    valid = rng.random((32, 32)) > 0.2
    grid_map = GridMap(
        CutoutWcs.from_rotation(0.0, pixel_scale_arcsec=SCALE, target_column=15.5, target_row=15.5), (32, 32), SCALE
    )
    np.testing.assert_array_equal(grid_map.image(images), images)
    assert grid_map.variance_gain == 1.0
    np.testing.assert_array_equal(grid_map.mask(valid), valid)


@given(rotation=st.floats(-180, 180), bad=st.tuples(st.integers(0, 35), st.integers(0, 35)))
def test_a_masked_pixel_reaches_no_valid_output(rotation: float, bad: tuple[int, int]) -> None:
    """What a masked native pixel holds changes no valid grid pixel; grid pixels beyond the cutout are masked."""
    wcs = CutoutWcs.from_rotation(rotation, pixel_scale_arcsec=SCALE, target_column=17.2, target_row=17.9)
    grid_map = GridMap(wcs, (36, 36), SCALE)
    valid = np.ones((36, 36), np.bool_)
    valid[bad] = False
    mask = grid_map.mask(valid)
    poke = np.zeros((36, 36), np.float32)
    poke[bad] = 1.0
    assert not grid_map.image(poke)[mask].any()
    edge = grid_map.mask(np.ones((36, 36), np.bool_))
    np.testing.assert_allclose(grid_map.image(np.ones((36, 36), np.float32))[edge], 1.0, rtol=1e-5)
    assert np.count_nonzero(edge & ~mask) <= 25


@settings(deadline=None, max_examples=20)
@given(rotation=st.floats(-180, 180), scale=st.floats(0.195, 0.205))
def test_noise_matches_simulated_noise(rotation: float, scale: float) -> None:
    """The variance carried along is the scatter of resampled noise, in the median over grid pixels."""
    rng = np.random.default_rng(11)
    wcs = CutoutWcs.from_rotation(rotation, pixel_scale_arcsec=scale, target_column=20.1, target_row=20.4)
    grid_map = GridMap(wcs, (41, 41), SCALE)
    noise = rng.normal(0.0, 3.0, (200, 41, 41)).astype(np.float32)
    measured = np.array([grid_map.image(image) for image in noise]).var(axis=0)
    inside = grid_map.mask(np.ones((41, 41), np.bool_))
    assert np.median(measured[inside]) == pytest.approx(9.0 * grid_map.variance_gain, rel=0.1)


def test_degenerate_wcs_is_refused() -> None:
    """A WCS without area, or with NaN, is an error and not an image of NaN."""
    for wcs in (CutoutWcs(5, 5, 0.2, 0.2, 0.2, 0.2), CutoutWcs(5, 5, float("nan"), 0, 0, 0.2)):
        with pytest.raises(ValueError, match="degenerate"):
            GridMap(wcs, (10, 10), SCALE)
