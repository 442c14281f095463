"""When an object is looked at and under which conditions: drawn before, and without knowledge of, what the object is.

Everything that a network could mistake for the object (number of frames, span, gaps, season, seeing, noise, missing
bands, chip edges, the stamp's place and rotation) is drawn here, so it cannot tell the class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.survey_description import SurveyDescription

Array = NDArray[np.float64]
Integers = NDArray[np.int64]

MIN_FRAMES: Final = 3
SHORT_SHARE: Final = 0.08  # objects with only a few nights
GAP_SHARE: Final = 0.35  # seasons interrupted by weather or the moon
EDGE_SHARE: Final = 0.03
SEEING_BAND_SCATTER: Final = 0.03
ZERO_POINT_SCATTER: Final = 0.01
PSF_ELLIPTICITY: Final = 0.03
CENTROID_ARCSEC: Final = 0.05
LARGEST_EDGE_PX: Final = 10


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """Frames in time order. mjd: TAI days; band: index into the survey's bands; fwhm: arcsec; noise: nJy a native
    pixel of the science image; scale: true flux over stated flux; shear [F, 2]: PSF ellipticity; offset_px [F, 2]:
    x and y of the source from its pixel's middle; edge [F, 2]: columns (negative: on the right) and rows masked;
    rotation_deg; side: native pixels.
    """

    mjd: Array
    night: Integers
    band: Integers
    fwhm: Array
    noise: Array
    scale: Array
    shear: Array
    offset_px: Array
    edge: Integers
    rotation_deg: Array
    side: Integers

    def __len__(self) -> int:
        return len(self.mjd)

    @property
    def days(self) -> Array:
        """Since the first frame."""
        return np.asarray(self.mjd - self.mjd[0])


def draw_schedule(survey: SurveyDescription, random: np.random.Generator) -> Schedule:
    """One object's frames, at least three."""
    while True:
        nights = _nights(survey, random)
        frames = [(night, band) for night in nights for band in _bands(survey, random)]
        if len(frames) >= MIN_FRAMES:
            break
    first = int(random.choice(survey.first_mjd)) + int(random.integers(0, 20))
    night = np.array([frame[0] for frame in frames], np.int64)
    band = np.array([frame[1] for frame in frames], np.int64)
    fraction = {int(one): random.uniform(*survey.night_utc) for one in np.unique(night)}
    order = np.concatenate([np.arange(count) for count in np.unique(night, return_counts=True)[1]])
    hour = np.array([fraction[int(one)] for one in night]) + order * survey.exposure_gap_days
    num_frames = len(frames)
    seeing = dict.fromkeys(fraction, 0.0)
    for one in seeing:
        seeing[one] = float(np.clip(random.normal(), -2.5, 2.5)) * survey.fwhm_scatter
    jitter = SEEING_BAND_SCATTER * random.standard_normal(num_frames)
    fwhm = np.array(survey.fwhm_arcsec)[band] * np.exp(np.array([seeing[int(one)] for one in night]) + jitter)
    dark = {one: float(np.clip(random.normal(), -2.5, 2.5)) for one in fraction}
    noise = np.array(survey.noise_njy)[band]
    noise = noise * np.exp(survey.noise_scatter * np.array([dark[int(one)] for one in night]))
    center = random.uniform(-0.5, 0.5, (num_frames, 2))
    return Schedule(
        mjd=first + night + hour,
        night=first + night,
        band=band,
        fwhm=fwhm,
        noise=noise * np.exp(0.03 * random.standard_normal(num_frames)),
        scale=1.0 + ZERO_POINT_SCATTER * random.standard_normal(num_frames),
        shear=PSF_ELLIPTICITY * random.standard_normal((num_frames, 2)),
        offset_px=center,
        edge=_edges(random, num_frames),
        rotation_deg=random.uniform(-180, 180, num_frames) if survey.rotates else np.zeros(num_frames),
        side=random.choice(np.array(survey.sides), num_frames),
    )


def _nights(survey: SurveyDescription, random: np.random.Generator) -> list[int]:
    """Nights observed, counted from the season's start."""
    length = random.uniform(*survey.season_days)
    if random.random() < SHORT_SHARE:
        length *= random.uniform(0.05, 0.4)
    gap = random.uniform(*survey.gap_days)
    nights, night = [], 0
    while night <= length:
        nights.append(night)
        night += 1 + int(random.poisson(gap - 1.0))
    if random.random() < GAP_SHARE and len(nights) > 8:
        start = random.uniform(0.0, length)
        nights = [one for one in nights if not start <= one <= start + random.uniform(8.0, 20.0)]
    return nights


def _bands(survey: SurveyDescription, random: np.random.Generator) -> list[int]:
    return [index for index, share in enumerate(survey.bands_a_night) if random.random() < share]


def _edges(random: np.random.Generator, num_frames: int) -> Integers:
    """Columns and rows outside the chip; all frames of an object share the chance."""
    edges = np.zeros((num_frames, 2), np.int64)
    hit = random.random(num_frames) < EDGE_SHARE
    size = random.integers(1, LARGEST_EDGE_PX + 1, num_frames) * random.choice([-1, 1], num_frames)
    axis = random.integers(0, 2, num_frames)
    edges[hit, axis[hit]] = size[hit]
    return edges
