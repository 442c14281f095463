"""From a survey's native pixels onto the north-up grid: cubic convolution, with masks and variance carried along.

Dimension letters: C images of one geometry, H rows, W columns, P grid pixels (32 * 32, C order), K kernel taps.
Grid: row axis towards north, column axis towards west (east is left), the target at GRID_CENTER.

Kernel: Keys (1981), cubic convolution with a = -1/2, over 4 x 4 native pixels. It interpolates, sums to 1 (so flux is
conserved in the mean) and reproduces second-degree polynomials; bilinear widens a PSF of 3.5 px FWHM by some 4%.
It suits well-sampled images on a grid of about their own scale, and no other use here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from schemas.observation import NUM_PIXELS, STAMP_SIZE
from schemas.stamps import GRID_CENTER

RESAMPLER: Final = "cubic-1"
NUM_TAPS: Final = 4
# Positions are rounded to a millionth of a pixel, so that an exact pixel centre has one tap and not four.
POSITION_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class CutoutWcs:
    """Linear map of a cutout's pixels to the tangent plane at the target.

    target_column, target_row: 0-based native pixel coordinates of the target. The four derivatives are arcsec on the
    sky a pixel, east and north positive.
    """

    target_column: float
    target_row: float
    east_per_column: float
    east_per_row: float
    north_per_column: float
    north_per_row: float

    @classmethod
    def from_rotation(
        cls, rotation_deg: float, *, pixel_scale_arcsec: float, target_column: float, target_row: float
    ) -> CutoutWcs:
        """Square pixels whose row axis has position angle ``rotation_deg`` (east of north), sky seen from inside."""
        sine = pixel_scale_arcsec * math.sin(math.radians(rotation_deg))
        cosine = pixel_scale_arcsec * math.cos(math.radians(rotation_deg))
        return cls(target_column, target_row, -cosine, sine, sine, cosine)

    @property
    def rotation_deg(self) -> float:
        """Position angle of the row axis, degrees east of north, -180 to 180."""
        return math.degrees(math.atan2(self.east_per_row, self.north_per_row))

    @property
    def pixel_area_arcsec2(self) -> float:
        """Sky area of a native pixel."""
        return abs(self.east_per_column * self.north_per_row - self.east_per_row * self.north_per_column)


@cache
def _grid_offsets(grid_scale_arcsec: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """East and north of the target, arcsec, of each grid pixel. [P] each."""
    row, column = np.mgrid[:STAMP_SIZE, :STAMP_SIZE] - GRID_CENTER
    return (-grid_scale_arcsec * column).ravel(), (grid_scale_arcsec * row).ravel()


@cache
def _row_pointers() -> NDArray[np.int32]:
    return np.arange(0, NUM_TAPS * NUM_TAPS * NUM_PIXELS + 1, NUM_TAPS * NUM_TAPS, dtype=np.int32)


def _axis_taps(position_P: NDArray[np.float64], length: int) -> tuple[NDArray[np.int32], Any, NDArray[np.bool_]]:
    """Indices [P, 4] (clipped), kernel weights float32 [P, 4], and where all taps that weigh lie inside [P]."""
    position = np.round(position_P, POSITION_DECIMALS)
    whole = np.floor(position)
    t = position - whole
    t2 = t * t
    t3 = t2 * t
    weights = np.empty((position.size, NUM_TAPS), np.float32)
    weights[:, 0] = -0.5 * t3 + t2 - 0.5 * t
    weights[:, 1] = 1.5 * t3 - 2.5 * t2 + 1.0
    weights[:, 2] = -1.5 * t3 + 2.0 * t2 + 0.5 * t
    weights[:, 3] = 0.5 * t3 - 0.5 * t2
    # far-away positions are clipped before the cast: they are outside in any case
    index = np.clip(whole, -NUM_TAPS, length + NUM_TAPS).astype(np.int32)[:, None] + np.arange(-1, 3, dtype=np.int32)
    inside = (((index >= 0) & (index < length)) | (weights == 0)).all(axis=1)
    return index.clip(0, length - 1), weights, inside


class GridMap:
    """The resampling of cutouts of one geometry onto the grid. Built once, applied to all images that share it."""

    def __init__(self, wcs: CutoutWcs, shape: tuple[int, int], grid_scale_arcsec: float) -> None:
        """``shape``: (H, W) of the cutouts. ValueError when the WCS is degenerate or not finite."""
        area = wcs.pixel_area_arcsec2
        if not (area > 0.0 and math.isfinite(area) and math.isfinite(wcs.target_column + wcs.target_row)):
            raise ValueError(f"degenerate WCS: {wcs}")
        height, width = shape
        east, north = _grid_offsets(grid_scale_arcsec)
        determinant = wcs.east_per_column * wcs.north_per_row - wcs.east_per_row * wcs.north_per_column
        column = wcs.target_column + (wcs.north_per_row * east - wcs.east_per_row * north) / determinant
        row = wcs.target_row + (wcs.east_per_column * north - wcs.north_per_column * east) / determinant
        columns, column_weights, columns_inside = _axis_taps(column, width)
        rows, row_weights, rows_inside = _axis_taps(row, height)
        # surface brightness is interpolated; flux a pixel scales with the pixel's area
        row_weights *= np.float32(grid_scale_arcsec**2 / area)
        indices = (rows[:, :, None] * np.int32(width) + columns[:, None, :]).ravel()
        weights = (row_weights[:, :, None] * column_weights[:, None, :]).ravel()
        self._inside_P = columns_inside & rows_inside
        self._weights = csr_array((weights, indices, _row_pointers()), shape=(NUM_PIXELS, height * width))

    def _with_data(self, data: NDArray[np.float32]) -> csr_array:
        matrix = self._weights
        return csr_array((data, matrix.indices, matrix.indptr), shape=matrix.shape)

    def images(self, images_CHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Flux a grid pixel, float32 [C, 32, 32]; the native images must be finite (0 where masked)."""
        return _apply(self._weights, images_CHW)

    def variances(self, variances_CHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Variance of one grid pixel, float32 [C, 32, 32]: the sum of squared weights times native variances.

        Neighbouring grid pixels share native pixels, so they are correlated; the covariance is not carried.
        """
        return _apply(self._with_data(self._weights.data**2), variances_CHW)

    def masks(self, valid_CHW: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where every native pixel that contributes is inside the cutout and valid. bool [C, 32, 32]."""
        num_images = valid_CHW.shape[0]
        inside = np.broadcast_to(self._inside_P.reshape(STAMP_SIZE, STAMP_SIZE), (num_images, STAMP_SIZE, STAMP_SIZE))
        if valid_CHW.all():
            return inside.copy()
        contributes = self._with_data((self._weights.data != 0).astype(np.float32))
        num_bad = _apply(contributes, (~valid_CHW).astype(np.float32))
        mask: NDArray[np.bool_] = inside & (num_bad == 0)
        return mask


def _apply(matrix: csr_array, images_CHW: NDArray[np.float32]) -> NDArray[np.float32]:
    num_images = images_CHW.shape[0]
    columns = np.ascontiguousarray(images_CHW.reshape(num_images, -1).T)
    result: NDArray[np.float32] = np.ascontiguousarray((matrix @ columns).T)
    return result.reshape(num_images, STAMP_SIZE, STAMP_SIZE)
