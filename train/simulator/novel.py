"""Classes that no network is trained on, to measure novelty with: TDE-like, kilonova-like, microlensing, moving,
bogus."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.core_collapse import WAVELENGTH_A
from train.simulator.light_curves import GridCurve, Integers
from train.simulator.spectra import Bandpasses, black_body, observed

Array = NDArray[np.float64]

NOVEL_CLASSES: Final = ("TDE-like", "kilonova-like", "microlensing", "moving", "bogus")
TDE_DAYS_T: Final = np.concatenate([np.arange(-60.0, 60.0, 2.0), np.arange(60.0, 400.0, 8.0)])
KILONOVA_DAYS_T: Final = np.arange(0.0, 30.0, 0.25)


def tidal_disruption(random: np.random.Generator, passes: Bandpasses, redshift: float) -> GridCurve:
    """A hot black body of nearly constant temperature: a rise of weeks, a fall as t^-5/3. Maximum on day 0."""
    rise, fall = random.uniform(10.0, 25.0), random.uniform(35.0, 80.0)
    after = (1.0 + np.maximum(TDE_DAYS_T, 0.0) / fall) ** (-5.0 / 3.0)
    bright = np.where(TDE_DAYS_T < 0, np.exp(-0.5 * (TDE_DAYS_T / rise) ** 2), after)
    temperature = np.full(len(TDE_DAYS_T), random.uniform(15000.0, 35000.0))
    flux = passes.fluxes(observed(black_body(WAVELENGTH_A, temperature), WAVELENGTH_A, redshift))
    flux = flux / flux.max() * bright[:, None]
    flux[0] = 0.0
    return GridCurve(TDE_DAYS_T * (1.0 + redshift), flux)


def kilonova(random: np.random.Generator, passes: Bandpasses, redshift: float) -> GridCurve:
    """Blue for a day, red for a week: a photosphere that cools from 10,000 to 2,800 K while it fades."""
    days = KILONOVA_DAYS_T
    temperature = 2800.0 + random.uniform(5000.0, 9000.0) * np.exp(-days / random.uniform(0.8, 2.0))
    luminosity = (1.0 - np.exp(-days / 0.3)) * (1.0 + days / random.uniform(0.5, 1.5)) ** -2.2
    spectra = black_body(WAVELENGTH_A, temperature) / temperature[:, None] ** 4 * luminosity[:, None]
    flux = passes.fluxes(observed(spectra, WAVELENGTH_A, redshift))
    return GridCurve(days * (1.0 + redshift), flux / flux.max())


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """A point lens (Paczynski 1986) before a star of constant flux_njy_B."""

    peak_day: float
    crossing_days: float
    impact: float
    flux_njy_B: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve."""
        u2 = self.impact**2 + ((days_F - self.peak_day) / self.crossing_days) ** 2
        return np.asarray(self.flux_njy_B[band_F] * ((u2 + 2.0) / np.sqrt(u2 * (u2 + 4.0)) - 1.0))


@dataclass(frozen=True, slots=True, eq=False)
class OneNight:
    """A moving object: there on one night only."""

    day: float
    flux_njy_B: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve."""
        return np.asarray(self.flux_njy_B[band_F] * (np.abs(days_F - self.day) < 0.5))


@dataclass(frozen=True, slots=True, eq=False)
class Defect:
    """Artefacts that come and go on single frames."""

    days_F: Array
    flux_njy_F: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve; of the nearest frame."""
        place = np.abs(days_F[:, None] - self.days_F).argmin(axis=1)
        return np.asarray(self.flux_njy_F[place])


def defect(random: np.random.Generator, days_F: Array) -> Defect:
    """Flux of order one on a third of the frames."""
    hit = random.random(len(days_F)) < 0.35
    hit[int(random.integers(len(days_F)))] = True
    return Defect(days_F, np.where(hit, random.lognormal(0.0, 0.6, len(days_F)), 0.0))
