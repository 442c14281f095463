"""Profiles as mixtures of round Gaussians (multi-Gaussian expansion): exact under convolution, so images are sums.

Non-negative least squares of the profile on widths evenly spaced in log (Cappellari 2002). The PSF has unit sum; a
galaxy lacks its flux beyond SERSIC_END.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls
from scipy.special import gamma, gammaincinv

Array = NDArray[np.float64]

MOFFAT_BETA: Final = 5.0
# in FWHM: the narrowest, the widest, how many
PSF_WIDTHS: Final = (0.34, 1.1, 4)
NUM_SERSIC_WIDTHS: Final = 9
SERSIC_INDICES: Final = (1.0, 1.5, 2.5, 4.0)
# profiles end smoothly here, in half-light radii, as SDSS's own models do
SERSIC_END: Final = 8.0
SMALLEST_WEIGHT: Final = 2e-3


def moffat(radius: Array, fwhm: float, beta: float) -> Array:
    """Moffat profile of unit flux."""
    alpha = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
    return np.asarray((beta - 1.0) / (np.pi * alpha**2) * (1.0 + (radius / alpha) ** 2) ** -beta)


def sersic(radius: Array, index: float) -> Array:
    """Sersic profile of unit flux and half-light radius 1."""
    scale = gammaincinv(2.0 * index, 0.5)
    norm = 2.0 * np.pi * index * scale ** (-2.0 * index) * gamma(2.0 * index)
    return np.asarray(np.exp(-scale * radius ** (1.0 / index)) / norm)


@cache
def psf_mixture() -> tuple[Array, Array]:
    """Weights and standard deviations (in FWHM) of the Moffat PSF."""
    radius = np.geomspace(0.01, 6.0, 300)
    weights, widths = _mixture(radius, moffat(radius, 1.0, MOFFAT_BETA), np.geomspace(*PSF_WIDTHS))
    return weights / weights.sum(), widths


@cache
def sersic_mixture(index: float) -> tuple[Array, Array]:
    """Weights and standard deviations (in half-light radii) of a round Sersic profile."""
    innermost = 0.02 if index > 2 else 0.08
    radius = np.geomspace(innermost, SERSIC_END, 400)
    return _mixture(radius, sersic(radius, index), np.geomspace(innermost, 4.0, NUM_SERSIC_WIDTHS))


def _mixture(radius: Array, profile: Array, widths: Array) -> tuple[Array, Array]:
    basis = np.exp(-0.5 * (radius[:, None] / widths) ** 2) / (2.0 * np.pi * widths**2)
    # flux in a ring of the logarithmic radius weighs, softened so that neither core nor wings are lost
    weight = radius / np.sqrt(profile * radius**2 + 1e-4)
    weights = nnls(basis * weight[:, None], profile * weight)[0]
    kept = weights > SMALLEST_WEIGHT * weights.sum()
    return weights[kept], widths[kept]
