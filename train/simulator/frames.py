"""Renders an object's frames: science, template and difference image, variance and PSF of each, on native pixels.

science = scale * (static scene + changed flux) + noise (a bad subtraction changes the difference image alone);
template = static scene as the frame's PSF shows it + noise;
difference = science - template, each matched to the same zero point, plus what a small misregistration and a small
error of the matched PSF leave of the static scene. Noise is Gaussian with the variance of the sky and of the light
itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from train.simulator.render import Gaussians, image, point, psf_gaussians
from train.simulator.schedule import Schedule
from train.simulator.source import Source
from train.simulator.survey_description import SurveyDescription

Array = NDArray[np.float64]
Image = NDArray[np.float32]

REGISTRATION_PX: Final = 0.03
PSF_MATCHING: Final = 0.008
SKY_ERROR: Final = 0.05  # of the noise: what sky subtraction leaves
DEFECT_FWHM_PX: Final = 0.7


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One exposure. Images float32 [H, W] in nJy, NaN beyond the chip's edge; difference and template carry the
    template's noise. flux_njy, error_njy: PSF photometry of the difference image at the source's place.
    column, row: the source's place, px.
    """

    index: int
    science: Image
    template: Image
    difference: Image
    variance: Image
    psf: Gaussians
    column: float
    row: float
    flux_njy: float
    error_njy: float


class Scene:
    """A source under a survey's conditions, ready to be rendered frame by frame."""

    def __init__(self, survey: SurveyDescription, schedule: Schedule, source: Source) -> None:
        self._survey, self._schedule, self._source = survey, schedule, source
        profiles = [*([source.host] if source.host is not None else []), *source.neighbours]
        parts = [point((0.0, 0.0)), *(profile.gaussians(survey.pixel_arcsec) for profile in profiles)]
        fluxes = [source.point_njy_B, *(profile.flux_njy_B for profile in profiles)]
        self._static = Gaussians.joined(parts)
        self._weights_BK = np.concatenate(
            [np.outer(flux, part.flux) for flux, part in zip(fluxes, parts, strict=True)], axis=1
        )
        self.change_njy_F = source.curve.change(schedule.days, schedule.band)
        self.fwhm_px_F = schedule.fwhm / survey.pixel_arcsec

    def frames(self, random: np.random.Generator) -> Iterator[Frame]:
        """All frames in time order; noise is drawn from ``random`` in that order."""
        for index in range(len(self._schedule)):
            yield self._frame(index, random)

    def expected_detections(self, sigmas: float) -> int:
        """How many frames should show the change at ``sigmas``, by sky noise and the PSF's width alone."""
        area = 4.0 * np.pi * (self.fwhm_px_F / 2.3548) ** 2
        noise = self._schedule.noise * np.sqrt(area * (1.0 + self._survey.template_noise**2))
        return int(np.count_nonzero(np.abs(self.change_njy_F) > sigmas * noise))

    def _frame(self, index: int, random: np.random.Generator) -> Frame:
        schedule, survey = self._schedule, self._survey
        side = int(schedule.side[index])
        middle = side // 2 + schedule.offset_px[index]
        psf = psf_gaussians(float(self.fwhm_px_F[index]), (schedule.shear[index, 0], schedule.shear[index, 1]))
        static = self.static_image(index, psf, side, middle)
        where = middle + self._moved_px(index)
        shape = psf_gaussians(DEFECT_FWHM_PX) if self._source.sharp else psf
        spot = image(point((where[0], where[1])).convolved(shape), side, side)
        signal = np.float32(self.change_njy_F[index]) * spot
        noise, band = schedule.noise[index], schedule.band[index]
        gain = survey.njy_per_electron[band]
        seen = static + signal if self._source.in_science else static
        lit = np.maximum(seen, 0.0)
        science_variance = (noise**2 + gain * lit).astype(np.float32)
        science_noise = _normal(random, side) * np.sqrt(science_variance)
        template_noise = _normal(random, side) * np.float32(survey.template_noise * noise)
        scale = np.float32(schedule.scale[index])
        sky = SKY_ERROR * noise * random.normal()
        if survey.keeps_sky:
            sky += noise**2 / gain
        science = scale * seen + science_noise + np.float32(sky)
        template = static + template_noise
        difference = signal + science_noise - template_noise + _mismatch(random, static)
        variance = science_variance + np.float32((survey.template_noise * noise) ** 2)
        flux, error = psf_photometry(difference, variance, spot)
        for pixels in (science, template, difference):
            mask_edge(pixels, schedule.edge[index])
        return Frame(
            index, science, template, difference, variance, psf, float(middle[0]), float(middle[1]), flux, error
        )

    def static_image(self, index: int, psf: Gaussians, side: int, middle: Array) -> Image:
        """The template's scene as frame ``index`` would see it."""
        angle = np.radians(self._schedule.rotation_deg[index])
        static = rotated(self._static, float(angle))
        weights = self._weights_BK[self._schedule.band[index]]
        return image(Gaussians(weights, static.covariance, static.center + middle).convolved(psf), side, side)

    def _moved_px(self, index: int) -> Array:
        """Where a moving source is, relative to the stamp's middle."""
        days = self._schedule.days[index] - self._source.path_day
        moved = np.array(self._source.velocity_arcsec_d) * days / self._survey.pixel_arcsec
        limit = 0.5 * float(self._schedule.side[index])
        return np.asarray(np.clip(moved, -limit, limit))


def rotated(gaussians: Gaussians, angle_rad: float) -> Gaussians:
    """As a detector sees the sky whose row axis has that position angle (east of north)."""
    if angle_rad == 0.0:
        return gaussians
    cosine, sine = np.cos(angle_rad), np.sin(angle_rad)
    turn = np.array([[cosine, sine], [-sine, cosine]])
    xx, xy, yy = gaussians.covariance.T
    covariance = np.stack(
        [
            cosine**2 * xx + 2 * cosine * sine * xy + sine**2 * yy,
            cosine * sine * (yy - xx) + (cosine**2 - sine**2) * xy,
            sine**2 * xx - 2 * cosine * sine * xy + cosine**2 * yy,
        ],
        axis=1,
    )
    return Gaussians(gaussians.flux, covariance, gaussians.center @ turn.T)


def psf_photometry(image_HW: Image, variance_HW: Image, spot_HW: Image) -> tuple[float, float]:
    """Flux and error of a point source with profile ``spot`` by uniform-weight least squares."""
    power = float(np.vdot(spot_HW, spot_HW))
    flux = float(np.vdot(image_HW, spot_HW)) / power
    return flux, float(np.sqrt(np.vdot(spot_HW**2, variance_HW))) / power


def mask_edge(pixels: Image, edge: NDArray[np.int64]) -> None:
    """NaN in the first (positive) or last (negative) columns and rows, in place."""
    columns, rows = (int(size) for size in edge)
    if columns > 0:
        pixels[:, :columns] = np.nan
    elif columns < 0:
        pixels[:, columns:] = np.nan
    if rows > 0:
        pixels[:rows] = np.nan
    elif rows < 0:
        pixels[rows:] = np.nan


def _normal(random: np.random.Generator, side: int) -> Image:
    return random.standard_normal((side, side), dtype=np.float32)


def _mismatch(random: np.random.Generator, static: Image) -> Image:
    """What misregistration and a wrong kernel leave: gradients and curvature of the static scene."""
    shift = REGISTRATION_PX * random.standard_normal(2)
    blur = PSF_MATCHING * random.normal()
    left, here = np.zeros_like(static), static[1:-1, 1:-1]
    above, below, before, after = static[:-2, 1:-1], static[2:, 1:-1], static[1:-1, :-2], static[1:-1, 2:]
    left[1:-1, 1:-1] = np.float32(0.5 * shift[0]) * (below - above) + np.float32(0.5 * shift[1]) * (after - before)
    left[1:-1, 1:-1] += np.float32(blur) * (above + below + before + after - 4 * here)
    return left
