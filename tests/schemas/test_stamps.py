"""Placement on the grid, masks, sky level and noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from schemas.stamps import border_median, border_pixels, finite_mask, make_plane, place, robust_noise

FULL = np.ones((32, 32), np.bool_)


@given(data=st.data(), shape=array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70))
def test_place_moves_every_pixel_by_the_same_shift(data: st.DataObject, shape: tuple[int, int]) -> None:
    """Each grid pixel holds the native pixel that lies as far from the centre, or is masked when there is none."""
    valid = data.draw(arrays(np.bool_, shape))
    center = (data.draw(st.integers(-40, 110)), data.draw(st.integers(-40, 110)))
    native = np.arange(1, 1 + shape[0] * shape[1], dtype=np.float32).reshape(shape)
    pixels, placed_valid = place(native, valid, *center)
    for row, column in ((0, 0), (16, 16), (31, 31), (5, 20), (20, 5)):
        source = (row - 16 + center[0], column - 16 + center[1])
        inside = all(0 <= index < length for index, length in zip(source, shape, strict=True))
        expected = inside and bool(valid[source])
        assert placed_valid[row, column] == expected
        assert pixels[row, column] == (native[source] if expected else 0.0)
    rows = np.arange(32) - 16 + center[0]
    columns = np.arange(32) - 16 + center[1]
    covered = ((rows >= 0) & (rows < shape[0]))[:, None] & ((columns >= 0) & (columns < shape[1]))[None]
    expected_count = np.count_nonzero(valid[rows.clip(0, shape[0] - 1)][:, columns.clip(0, shape[1] - 1)] & covered)
    assert np.count_nonzero(placed_valid) == expected_count


@given(
    values=arrays(np.float32, (32, 32), elements=st.floats(-1e6, 1e6, width=32)),
    valid=arrays(np.bool_, (32, 32)),
)
def test_median_and_noise_agree_with_numpy(values: np.ndarray, valid: np.ndarray) -> None:
    """Sky and noise equal the textbook formulas on the border pixels, at any mask."""
    if not valid.any():
        assert (border_median(values, valid), robust_noise(values, valid)) == (0.0, 0.0)
        return
    border = border_pixels(values, valid)
    median = float(np.median(border.astype(np.float64)))
    assert border_median(values, valid) == pytest.approx(median, abs=1e-6 * (1 + abs(median)))
    deviation = 1.482602218505602 * float(np.median(np.abs(border.astype(np.float64) - median)))
    expected = deviation if deviation > 1e-3 else None
    if expected is not None:
        assert robust_noise(values, valid) == pytest.approx(expected, rel=1e-4, abs=0.5)


def test_noise_is_measured_on_the_border() -> None:
    """A bright source in the middle moves neither the sky level nor the noise by more than its wings."""
    rng = np.random.default_rng(3)
    pixels = rng.normal(50.0, 2.0, (32, 32)).astype(np.float32)
    pixels[10:22, 10:22] += 1e5
    plane = make_plane(pixels, FULL, subtract_sky=True)
    assert plane.noise_njy == pytest.approx(2.0, rel=0.15)
    assert abs(float(np.median(plane.pixels[:4]))) < 0.5


def test_damaged_pixels_are_masked() -> None:
    """NaN, infinity and absurd fluxes are 0 and masked in the plane, without a warning."""
    pixels = np.zeros((32, 32), np.float32)
    pixels[0, :4] = [np.nan, np.inf, -np.inf, 3e38]
    pixels[5, 5] = 7.0
    assert np.count_nonzero(~finite_mask(pixels)) == 4
    plane = make_plane(pixels, FULL)
    assert plane.num_valid == 1020
    assert not plane.pixels[0, :4].any()
    assert plane.pixels[5, 5] == 7.0


def test_nothing_valid_is_a_masked_plane() -> None:
    """A plane without one valid pixel has noise 0 and no pixels."""
    plane = make_plane(np.full((32, 32), np.nan, np.float32), FULL)
    assert (plane.num_valid, plane.noise_njy) == (0, 0.0)


def test_constant_border_falls_back_to_the_standard_deviation() -> None:
    """A border of one value but a few pixels still has a noise above 0."""
    pixels = np.zeros((32, 32), np.float32)
    pixels[0, :10] = 5.0
    assert robust_noise(pixels, FULL) > 0.0
