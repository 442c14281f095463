"""A seeded toy population for the reference bundles: objects that rise and fade, flicker or pulsate.

Not a simulation of a survey: shapes of light curves and stamps are drawn from round numbers, so that a small network
can be trained in minutes and every part of the path has a bundle to run on. Depths are the surveys' usual
single-exposure 5-sigma limits, noise a pixel follows from them and the PSF width. Stamps pass through the stamp log's
own record, so their planes carry its float16 rounding, as the worker's do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from model.scores import CLASSES
from schemas.observation import STAMP_SIZE, Observation, Plane, content_digest
from schemas.sequence import StampSequence, build_sequence

FIRST_MJD: Final = 60000.0
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


@dataclass(frozen=True, slots=True, eq=False)
class ToyObject:
    """All observations of one object in time order, their content digests, its class (index into CLASSES)."""

    observations: list[Observation]
    digests: list[bytes]
    label: int

    def cut(self, start: int, stop: int) -> StampSequence:
        """The sequence of a trigger at frame ``stop`` - 1 that sees frames from ``start`` on."""
        first, digests = self.observations[0], self.digests[start:stop]
        return build_sequence(
            first.survey,
            first.object_id,
            first.grid_id,
            self.observations[start:stop],
            digests,
            view_digest=digests[-1].hex(),
        )


def draw_object(survey: ToySurvey, *, seed: int, index: int, max_frames: int, min_frames: int = 1) -> ToyObject:
    """Object ``index`` of the population ``seed`` as the stamp log would give it back."""
    label, observations = draw_observations(
        survey, seed=seed, index=index, max_frames=max_frames, min_frames=min_frames
    )
    payloads = [observation.to_bytes() for observation in observations]
    stored = [Observation.from_bytes(payload) for payload in payloads]
    return ToyObject(stored, [content_digest(payload) for payload in payloads], label)


def draw_observations(
    survey: ToySurvey, *, seed: int, index: int, max_frames: int, min_frames: int = 1
) -> tuple[int, list[Observation]]:
    """Class and float32 observations of object ``index``: a function of seed and index, whatever else is drawn.

    Redrawn until it has ``min_frames`` packets; at most the last ``max_frames`` are kept.
    """
    random = np.random.default_rng([seed, index])
    label = index % len(CLASSES)
    while True:
        observations = _observe(survey, random, label, f"TOY{seed}-{index}")[-max_frames:]
        if len(observations) >= min_frames:
            return label, observations


def _observe(survey: ToySurvey, random: np.random.Generator, label: int, object_id: str) -> list[Observation]:
    num_nights = int(random.integers(8, 60))
    nights = np.cumsum(1 + random.poisson(survey.gap_days - 1, num_nights))
    curve, static, host = _draw_source(survey, random, CLASSES[label], float(nights[-1]))
    observations: list[Observation] = []
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
            stamps = _render(survey, random, change, static[band], host, int(band), sigma, fwhm)
            observations.append(
                Observation(
                    survey=survey.name,
                    object_id=object_id,
                    source_id=f"{object_id}-{len(observations):04d}",
                    mjd=FIRST_MJD + day,
                    night=int(FIRST_MJD + night),
                    band=survey.bands[band],
                    ra=150.0,
                    dec=2.0,
                    diff_flux_njy=measured,
                    diff_flux_err_njy=sigma,
                    reliability=1.0,
                    programid=None,
                    grid_id=survey.grid_id,
                    resampler="toy",
                    rotation_deg=0.0,
                    psf_fwhm_arcsec=fwhm if random.random() < 0.5 else None,
                    science=stamps[0],
                    difference=stamps[1],
                )
            )
    return observations


@dataclass(frozen=True, slots=True)
class _Host:
    """A round Gaussian galaxy: flux in the deepest band (nJy), width (arcsec), place relative to the source."""

    flux_njy: float
    sigma_arcsec: float
    offset_arcsec: tuple[float, float]


def _draw_source(
    survey: ToySurvey, random: np.random.Generator, kind: str, span: float
) -> tuple[Callable[[Array, int], Array], Array, _Host]:
    """Flux change f(days, band) in nJy, static flux of the point source in each band (nJy), and the host."""
    deepest = min(survey.depth_njy) / 5.0
    peak = deepest * float(np.exp(random.uniform(np.log(8.0), np.log(survey.brightest))))
    colour = 1.0 + 0.25 * random.normal() * np.linspace(-1, 1, len(survey.bands))
    colour = np.clip(colour, 0.4, 1.6)
    zeros = np.zeros(len(survey.bands))
    host = _Host(
        peak * float(random.lognormal(0.0, 1.0)),
        survey.fwhm_arcsec * float(random.uniform(0.6, 1.6)),
        (0.0, 0.0),
    )
    if kind in ("SNIa", "SNOther"):
        reach = survey.fwhm_arcsec * 1.5
        host = _Host(host.flux_njy, host.sigma_arcsec, tuple(random.normal(0.0, reach, 2)))
        return _supernova(random, kind, span, peak, colour), zeros, host
    if kind == "AGN":
        return _quasar(random, span, peak, colour), 2.0 * peak * colour, host
    return _pulsator(random, peak, colour), 1.5 * peak * colour, _Host(0.0, host.sigma_arcsec, (0.0, 0.0))


def _supernova(
    random: np.random.Generator, kind: str, span: float, peak: float, colour: Array
) -> Callable[[Array, int], Array]:
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


def _quasar(random: np.random.Generator, span: float, peak: float, colour: Array) -> Callable[[Array, int], Array]:
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


def _pulsator(random: np.random.Generator, peak: float, colour: Array) -> Callable[[Array, int], Array]:
    """A saw tooth of 0.3 to 60 days with a steep rise, the template at its mean."""
    period = float(np.exp(random.uniform(np.log(0.3), np.log(60.0))))
    phase0, steep = random.random(), random.uniform(0.1, 0.4)

    def curve(day: Array, band: int) -> Array:
        phase = (day / period + phase0) % 1.0
        wave = np.where(phase < steep, phase / steep, (1.0 - phase) / (1.0 - steep)) - 0.5
        return np.asarray(2.0 * peak * colour[band] / (1.0 + 0.1 * band) * wave)

    return curve


def _render(
    survey: ToySurvey,
    random: np.random.Generator,
    change: float,
    static: float,
    host: _Host,
    band: int,
    sigma: float,
    fwhm: float,
) -> tuple[Plane, Plane]:
    """Science and difference stamps: point source and host under a Gaussian PSF, white noise of the given depth."""
    width = fwhm / 2.3548 / survey.pixel_arcsec
    noise = sigma / np.sqrt(4.0 * np.pi * width**2)
    centre = random.uniform(-0.4, 0.4, 2)
    point = _gaussian(width, centre)
    wide = float(np.hypot(width, host.sigma_arcsec / survey.pixel_arcsec))
    galaxy = _gaussian(wide, centre + np.array(host.offset_arcsec) / survey.pixel_arcsec)
    shape = (STAMP_SIZE, STAMP_SIZE)
    host_flux = host.flux_njy * (0.6 + 0.15 * band)
    science = (static + change) * point + host_flux * galaxy + random.normal(0.0, noise, shape)
    border = np.concatenate([science[0], science[-1], science[:, 0], science[:, -1]])
    science -= np.median(border)
    difference = change * point + random.normal(0.0, 1.2 * noise, shape)
    valid = np.ones(shape, np.bool_)
    if random.random() < 0.05:  # a chip edge
        valid[:, : int(random.integers(1, 10))] = False
    planes = [
        Plane(np.where(valid, pixels, 0.0).astype(np.float32), valid, scale)
        for pixels, scale in ((science, noise), (difference, 1.2 * noise))
    ]
    return planes[0], planes[1] if survey.has_difference else Plane.masked()


def _gaussian(width: float, centre: Array) -> Array:
    offset = np.arange(STAMP_SIZE) - (STAMP_SIZE - 1) / 2
    column = np.exp(-0.5 * ((offset - centre[0]) / width) ** 2)
    row = np.exp(-0.5 * ((offset - centre[1]) / width) ** 2)
    result: Array = np.outer(row, column) / (2.0 * np.pi * width**2)
    return result
