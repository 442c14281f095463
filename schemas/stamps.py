"""From calibrated pixels to a Plane on the 32 x 32 grid: placement, masks, sky and noise. Shared by all surveys.

Dimension letters: H rows, W columns of a native cutout; a plane is [32, 32]. Fluxes in nJy.
The target sits at GRID_CENTER (15.5, 15.5: the middle of the grid) when a survey resamples; ``place``, which moves
whole pixels only, puts the middle pixel of an odd cutout at index 16, half a pixel away from it.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.observation import STAMP_SIZE, Plane

GRID_CENTER: Final = (STAMP_SIZE - 1) / 2
BORDER_WIDTH: Final = 4
# Fewer border pixels than this say nothing of the sky: then every valid pixel is used.
MIN_BORDER_PIXELS: Final = 64
# 1e15 nJy is magnitude -6; anything beyond is a damaged pixel, and would overflow float32 arithmetic.
MAX_FLUX_NJY: Final = 1e15
# Standard deviation of a normal distribution over its median absolute deviation, 1 / Phi^-1(3/4).
MAD_TO_SIGMA: Final = 1.482602218505602


def finite_mask(pixels: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Where pixels hold a flux: not NaN, not infinite, not absurdly large. Any shape."""
    # NaN compares False, so one comparison covers all three
    mask: NDArray[np.bool_] = np.abs(pixels) <= MAX_FLUX_NJY
    return mask


def place(
    pixels_HW: NDArray[np.float32], valid_HW: NDArray[np.bool_], center_row: int, center_col: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Cut or pad a native cutout so that its pixel (center_row, center_col) lands on index (16, 16).

    The centre may lie outside the cutout (a stamp cut short at a chip edge). What the cutout does not cover, and what
    is not valid, is 0 and masked. No resampling.
    """
    placed = np.zeros((STAMP_SIZE, STAMP_SIZE), np.float32)
    valid = np.zeros((STAMP_SIZE, STAMP_SIZE), np.bool_)
    rows, grid_rows = _overlap(center_row, pixels_HW.shape[0])
    columns, grid_columns = _overlap(center_col, pixels_HW.shape[1])
    valid[grid_rows, grid_columns] = valid_HW[rows, columns]
    placed[grid_rows, grid_columns] = pixels_HW[rows, columns]
    placed[~valid] = 0.0
    return placed, valid


def _overlap(center: int, length: int) -> tuple[slice, slice]:
    """The native and the grid indices, along one axis, of the pixels that both have."""
    offset = STAMP_SIZE // 2 - center  # grid index = native index + offset
    first = min(max(0, -offset), length)
    last = max(first, min(length, STAMP_SIZE - offset))
    return slice(first, last), slice(first + offset, last + offset) if last > first else slice(0, 0)


@cache
def _border() -> NDArray[np.bool_]:
    border = np.ones((STAMP_SIZE, STAMP_SIZE), np.bool_)
    border[BORDER_WIDTH:-BORDER_WIDTH, BORDER_WIDTH:-BORDER_WIDTH] = False
    border.setflags(write=False)
    return border


def border_pixels(pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Valid pixels of the four outermost rows and columns; of the whole grid when they are fewer than 64. Flat."""
    border = pixels[valid & _border()]
    return border if border.size >= MIN_BORDER_PIXELS else pixels[valid]


def border_median(pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Sky level of a plane: median of its border pixels, 0 when nothing is valid."""
    border = border_pixels(pixels, valid)
    return _median(border) if border.size else 0.0


def robust_noise(pixels: NDArray[np.float32], valid: NDArray[np.bool_]) -> float:
    """Standard deviation of one pixel from the border's median absolute deviation; 0 when nothing is valid.

    Where more than half of the border is one value (a stamp of few counts), the plain standard deviation.
    """
    border = border_pixels(pixels, valid)
    if not border.size:
        return 0.0
    sigma = MAD_TO_SIGMA * _median(np.abs(border - np.float32(_median(border))))
    return sigma if sigma > 0.0 else float(border.std(dtype=np.float64))


def _median(values: NDArray[np.float32]) -> float:
    # np.median spends most of its time on NaN and axis handling, which cannot occur here
    middle = values.size // 2
    if values.size % 2:
        return float(np.partition(values, middle)[middle])
    ordered = np.partition(values, (middle - 1, middle))
    return 0.5 * (float(ordered[middle - 1]) + float(ordered[middle]))


def make_plane(
    pixels: NDArray[np.float32],
    valid: NDArray[np.bool_],
    *,
    noise_njy: float | None = None,
    subtract_sky: bool = False,
) -> Plane:
    """A Plane of pixels on the grid; ``valid`` is cut to finite pixels, and without one the plane is fully masked.

    noise_njy: from the packet's variance; measured on the border when None. subtract_sky: take the border's median
    away, for science images (difference images are flat by construction).
    """
    usable = valid & finite_mask(pixels)
    if not usable.any():
        return Plane.masked()
    clean = np.where(usable, pixels, np.float32(0))
    if noise_njy is None:
        noise_njy = robust_noise(clean, usable)
    if subtract_sky:
        clean -= np.float32(border_median(clean, usable))
        clean[~usable] = 0.0
    return Plane(clean, usable, float(np.float32(noise_njy)))
