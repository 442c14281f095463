"""What a source's brightness does: changes of flux against the template, in nJy, at given days and bands.

Letters: F frames, B bands, T times of a grid. ``days`` count from the object's first frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Integers = NDArray[np.int64]


class LightCurve(Protocol):
    """A flux change that can be asked at any time."""

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """Flux minus the template's, nJy (or the curve's own unit until it is scaled), [F]."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class GridCurve:
    """Flux on a grid of days, zero before and after it. flux_TB in nJy; interpolated linearly."""

    days_T: Array
    flux_TB: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve."""
        low = np.clip(np.searchsorted(self.days_T, days_F) - 1, 0, len(self.days_T) - 2)
        share = (days_F - self.days_T[low]) / (self.days_T[low + 1] - self.days_T[low])
        inside = (share >= 0) & (share <= 1)
        flux = self.flux_TB[low, band_F] * (1 - share) + self.flux_TB[low + 1, band_F] * share
        return np.asarray(np.where(inside, flux, 0.0))

    def moved(self, days: float) -> GridCurve:
        """Later by ``days``."""
        return GridCurve(self.days_T + days, self.flux_TB)


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Another curve times a factor a band."""

    curve: LightCurve
    factor_B: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve."""
        return np.asarray(self.curve.change(days_F, band_F) * self.factor_B[band_F])


def brightest(curve: LightCurve, days_F: Array, band: int) -> float:
    """Largest change at the given days in one band."""
    return float(curve.change(days_F, np.full(len(days_F), band)).max())
