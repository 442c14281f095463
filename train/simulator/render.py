"""Images as sums of elliptical Gaussians.

Dimension letters: K Gaussians, H rows, W columns. Coordinates in pixels, x along columns. A pixel's own extent is
taken in as its variance, 1/12 px^2 an axis, which is exact to second order and good to 1e-3 of the peak for images
with more than 2 px of FWHM.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.psf import psf_mixture, sersic_mixture

Array = NDArray[np.float64]

PIXEL_VARIANCE: Final = 1.0 / 12.0
WIDE_FACTOR: Final = 1.5


@dataclass(frozen=True, slots=True, eq=False)
class Gaussians:
    """flux [K], covariance xx, xy, yy [K, 3] (px^2) and center x, y [K, 2] (px)."""

    flux: Array
    covariance: Array
    center: Array

    @classmethod
    def joined(cls, parts: list[Gaussians]) -> Gaussians:
        """All of several."""
        return cls(
            np.concatenate([part.flux for part in parts]),
            np.concatenate([part.covariance for part in parts]),
            np.concatenate([part.center for part in parts]),
        )

    def scaled(self, factor: float) -> Gaussians:
        """With another total flux."""
        return Gaussians(self.flux * factor, self.covariance, self.center)

    def convolved(self, psf: Gaussians) -> Gaussians:
        """Every Gaussian with every one of the PSF's; one that is much wider than the PSF with the PSF's second
        moments alone."""
        wide = self.covariance[:, 0] * self.covariance[:, 2] - self.covariance[:, 1] ** 2 > _wide(psf)
        narrow, broad = (Gaussians(self.flux[k], self.covariance[k], self.center[k]) for k in (~wide, wide))
        covariance = (narrow.covariance[:, None] + psf.covariance).reshape(-1, 3)
        full = Gaussians(
            (narrow.flux[:, None] * psf.flux).ravel(), covariance, np.repeat(narrow.center, len(psf.flux), axis=0)
        )
        moments = psf.flux @ psf.covariance / psf.flux.sum()
        simple = Gaussians(broad.flux * psf.flux.sum(), broad.covariance + moments, broad.center)
        return Gaussians.joined([full, simple])


def _wide(psf: Gaussians) -> float:
    """Determinant of the covariance from which on the PSF's second moments say enough."""
    moments = psf.flux @ psf.covariance / psf.flux.sum()
    return float(WIDE_FACTOR**4 * moments[0] * moments[2])


def psf_gaussians(fwhm_px: float, shear: tuple[float, float] = (0.0, 0.0)) -> Gaussians:
    """The PSF at the origin, unit flux."""
    weights, widths = psf_mixture()
    shape = np.array([1.0 + shear[0], shear[1], 1.0 - shear[0]])
    variance = (widths * fwhm_px) ** 2
    return Gaussians(weights, variance[:, None] * shape, np.zeros((len(weights), 2)))


def point(center: tuple[float, float]) -> Gaussians:
    """A point of unit flux, to be convolved."""
    return Gaussians(np.ones(1), np.zeros((1, 3)), np.array([center]))


def galaxy(
    index: float, radius_px: float, axis_ratio: float, angle_rad: float, center: tuple[float, float]
) -> Gaussians:
    """A Sersic profile of unit flux; radius_px: half-light radius of the circle of equal area."""
    weights, widths = sersic_mixture(index)
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    long, short = 1.0 / axis_ratio, axis_ratio
    shape = np.array(
        [
            long * cosine**2 + short * sine**2,
            (long - short) * cosine * sine,
            long * sine**2 + short * cosine**2,
        ]
    )
    variance = (widths * radius_px) ** 2
    return Gaussians(weights, variance[:, None] * shape, np.tile(np.array(center), (len(weights), 1)))


def image(gaussians: Gaussians, height: int, width: int) -> NDArray[np.float32]:
    """Flux in every pixel, float32 [H, W]; pixel (row, column) is centred on x = column, y = row."""
    xx, xy, yy = (gaussians.covariance + np.array([PIXEL_VARIANCE, 0.0, PIXEL_VARIANCE])).T
    determinant = xx * yy - xy**2
    peak = (gaussians.flux / (2.0 * np.pi * np.sqrt(determinant))).astype(np.float32)
    dx = (np.arange(width) - gaussians.center[:, :1]).astype(np.float32)  # [K, W]
    dy = (np.arange(height) - gaussians.center[:, 1:]).astype(np.float32)  # [K, H]
    along = ((-0.5 * yy / determinant)[:, None].astype(np.float32)) * dx * dx
    across = ((-0.5 * xx / determinant)[:, None].astype(np.float32)) * dy * dy
    tilt = ((xy / determinant)[:, None].astype(np.float32)) * dx
    exponent = dy[:, :, None] * tilt[:, None, :]
    exponent += along[:, None, :]
    exponent += across[:, :, None]
    np.exp(exponent, out=exponent)
    result: NDArray[np.float32] = np.tensordot(peak, exponent, axes=1)
    return result
