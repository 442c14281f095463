"""Draws an object of a class for a given schedule, with the population's figures (tables/population.csv and below).

The schedule comes first and is kept: whatever does not fit it is drawn anew, so that a class cannot choose its
frames. Confirmed (spectroscopic) and unconfirmed (photometric) supernovae are drawn from their own figures, of the
SDSS-II Supernova Survey's full tables (Sako et al. 2018).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from train.simulator import core_collapse, supernova_ia
from train.simulator.distributions import OUTERMOST, SCORES, copula
from train.simulator.hosts import draw_host, host_magnitudes
from train.simulator.light_curves import GridCurve, Scaled, brightest
from train.simulator.schedule import Schedule
from train.simulator.source import Profile, Source
from train.simulator.spectra import Bandpasses, bandpasses, magnitude_to_njy
from train.simulator.survey_description import SurveyDescription

Percentiles = tuple[float, float, float, float, float]

CONFIRMED: Final = "confirmed"
WITH_REDSHIFT: Final = "unconfirmed with redshift"
WITHOUT_REDSHIFT: Final = "unconfirmed without redshift"
REDSHIFTS: Final[dict[tuple[str, bool], Percentiles]] = {
    ("SNIa", True): (0.075, 0.122, 0.205, 0.299, 0.370),
    ("SNIa", False): (0.179, 0.226, 0.301, 0.382, 0.421),
    ("SNOther", True): (0.022, 0.041, 0.080, 0.152, 0.232),
}
CONFIRMED_OTHER_PEAK_R: Final[Percentiles] = (17.4, 18.6, 20.0, 21.1, 21.7)
HOSTLESS: Final = {"AGN": 0.0, "Variable": 0.05, "SNOther": 0.15, CONFIRMED: 0.07, WITHOUT_REDSHIFT: 0.56}
UNCONFIRMED_WITHOUT_REDSHIFT: Final = 0.34
FAINTEST_IA_R: Final = 22.3
# host r = 22.3 + 4.6 log10 z, scatter 1.1, for SN Ia; their peaks follow 4.1 log10 z
HOST_RELATION: Final = (22.3, 4.6, 1.1)
PEAK_SLOPE: Final = 4.1
MOST_TRIES: Final = 400
EDGE_DAYS: Final = 3.0
PEAK_BIAS_R: Final = (20.5, 22.0)
PEAK_BIAS_MAG: Final = (0.0, 0.2)


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What every draw needs: the survey, the object's schedule and its split."""

    survey: SurveyDescription
    schedule: Schedule
    split: str
    random: np.random.Generator

    @property
    def passes(self) -> Bandpasses:
        """The survey's bands."""
        return bandpasses(self.survey.name, self.survey.bands)

    @property
    def redshift_factor(self) -> float:
        """Redshifts of a brighter population are smaller: peak r follows 4.1 log10 z."""
        return float(10.0 ** (self.survey.magnitude_shift / PEAK_SLOPE))

    def peak_in_r(self, curve: Scaled | GridCurve) -> float:
        """Brightest change in r at the schedule's days."""
        return brightest(curve, self.schedule.days, self.survey.reference_band)

    def peak_day(self) -> float:
        """When a transient is brightest: anywhere in the span but its very ends."""
        first, last = EDGE_DAYS, float(self.schedule.days[-1]) - EDGE_DAYS
        return float(self.random.uniform(first, last)) if last > first else 0.5 * (first + last)


class DoesNotFit(Exception):
    """A draw that the schedule or the survey's selection refuses."""


def draw_until(draw: Callable[[], Source]) -> Source:
    """The first draw that fits; RuntimeError when hundreds do not, which no schedule should cause."""
    for _ in range(MOST_TRIES):
        try:
            return draw()
        except DoesNotFit:
            continue
    raise RuntimeError(f"no source fits its schedule in {MOST_TRIES} draws")


def draw_supernova_ia(setting: Setting, *, confirmed: bool) -> Source:
    """SN Ia: redshift from its figures, brightness from the template, host from the redshift."""
    survey, random = setting.survey, setting.random
    if confirmed:
        group = CONFIRMED
    else:
        group = WITHOUT_REDSHIFT if random.random() < UNCONFIRMED_WITHOUT_REDSHIFT else WITH_REDSHIFT
    percentiles = REDSHIFTS["SNIa", confirmed]
    score = float(random.normal())
    redshift = redshift_at(score, percentiles) * setting.redshift_factor
    curve = supernova_ia.draw(random, setting.passes, redshift).moved(setting.peak_day())
    if setting.peak_in_r(curve) < magnitude_to_njy(FAINTEST_IA_R + survey.magnitude_shift):
        raise DoesNotFit
    host = None
    if random.random() >= HOSTLESS.get(group, 0.0):
        drawn = copula("SNIa").draw(random, given={"redshift": score}, instead={"redshift": percentiles})
        middle = HOST_RELATION[0] + HOST_RELATION[1] * np.log10(redshift) + HOST_RELATION[2] * random.normal()
        drawn["host_r"] = float(middle)
        host = _host(setting, drawn, 10.0 ** drawn["log_separation"], shifted=True)
    return Source("SNIa", group, curve, np.zeros(len(survey.bands)), host, redshift)


def draw_core_collapse(setting: Setting, *, confirmed: bool) -> Source:
    """Core collapse: redshift and peak from their figures, light curve from a photosphere scaled to that peak."""
    survey, random = setting.survey, setting.random
    instead = {}
    if confirmed:
        instead = {"redshift": REDSHIFTS["SNOther", True], "peak_r": CONFIRMED_OTHER_PEAK_R}
    drawn = copula("SNOther").draw(random, instead=instead)
    redshift = max(drawn["redshift"], 0.01) * setting.redshift_factor
    kind, curve = core_collapse.draw(random, setting.passes, redshift)
    fine = np.linspace(curve.days_T[0], curve.days_T[-1], 200)
    band = np.full(len(fine), survey.reference_band)
    maximum = float(fine[int(np.argmax(curve.change(fine, band)))])
    moved = curve.moved(setting.peak_day() - maximum)
    scaled = scaled_to_peak(setting, moved, true_peak(drawn["peak_r"]) + survey.magnitude_shift)
    host = None
    if random.random() >= HOSTLESS["SNOther"]:
        host = _host(setting, drawn, 10.0 ** drawn["log_separation"])
    return Source("SNOther", kind, scaled, np.zeros(len(survey.bands)), host, redshift)


def scaled_to_peak(setting: Setting, curve: GridCurve, peak_r: float) -> Scaled:
    """The curve times the factor that gives it ``peak_r`` at its brightest frame; DoesNotFit where it has no
    light."""
    peak = setting.peak_in_r(curve)
    if peak <= 1e-3 * float(curve.flux_TB[:, setting.survey.reference_band].max()):
        raise DoesNotFit
    return Scaled(curve, np.full(len(setting.survey.bands), float(magnitude_to_njy(peak_r)) / peak))


def true_peak(tabulated_r: float) -> float:
    """Magnitude of the noise-free peak of an object whose tabulated peak is its brightest epoch, noise included:
    fainter towards the limit, where the brightest epoch is one with upward noise."""
    return tabulated_r + float(np.interp(tabulated_r, PEAK_BIAS_R, PEAK_BIAS_MAG))


def redshift_at(score: float, percentiles: Percentiles) -> float:
    """Percentile of log redshift, so that it stays positive."""
    logs = np.log(percentiles)
    low = int(np.clip(np.searchsorted(SCORES, score) - 1, 0, len(SCORES) - 2))
    share = (np.clip(score, -OUTERMOST, OUTERMOST) - SCORES[low]) / (SCORES[low + 1] - SCORES[low])
    return float(np.exp(logs[low] + share * (logs[low + 1] - logs[low])))


def _host(setting: Setting, drawn: dict[str, float], separation_arcsec: float, *, shifted: bool = False) -> Profile:
    """The galaxy that ``drawn`` describes. A population that is nearer or farther than Stripe 82's has hosts that are
    brighter and wider apart by the same law; ``shifted`` says that host_r knows of it already."""
    drawn = dict(drawn)
    if not shifted:
        drawn["host_r"] += setting.survey.magnitude_shift
    magnitudes = host_magnitudes(drawn, setting.survey.bands)
    return draw_host(
        setting.random,
        magnitudes,
        host_r=drawn["host_r"],
        g_r=drawn["g_r"],
        separation_arcsec=separation_arcsec / setting.redshift_factor,
    )


def with_neighbours(source: Source, neighbours: tuple[Profile, ...]) -> Source:
    """The same source in a field."""
    return replace(source, neighbours=neighbours)
