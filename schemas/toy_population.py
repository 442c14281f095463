"""The law of the toy population: objects that rise and fade, flicker or pulsate, as surveys would see them.

Not a simulation of a survey: shapes of light curves and stamps are drawn from round numbers, so that every part of
the path has something to run on at once. Depths are the surveys' usual single-exposure 5-sigma limits, noise a pixel
follows from them and the PSF width. The simulated packets of the tests and the benchmarks are drawn from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.classification import CLASS_NAMES

FIRST_MJD: Final = 60000.0
NUM_NIGHTS: Final = (8, 60)
# full width at half maximum over standard deviation of a Gaussian, 2 sqrt(2 ln 2)
FWHM_TO_SIGMA: Final = 2.3548
# A difference image is noisier than the science image: the template has noise too.
DIFFERENCE_NOISE: Final = 1.2
Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ToySurvey:
    """pixel_arcsec and fwhm_arcsec: stamp scale and median seeing. depth_njy: 5-sigma point-source flux in each band.

    detections_only: an epoch gives a packet only where the difference is 5 sigma from zero. has_difference: whether
    packets carry the survey's own difference image. brightest: peak significance of the brightest objects.
    """

    name: str
    grid_id: str
    bands: str
    pixel_arcsec: float
    fwhm_arcsec: float
    depth_njy: tuple[float, ...]
    gap_days: float
    bands_a_night: int
    detections_only: bool
    has_difference: bool
    brightest: float


SURVEYS: Final[dict[str, ToySurvey]] = {
    "ztf": ToySurvey("ztf", "ztf-1.01-32", "gri", 1.01, 2.0, (19e3, 23e3, 36e3), 2.5, 1, True, True, 2000.0),
    "lsst": ToySurvey(
        "lsst",
        "lsst-0.2-32",
        "ugrizy",
        0.2,
        0.8,
        (1200.0, 380.0, 575.0, 900.0, 1700.0, 3600.0),
        3.0,
        1,
        True,
        True,
        500.0,
    ),
    "sdss": ToySurvey(
        "sdss",
        "sdss-0.396-32",
        "ugriz",
        0.396,
        1.4,
        (4800.0, 1900.0, 2800.0, 3600.0, 14e3),
        4.0,
        5,
        False,
        False,
        60.0,
    ),
}


@dataclass(frozen=True, slots=True)
class Host:
    """A round Gaussian galaxy: flux in the deepest band (nJy), width (arcsec), place relative to the source (west,
    north)."""

    flux_njy: float
    sigma_arcsec: float
    offset_arcsec: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Exposure:
    """One exposure of one object that gives a packet. Fluxes in nJy.

    change: of the point source against its template; static: of the template's point source; measured, sigma: the
    change as photometry has it and its standard deviation. band_index: into the survey's bands. mjd: TAI.
    """

    mjd: float
    night: int
    band: str
    band_index: int
    change: float
    static: float
    measured: float
    sigma: float
    fwhm_arcsec: float
    host: Host

    def pixel_noise(self, pixel_arcsec: float) -> float:
        """Standard deviation of one pixel of the science image, nJy."""
        return self.sigma / float(np.sqrt(4.0 * np.pi * self.psf_width(pixel_arcsec) ** 2))

    def psf_width(self, pixel_arcsec: float) -> float:
        """Standard deviation of the Gaussian PSF, pixels."""
        return self.fwhm_arcsec / FWHM_TO_SIGMA / pixel_arcsec

    def sky_free(
        self, shape: tuple[int, int], pixel_arcsec: float, *, centre: Array, rotation_deg: float = 0.0
    ) -> tuple[Array, Array]:
        """Noiseless point source of unit flux and the host (nJy), [H, W] each.

        centre: row and column of the point source. rotation_deg: position angle of the row axis, east of north.
        """
        width = self.psf_width(pixel_arcsec)
        wide = float(np.hypot(width, self.host.sigma_arcsec / pixel_arcsec))
        angle = np.radians(rotation_deg)
        west, north = self.host.offset_arcsec
        away = np.array([north * np.cos(angle) - west * np.sin(angle), west * np.cos(angle) + north * np.sin(angle)])
        galaxy = _gaussian(shape, wide, centre + away / pixel_arcsec)
        return _gaussian(shape, width, centre), self.host.flux_njy * (0.6 + 0.15 * self.band_index) * galaxy


def expose(
    survey: ToySurvey, random: np.random.Generator, label: int, *, num_nights: tuple[int, int] = NUM_NIGHTS
) -> Iterator[Exposure]:
    """One object of class ``label`` (into CLASS_NAMES) on num_nights[0] to num_nights[1] - 1 nights, in time order.

    Every exposure takes its turn at ``random``: stamps may be drawn from it in between.
    """
    nights = np.cumsum(1 + random.poisson(survey.gap_days - 1, int(random.integers(*num_nights))))
    curve, static, host = _draw_source(survey, random, CLASS_NAMES[label], float(nights[-1]))
    for night in nights:
        chosen = random.choice(len(survey.bands), size=survey.bands_a_night, replace=False)
        for order, band in enumerate(np.sort(chosen)):
            day = float(night) + 0.3 + 0.01 * order
            change = float(curve(np.array([day]), int(band))[0])
            sigma = survey.depth_njy[band] / 5.0 * float(random.lognormal(0.0, 0.15))
            measured = change + sigma * float(random.normal())
            if survey.detections_only and abs(measured) < 5.0 * sigma:
                continue
            fwhm = survey.fwhm_arcsec * float(random.lognormal(0.0, 0.12))
            yield Exposure(
                mjd=FIRST_MJD + day,
                night=int(FIRST_MJD + night),
                band=survey.bands[band],
                band_index=int(band),
                change=change,
                static=float(static[band]),
                measured=measured,
                sigma=sigma,
                fwhm_arcsec=fwhm,
                host=host,
            )


Curve = Callable[[Array, int], Array]


def _draw_source(survey: ToySurvey, random: np.random.Generator, kind: str, span: float) -> tuple[Curve, Array, Host]:
    """Flux change f(days, band) in nJy, static flux of the point source in each band (nJy), and the host."""
    deepest = min(survey.depth_njy) / 5.0
    peak = deepest * float(np.exp(random.uniform(np.log(8.0), np.log(survey.brightest))))
    colour = 1.0 + 0.25 * random.normal() * np.linspace(-1, 1, len(survey.bands))
    colour = np.clip(colour, 0.4, 1.6)
    zeros = np.zeros(len(survey.bands))
    host = Host(
        peak * float(random.lognormal(0.0, 1.0)),
        survey.fwhm_arcsec * float(random.uniform(0.6, 1.6)),
        (0.0, 0.0),
    )
    if kind in ("SNIa", "SNOther"):
        reach = survey.fwhm_arcsec * 1.5
        host = Host(host.flux_njy, host.sigma_arcsec, tuple(random.normal(0.0, reach, 2)))
        return _supernova(random, kind, span, peak, colour), zeros, host
    if kind == "AGN":
        return _quasar(random, span, peak, colour), 2.0 * peak * colour, host
    return _pulsator(random, peak, colour), 1.5 * peak * colour, Host(0.0, host.sigma_arcsec, (0.0, 0.0))


def _supernova(random: np.random.Generator, kind: str, span: float, peak: float, colour: Array) -> Curve:
    """Gaussian rise; SN Ia fade in 12 to 20 days (e-folding, later in red bands), others over a plateau."""
    maximum = random.uniform(0.1, 0.7) * span
    rise = random.uniform(6.0, 9.0) if kind == "SNIa" else random.uniform(3.0, 7.0)
    plateau = 0.0 if kind == "SNIa" else random.uniform(30.0, 90.0)
    fade = random.uniform(12.0, 20.0) if kind == "SNIa" else random.uniform(20.0, 60.0)

    def curve(day: Array, band: int) -> Array:
        phase = day - maximum
        slower = 1.0 + 0.12 * band
        falling = np.exp(-np.maximum(phase - plateau * slower, 0.0) / (fade * slower))
        return np.asarray(peak * colour[band] * np.where(phase < 0, np.exp(-0.5 * (phase / rise) ** 2), falling))

    return curve


def _quasar(random: np.random.Generator, span: float, peak: float, colour: Array) -> Curve:
    """A damped random walk of relaxation time 60 to 300 days, relative to its value when the template was taken."""
    tau, grid = random.uniform(60.0, 300.0), np.arange(0.0, span + 3.0)
    step = np.exp(-1.0 / tau)
    walk = np.empty(len(grid))
    walk[0] = random.normal()
    for index, kick in enumerate(random.normal(size=len(grid) - 1), start=1):
        walk[index] = step * walk[index - 1] + np.sqrt(1 - step**2) * kick
    reference = random.normal()

    def curve(day: Array, band: int) -> Array:
        return np.asarray(0.7 * peak * colour[band] / (1.0 + 0.1 * band) * (np.interp(day, grid, walk) - reference))

    return curve


def _pulsator(random: np.random.Generator, peak: float, colour: Array) -> Curve:
    """A saw tooth of 0.3 to 60 days with a steep rise, the template at its mean."""
    period = float(np.exp(random.uniform(np.log(0.3), np.log(60.0))))
    phase0, steep = random.random(), random.uniform(0.1, 0.4)

    def curve(day: Array, band: int) -> Array:
        phase = (day / period + phase0) % 1.0
        wave = np.where(phase < steep, phase / steep, (1.0 - phase) / (1.0 - steep)) - 0.5
        return np.asarray(2.0 * peak * colour[band] / (1.0 + 0.1 * band) * wave)

    return curve


def _gaussian(shape: tuple[int, int], width: float, centre: Array) -> Array:
    """Of unit flux, [H, W]; ``centre``: row and column."""
    row = np.exp(-0.5 * ((np.arange(shape[0]) - centre[0]) / width) ** 2)
    column = np.exp(-0.5 * ((np.arange(shape[1]) - centre[1]) / width) ** 2)
    result: Array = np.outer(row, column) / (2.0 * np.pi * width**2)
    return result
