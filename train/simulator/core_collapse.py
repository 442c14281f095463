"""Core-collapse supernovae by a parametric photosphere: a track of temperature and a track of radius.

The photosphere radiates as a black body whose blue end metal lines take away as it cools, behind host dust. Radius
follows from a track of the V magnitude: a fast rise, a plateau of 60 to 120 days that may decline (II-P, II-L), a
drop and a radioactive tail; a slow hump (IIn); or a bell (Ib/c). Magnitudes here are relative: the population sets
the peak.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.light_curves import GridCurve
from train.simulator.spectra import Bandpasses, black_body, dust, observed

Array = NDArray[np.float64]

TYPES: Final = ("II-P", "II-L", "IIn", "Ib/c")
SHARES: Final = (0.50, 0.15, 0.12, 0.23)
DAYS_T: Final = np.concatenate([np.arange(0.0, 40.0, 1.0), np.arange(40.0, 240.0, 2.5)])
WAVELENGTH_A: Final = np.arange(1600.0, 11601.0, 100.0)
V_BAND_A: Final = 5500.0
TAIL_MAG_A_DAY: Final = 0.0098
BLANKETED_BELOW_A: Final = 4600.0
BLANKETING: Final = 5.0
BLANKETING_FROM_K: Final = 9000.0
MEAN_REDDENING: Final = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Photosphere:
    """magnitude_T: V, relative; temperature_k_T; both at DAYS_T rest-frame days after explosion."""

    magnitude_T: Array
    temperature_k_T: Array

    @property
    def radius_T(self) -> Array:
        """Of the photosphere, relative to its largest."""
        surface = black_body(np.array([V_BAND_A]), self.temperature_k_T)[:, 0]
        radius = np.sqrt(10.0 ** (-0.4 * self.magnitude_T) / surface)
        return np.asarray(radius / radius.max())

    def spectra(self, reddening: float) -> Array:
        """Flux a wavelength, [T, W], in rest frame and arbitrary units."""
        sphere = black_body(WAVELENGTH_A, self.temperature_k_T)
        cool = np.clip((BLANKETING_FROM_K - self.temperature_k_T) / 5000.0, 0.0, 1.0)
        lines = np.clip(1.0 - WAVELENGTH_A / BLANKETED_BELOW_A, 0.0, None)
        sphere = sphere * np.exp(-BLANKETING * cool[:, None] * lines) * dust(WAVELENGTH_A, reddening)
        return np.asarray(sphere * (self.radius_T**2)[:, None])


def draw(random: np.random.Generator, passes: Bandpasses, redshift: float) -> tuple[str, GridCurve]:
    """Type and light curve, explosion on day 0, in units that the caller scales."""
    kind = str(random.choice(TYPES, p=SHARES))
    photosphere = draw_photosphere(random, kind)
    spectra = photosphere.spectra(float(random.exponential(MEAN_REDDENING)))
    flux = passes.fluxes(observed(spectra, WAVELENGTH_A, redshift))
    return kind, GridCurve(DAYS_T * (1 + redshift), flux / flux.max())


def draw_photosphere(random: np.random.Generator, kind: str) -> Photosphere:
    """One member of the type's population."""
    if kind == "Ib/c":
        return Photosphere(_bell(random), _cooling(random, 9500.0, 5000.0, 22.0))
    if kind == "IIn":
        return Photosphere(_hump(random), _cooling(random, 13000.0, 6800.0, 35.0))
    return Photosphere(_plateau(random, linear=kind == "II-L"), _cooling(random, 22000.0, 5300.0, 13.0))


def _cooling(random: np.random.Generator, hot_k: float, cool_k: float, days: float) -> Array:
    hot, cool = hot_k * random.lognormal(0.0, 0.15), cool_k * random.lognormal(0.0, 0.06)
    return np.asarray(cool + max(hot - cool, 0.0) * np.exp(-DAYS_T / (days * random.lognormal(0.0, 0.25))))


def _rise(days: float) -> Array:
    """Magnitudes that the rise is fainter than the maximum."""
    flux = 1.0 - np.exp(-((DAYS_T / (0.45 * days)) ** 1.3))
    return np.asarray(-2.5 * np.log10(np.maximum(flux, 1e-6)))


def _plateau(random: np.random.Generator, *, linear: bool) -> Array:
    length = random.uniform(60.0, 90.0) if linear else 60.0 + 60.0 * random.beta(2.5, 1.5)
    slope = random.uniform(0.020, 0.045) if linear else max(float(random.normal(0.008, 0.007)), -0.004)
    depth = random.normal(1.2, 0.3) if linear else random.normal(1.6, 0.35)
    width = random.uniform(3.0, 7.0)
    drop = depth / (1.0 + np.exp(-(DAYS_T - length) / width))
    return np.asarray(
        _rise(float(random.uniform(5.0, 12.0)))
        + slope * np.minimum(DAYS_T, length)
        + drop
        + TAIL_MAG_A_DAY * np.maximum(DAYS_T - length, 0.0)
    )


def _hump(random: np.random.Generator) -> Array:
    return np.asarray(_rise(float(random.uniform(15.0, 35.0))) + random.uniform(0.008, 0.028) * DAYS_T)


def _bell(random: np.random.Generator) -> Array:
    """Rise and fall of exponential type, then the tail of a leaking radioactive source."""
    rise, fall = random.uniform(4.0, 6.5), random.uniform(14.0, 28.0)
    center = random.uniform(10.0, 16.0)
    bell = np.exp(-(DAYS_T - center) / fall) / (1.0 + np.exp(-(DAYS_T - center) / rise))
    start = 1.0 / (1.0 + np.exp(center / rise)) * np.exp(center / fall)
    bell = np.maximum(bell - start * np.exp(-DAYS_T / 3.0), 1e-6)
    tail = 0.12 * bell.max() * np.exp(-DAYS_T / 60.0) * np.where(center < DAYS_T, 1.0, 0.0)
    return np.asarray(-2.5 * np.log10(bell + tail))
