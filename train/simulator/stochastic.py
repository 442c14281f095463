"""Sources that vary without a period: active nuclei, quasar-like variables, and what subtraction leaves behind.

Active nuclei: damped random walk of the magnitude (Kelly et al. 2009, MacLeod et al. 2010), one driver for all bands,
amplitude falling with wavelength as (wavelength)^-0.48.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.light_curves import Integers

Array = NDArray[np.float64]

TAU_DAYS: Final = (200.0, 0.6)  # median in the rest frame, log-normal width
STRUCTURE_FUNCTION_MAG: Final = (0.2, 0.4)
AMPLITUDE_SLOPE: Final = -0.48
REFERENCE_A: Final = 6200.0
# the template is a mean over epochs, so it lies nearer to the mean flux than one epoch does
TEMPLATE_SHARE: Final = 0.5
RESIDUAL_TAIL: Final = 3.0  # degrees of freedom: heavy tails


@dataclass(frozen=True, slots=True, eq=False)
class RandomWalk:
    """A damped random walk that was drawn at ``knots_T`` days. magnitude_T: in the reference band, relative to the
    template's epoch; amplitude_B scales it; flux_njy_B: mean flux."""

    knots_T: Array
    magnitude_T: Array
    amplitude_B: Array
    flux_njy_B: Array
    template_mag: float

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve; linear in magnitude between the knots."""
        now = np.interp(days_F, self.knots_T, self.magnitude_T)
        scale = self.amplitude_B[band_F]
        ratio = 10.0 ** (-0.4 * scale * now) - 10.0 ** (-0.4 * scale * self.template_mag)
        return np.asarray(self.flux_njy_B[band_F] * ratio)

    def template_flux(self) -> Array:
        """Template flux in each band, nJy [B]: what the static image holds."""
        return np.asarray(self.flux_njy_B * 10.0 ** (-0.4 * self.amplitude_B * self.template_mag))


def walk(random: np.random.Generator, days_T: Array, tau_days: float) -> Array:
    """A damped random walk of unit variance at increasing days."""
    values = np.empty(len(days_T))
    values[0] = random.normal()
    kicks = random.standard_normal(len(days_T))
    decay = np.exp(-np.diff(days_T) / tau_days)
    for index, keep in enumerate(decay, start=1):
        values[index] = keep * values[index - 1] + np.sqrt(1.0 - keep**2) * kicks[index]
    return values


def draw_walk(
    random: np.random.Generator,
    days_F: Array,
    center_a_B: Array,
    *,
    redshift: float,
    structure_function: tuple[float, float] = STRUCTURE_FUNCTION_MAG,
    tau_days: tuple[float, float] = TAU_DAYS,
) -> RandomWalk:
    """A walk of unit mean flux at the frames' days; its template was taken years before."""
    knots = np.unique(np.round(days_F, 3))
    tau = tau_days[0] * random.lognormal(0.0, tau_days[1]) * (1.0 + redshift)
    sigma = structure_function[0] * random.lognormal(0.0, structure_function[1]) / np.sqrt(2.0)
    amplitude = (center_a_B / REFERENCE_A) ** AMPLITUDE_SLOPE
    return RandomWalk(
        knots_T=knots,
        magnitude_T=sigma * walk(random, knots, tau),
        amplitude_B=amplitude,
        flux_njy_B=np.ones(len(center_a_B)),
        template_mag=float(sigma * random.normal()) * TEMPLATE_SHARE,
    )


@dataclass(frozen=True, slots=True, eq=False)
class SubtractionResidual:
    """Erratic flux of either sign, independent from frame to frame, as a bad subtraction beside a bright galaxy
    leaves it. Known at the days of the frames only."""

    days_F: Array
    flux_njy_F: Array
    factor_B: Array

    def change(self, days_F: Array, band_F: Integers) -> Array:
        """See LightCurve; of the nearest frame."""
        place = np.clip(np.searchsorted(self.days_F, days_F), 1, len(self.days_F) - 1)
        place -= days_F - self.days_F[place - 1] < self.days_F[place] - days_F
        return np.asarray(self.flux_njy_F[place] * self.factor_B[band_F])


def draw_residual(random: np.random.Generator, days_F: Array, num_bands: int) -> SubtractionResidual:
    """Of order unity, to be scaled."""
    flux = 0.35 + random.standard_t(RESIDUAL_TAIL, len(days_F))
    return SubtractionResidual(days_F, flux, random.lognormal(0.0, 0.25, num_bands))
