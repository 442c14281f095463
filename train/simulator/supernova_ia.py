"""Type Ia supernovae: the Hsiao template with stretch, colour law and scatter.

Stretch and colour in SALT2's terms: time runs slower by s = 0.98 + 0.091 x1 + 0.003 x1^2 - 0.00075 x1^3, light is
dimmed by 10^(-0.4 c CL) with the law of Guy et al. (2010); standard relation M_B - alpha x1 + beta c.
"""

from __future__ import annotations

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from train.simulator.light_curves import GridCurve
from train.simulator.spectra import Bandpasses, distance_modulus, magnitude_to_njy, observed
from train.simulator.table_files import read_table

Array = NDArray[np.float64]

ABSOLUTE_MAGNITUDE: Final = -19.0
ALPHA: Final = 0.14
BETA: Final = 3.1
GREY_SCATTER: Final = 0.10
BAND_SCATTER: Final = 0.04
ULTRAVIOLET_SCATTER: Final = 0.10  # in bands whose rest wavelength is below 3500 A
COLOUR_LAW: Final = (-0.504294, 0.787691, -0.461715, 0.0815619)
_B_A, _V_A = 4302.57, 5428.55
_LAW_RANGE_A: Final = (2800.0, 7000.0)
X1: Final = (0.27, 0.96)
COLOUR: Final = (-0.04, 0.07)
# the template is bluer than a SALT2 supernova of c = 0 by about this
TEMPLATE_COLOUR: Final = 0.10
COLOUR_TAIL: Final = 0.06  # exponential: dust
X1_RANGE: Final = 3.2


@cache
def template() -> tuple[Array, Array, Array]:
    """Phases every day, wavelengths, flux [T, W], with flux 1 in rest-frame B at maximum."""
    rows = read_table("hsiao.csv")
    wavelengths = np.array([float(name) for name in rows[0] if name != "phase_d"])
    phases = np.array([float(row["phase_d"]) for row in rows])
    flux = np.array([[float(row[f"{wavelength:.0f}"]) for wavelength in wavelengths] for row in rows])
    fine = np.arange(phases[0], phases[-1] + 0.5)
    smooth = np.maximum(CubicSpline(phases, flux)(fine), 0.0)
    smooth[0] = 0.0
    in_b = (wavelengths > 3900) & (wavelengths < 4900)
    frequency = wavelengths[in_b] ** 2  # flux a frequency, up to the speed of light
    at_maximum = smooth[int(np.argmin(abs(fine)))][in_b]
    return fine, wavelengths, smooth / (at_maximum * frequency).mean()


def colour_law(wavelength_a: Array) -> Array:
    """SALT2's CL: 0 in B, -1 in V, straight beyond 2800 and 7000 Angstrom."""

    def polynomial(x: Array) -> Array:
        result = (1.0 - sum(COLOUR_LAW)) * x
        for power, coefficient in enumerate(COLOUR_LAW, start=2):
            result = result + coefficient * x**power
        return np.asarray(result)

    x = (np.asarray(wavelength_a) - _B_A) / (_V_A - _B_A)
    low, high = ((edge - _B_A) / (_V_A - _B_A) for edge in _LAW_RANGE_A)
    step = 1e-4
    law = polynomial(np.clip(x, low, high))
    for edge, side, beyond in ((low, 1.0, x < low), (high, -1.0, x > high)):
        at_edge = np.array(edge)
        slope = side * (polynomial(at_edge + side * step) - polynomial(at_edge)) / step
        law = np.where(beyond, polynomial(at_edge) + slope * (x - edge), law)
    return np.asarray(-law)


def draw(random: np.random.Generator, passes: Bandpasses, redshift: float) -> GridCurve:
    """One supernova, its B maximum on day 0."""
    x1 = float(np.clip(random.normal(*X1), -X1_RANGE, X1_RANGE))
    colour = float(random.normal(*COLOUR) + random.exponential(COLOUR_TAIL) - COLOUR_TAIL / 2)
    phases, wavelengths, flux = template()
    stretch = 0.98 + 0.091 * x1 + 0.003 * x1**2 - 0.00075 * x1**3
    reddened = flux * 10.0 ** (-0.4 * (colour + TEMPLATE_COLOUR) * colour_law(wavelengths))
    magnitude = ABSOLUTE_MAGNITUDE - ALPHA * x1 + BETA * colour + GREY_SCATTER * random.normal()
    scatter = np.where(passes.center_a_B / (1 + redshift) < 3500.0, ULTRAVIOLET_SCATTER, BAND_SCATTER)
    factor = magnitude_to_njy(magnitude + distance_modulus(redshift) + scatter * random.standard_normal(len(scatter)))
    in_bands = passes.fluxes(observed(reddened, wavelengths, redshift))
    return GridCurve(phases * stretch * (1 + redshift), in_bands * factor)
