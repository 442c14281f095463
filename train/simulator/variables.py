"""Draws active nuclei and Variables. "Variable" of the SDSS-II Supernova Survey is a mixture: about two thirds
nuclear, faint, point-like and quasar-blue, a fifth beside a bright galaxy (subtraction residuals), 5% hostless, few
stars.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.distributions import copula
from train.simulator.hosts import draw_host, host_magnitudes
from train.simulator.light_curves import Scaled, brightest
from train.simulator.periodic import KINDS, draw_star
from train.simulator.population import HOSTLESS, DoesNotFit, Setting, true_peak
from train.simulator.source import Source
from train.simulator.spectra import magnitude_to_njy
from train.simulator.stochastic import RandomWalk, draw_residual, draw_walk

Array = NDArray[np.float64]

BESIDE_SHARE: Final = 0.2
RESIDUAL_BELOW_MAG: Final = 3.5  # a change that small beside its galaxy's light is a residual too
FAINTEST_PEAK_R: Final = 23.2
BLUE_U_G: Final = 0.8
STARS_AMONG: Final = {"blue": 0.12, "red": 0.45}
STAR_SHARES: Final = {"blue": (0.55, 0.1, 0.0, 0.35), "red": (0.30, 0.40, 0.20, 0.10)}
ANY_STAR_SHARES: Final = (0.35, 0.30, 0.20, 0.15)
QUASAR_STRUCTURE_MAG: Final = (0.35, 0.4)
QUASAR_TAU_DAYS: Final = (60.0, 0.8)
POWER_LAW: Final = (0.5, 0.25)  # flux a frequency as wavelength to this power
LARGEST_NUCLEUS: Final = 0.95
LEAST_GALAXY: Final = 0.05
ROUNDS: Final = 6
LARGEST_AMPLITUDE: Final = 8.0
MOST_OVER_CATALOGUE: Final = 1.3


def draw_agn(setting: Setting) -> Source:
    """An active nucleus in the middle of its galaxy: host magnitude is of both together."""
    random, survey = setting.random, setting.survey
    drawn = copula("AGN").draw(random)
    redshift = max(drawn["redshift"], 0.02) * setting.redshift_factor
    drawn["host_r"] += survey.magnitude_shift
    total = magnitude_to_njy(host_magnitudes(drawn, survey.bands))
    walk = draw_walk(random, setting.schedule.days, setting.passes.center_a_B, redshift=redshift)
    walk = fitted_walk(setting, walk, true_peak(drawn["peak_r"]) + survey.magnitude_shift, total)
    point = walk.template_flux()
    host = draw_host(
        random, host_magnitudes(drawn, survey.bands), host_r=drawn["host_r"], g_r=drawn["g_r"], separation_arcsec=0.0
    )
    host = replace(host, flux_njy_B=np.maximum(total - point, LEAST_GALAXY * total))
    return Source("AGN", "AGN", walk, point, host, redshift)


def fitted_walk(setting: Setting, walk: RandomWalk, peak_r: float, total_njy_B: Array) -> RandomWalk:
    """The walk with the flux that gives it its peak; where that were more than the catalogue has, with more amplitude
    instead. The continuum is a power law."""
    peak = float(magnitude_to_njy(peak_r))
    reference = setting.survey.reference_band
    center = setting.passes.center_a_B
    colour = (center / center[reference]) ** float(setting.random.normal(*POWER_LAW))
    if _unit_peak(setting, walk) <= 0:
        walk = replace(walk, magnitude_T=-walk.magnitude_T, template_mag=-walk.template_mag)
    ceiling = LARGEST_NUCLEUS * float(total_njy_B[reference])
    for _ in range(ROUNDS):
        unit = _unit_peak(setting, walk)
        if unit <= 1e-4:
            raise DoesNotFit
        flux = peak / unit
        if flux <= ceiling:
            break
        stretch = min(1.0 + (flux / ceiling - 1.0) * 0.8, LARGEST_AMPLITUDE)
        walk = replace(walk, amplitude_B=walk.amplitude_B * stretch)
    if walk.amplitude_B[reference] > LARGEST_AMPLITUDE or flux > MOST_OVER_CATALOGUE * ceiling:
        raise DoesNotFit
    return replace(walk, flux_njy_B=flux * colour)


def _unit_peak(setting: Setting, walk: RandomWalk) -> float:
    return brightest(walk, setting.schedule.days, setting.survey.reference_band)


def draw_variable(setting: Setting, *, mislabelled: bool = False) -> Source:
    """A Variable of the mixture; ``mislabelled``: one of the faint nuclear ones that the survey's photometric types
    call supernovae of type II."""
    random, survey = setting.random, setting.survey
    beside = not mislabelled and random.random() < BESIDE_SHARE
    drawn = copula("SNOther nuclear" if mislabelled else "Variable beside" if beside else "Variable").draw(random)
    separation = 10.0 ** drawn["log_separation"]
    peak_r = min(true_peak(drawn["peak_r"]), FAINTEST_PEAK_R) + survey.magnitude_shift
    drawn["host_r"] += survey.magnitude_shift
    if survey.star_share is not None and random.random() < survey.star_share:
        return _star(setting, peak_r, str(random.choice(KINDS, p=ANY_STAR_SHARES)))
    if beside or peak_r > drawn["host_r"] + RESIDUAL_BELOW_MAG:
        return _residual(setting, drawn, peak_r, separation)
    colour = "blue" if drawn["u_g"] < BLUE_U_G else "red"
    if random.random() < STARS_AMONG[colour]:
        return _star(setting, peak_r, str(random.choice(KINDS, p=STAR_SHARES[colour])))
    return _quasar_like(setting, drawn, peak_r)


def _quasar_like(setting: Setting, drawn: dict[str, float], peak_r: float) -> Source:
    """A point source that wanders, hardly any galaxy around it; hostless ones are below the catalogue's limit."""
    random, bands = setting.random, setting.survey.bands
    if random.random() < HOSTLESS["Variable"]:
        drawn["host_r"] = max(drawn["host_r"], 22.8 + setting.survey.magnitude_shift)
    total = magnitude_to_njy(host_magnitudes(drawn, bands))
    walk = draw_walk(
        random,
        setting.schedule.days,
        setting.passes.center_a_B,
        redshift=1.0,
        structure_function=QUASAR_STRUCTURE_MAG,
        tau_days=QUASAR_TAU_DAYS,
    )
    walk = fitted_walk(setting, walk, peak_r, total)
    point = walk.template_flux()
    # catalogue colours, where they leave room for the varying flux
    rest = np.maximum(total - point, 0.0)
    host = draw_host(
        random, host_magnitudes(drawn, bands), host_r=drawn["host_r"], g_r=drawn["g_r"], separation_arcsec=0.0
    )
    return Source("Variable", "quasar_like", walk, point, replace(host, flux_njy_B=rest))


def _star(setting: Setting, peak_r: float, kind: str) -> Source:
    """A star as bright as its peak in the difference images asks."""
    name, star = draw_star(setting.random, kind, setting.survey.bands, setting.passes.center_a_B, setting.split)
    peak = brightest(star, setting.schedule.days, setting.survey.reference_band)
    if peak <= 1e-3:
        raise DoesNotFit
    star = replace(star, flux_njy_B=star.flux_njy_B * float(magnitude_to_njy(peak_r)) / peak)
    template = name if name != kind else ""
    return Source("Variable", kind, star, star.flux_njy_B, None, template=template)


def _residual(setting: Setting, drawn: dict[str, float], peak_r: float, separation_arcsec: float) -> Source:
    random, bands = setting.random, setting.survey.bands
    curve = draw_residual(random, setting.schedule.days, len(bands))
    peak = brightest(curve, setting.schedule.days, setting.survey.reference_band)
    if peak <= 0:
        raise DoesNotFit
    scaled = Scaled(curve, np.full(len(bands), float(magnitude_to_njy(peak_r)) / peak))
    host = draw_host(
        random,
        host_magnitudes(drawn, bands),
        host_r=drawn["host_r"],
        g_r=drawn["g_r"],
        separation_arcsec=separation_arcsec / setting.redshift_factor,
    )
    return Source("Variable", "residual", scaled, np.zeros(len(bands)), host, in_science=False)
