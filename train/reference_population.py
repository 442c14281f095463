"""Observations of the toy population (``schemas.toy_population``): what the reference bundles are trained on.

Drawn on the surveys' grids directly, without packets. They pass through the stamp log's own record, so their planes
carry its float16 rounding, as the worker's do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.scores import CLASSES
from schemas.observation import STAMP_SIZE, Observation, Plane, content_digest
from schemas.sequence import StampSequence, build_sequence
from schemas.stamps import GRID_CENTER
from schemas.toy_population import DIFFERENCE_NOISE, SURVEYS, Exposure, ToySurvey, expose

__all__ = ["SURVEYS", "ToyObject", "draw_object", "draw_observations"]


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
    observations: list[Observation] = []
    for exposure in expose(survey, random, label):
        science, difference = _render(survey, random, exposure)
        observations.append(
            Observation(
                survey=survey.name,
                object_id=object_id,
                source_id=f"{object_id}-{len(observations):04d}",
                mjd=exposure.mjd,
                night=exposure.night,
                band=exposure.band,
                ra=150.0,
                dec=2.0,
                diff_flux_njy=exposure.measured,
                diff_flux_err_njy=exposure.sigma,
                reliability=1.0,
                programid=None,
                grid_id=survey.grid_id,
                resampler="toy",
                rotation_deg=0.0,
                psf_fwhm_arcsec=exposure.fwhm_arcsec if random.random() < 0.5 else None,
                science=science,
                difference=difference,
            )
        )
    return observations


def _render(survey: ToySurvey, random: np.random.Generator, exposure: Exposure) -> tuple[Plane, Plane]:
    """Science and difference planes: point source and host under a Gaussian PSF, white noise of the given depth."""
    shape = (STAMP_SIZE, STAMP_SIZE)
    noise = exposure.pixel_noise(survey.pixel_arcsec)
    centre = GRID_CENTER + random.uniform(-0.4, 0.4, 2)[::-1]
    point, galaxy = exposure.sky_free(shape, survey.pixel_arcsec, centre=centre)
    science = (exposure.static + exposure.change) * point + galaxy + random.normal(0.0, noise, shape)
    science -= np.median(np.concatenate([science[0], science[-1], science[:, 0], science[:, -1]]))
    difference = exposure.change * point + random.normal(0.0, DIFFERENCE_NOISE * noise, shape)
    valid = np.ones(shape, np.bool_)
    if random.random() < 0.05:  # a chip edge
        valid[:, : int(random.integers(1, 10))] = False
    planes = [
        Plane(np.where(valid, pixels, 0.0).astype(np.float32), valid, scale)
        for pixels, scale in ((science, noise), (difference, DIFFERENCE_NOISE * noise))
    ]
    return planes[0], planes[1] if survey.has_difference else Plane.masked()
