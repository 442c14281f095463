"""From a survey's native pixels onto the north-up grid: cubic convolution, with masks and noise carried along.

Dimension letters: H rows, W columns, P grid pixels (32 * 32, C order), A axes (row, column), K kernel taps of an
axis, T taps of both (K * K).
Grid: row axis towards north, column axis towards west (east is left), the target at GRID_CENTER.

Kernel: Keys (1981), cubic convolution with a = -1/2, over 4 x 4 native pixels. It interpolates, sums to 1 (so flux is
conserved in the mean) and reproduces second-degree polynomials; bilinear widens a PSF of 3.5 px FWHM by some 4%.
It suits well-sampled images on a grid of about their own scale, and no other use here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

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


def _taps(
    position_AP: NDArray[np.float64], lengths: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.float32], NDArray[np.bool_]]:
    """Of both axes: indices [K, A, P] (clipped), weights [K, A, P], and where all taps that weigh are inside [P]."""
    position = np.round(position_AP, POSITION_DECIMALS)
    whole = np.floor(position)
    t = (position - whole).astype(np.float32)
    t2 = t * t
    t3 = t2 * t
    weights = np.empty((NUM_TAPS, *t.shape), np.float32)
    weights[0] = t2 - np.float32(0.5) * (t3 + t)
    weights[1] = np.float32(1.5) * t3 - np.float32(2.5) * t2 + np.float32(1.0)
    weights[2] = np.float32(2.0) * t2 - np.float32(1.5) * t3 + np.float32(0.5) * t
    weights[3] = np.float32(0.5) * (t3 - t2)
    last = np.array([[length - 1] for length in lengths], np.intp)
    # far-away positions are clipped before the cast: they are outside in any case
    first = np.minimum(np.maximum(whole, -NUM_TAPS), last + NUM_TAPS).astype(np.intp)
    # on a pixel's centre that pixel alone has weight, so the taps around it need not be there
    between = t > 0
    inside_AP = (first >= between) & (first <= last - 2 * between)
    index = first + np.arange(-1, 3)[:, None, None]
    return np.minimum(np.maximum(index, 0), last), weights, inside_AP[0] & inside_AP[1]


class GridMap:
    """The resampling of cutouts of one geometry onto the grid. Built once, applied to all images that share it."""

    def __init__(self, wcs: CutoutWcs, shape: tuple[int, int], grid_scale_arcsec: float) -> None:
        """``shape``: (H, W) of the cutouts. ValueError when the WCS is degenerate or not finite."""
        area = wcs.pixel_area_arcsec2
        if not (area > 0.0 and math.isfinite(area) and math.isfinite(wcs.target_column + wcs.target_row)):
            raise ValueError(f"degenerate WCS: {wcs}")
        east, north = _grid_offsets(grid_scale_arcsec)
        determinant = wcs.east_per_column * wcs.north_per_row - wcs.east_per_row * wcs.north_per_column
        column = wcs.target_column + (wcs.north_per_row * east - wcs.east_per_row * north) / determinant
        row = wcs.target_row + (wcs.east_per_column * north - wcs.north_per_column * east) / determinant
        index_KAP, weights_KAP, self._inside_P = _taps(np.stack((row, column)), shape)
        # surface brightness is interpolated; flux a pixel scales with the pixel's area
        weights_KAP[:, 0] *= np.float32(grid_scale_arcsec**2 / area)
        index_KKP = index_KAP[:, None, 0] * shape[1] + index_KAP[None, :, 1]
        weights_KKP = weights_KAP[:, None, 0] * weights_KAP[None, :, 1]
        self._index_TP = index_KKP.reshape(-1, NUM_PIXELS)
        self._weights_TP = weights_KKP.reshape(-1, NUM_PIXELS)

    @property
    def variance_gain(self) -> float:
        """Variance of a grid pixel over that of a native one: the median sum of squared weights.

        Neighbouring grid pixels share native pixels, so they are correlated; the covariance is not carried.
        """
        squares_P = (self._weights_TP * self._weights_TP).sum(axis=0)
        return float(np.partition(squares_P, NUM_PIXELS // 2)[NUM_PIXELS // 2])

    def image(self, image_HW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Flux a grid pixel, float32 [32, 32]; the native image must be finite (0 where masked)."""
        taps_TP = image_HW.ravel()[self._index_TP]
        taps_TP *= self._weights_TP
        stamp: NDArray[np.float32] = taps_TP.sum(axis=0).reshape(STAMP_SIZE, STAMP_SIZE)
        return stamp

    def mask(self, valid_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Where every native pixel that contributes is inside the cutout and valid. bool [32, 32]."""
        mask_P = self._inside_P
        if not valid_HW.all():
            usable_TP = valid_HW.ravel()[self._index_TP] | (self._weights_TP == 0)
            mask_P = mask_P & usable_TP.all(axis=0)
        return mask_P.reshape(STAMP_SIZE, STAMP_SIZE).copy()
