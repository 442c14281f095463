"""The simulator's renderer against direct integration of the profiles over pixels."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import fftconvolve

from train.simulator import novel
from train.simulator.frames import Scene, mask_edge, psf_photometry, rotated
from train.simulator.psf import MOFFAT_BETA, moffat, sersic
from train.simulator.render import Gaussians, galaxy, image, point, psf_gaussians
from train.simulator.schedule import draw_schedule
from train.simulator.source import Source
from train.simulator.survey_description import SDSS

SIDE = 32
OVERSAMPLED = 9
PADDED = 2 * SIDE


def integrated(index: float, radius: float, ratio: float, angle: float, center: tuple[float, float], fwhm: float):
    """A Sersic profile convolved with a Moffat PSF on fine pixels, summed into pixels."""
    fine = PADDED * OVERSAMPLED
    axis = (np.arange(fine) + 0.5) / OVERSAMPLED - 0.5 - SIDE / 2
    x, y = np.meshgrid(axis, axis)
    along = (x - center[0]) * np.cos(angle) + (y - center[1]) * np.sin(angle)
    across = -(x - center[0]) * np.sin(angle) + (y - center[1]) * np.cos(angle)
    distance = np.sqrt(along**2 * ratio + across**2 / ratio) / radius
    profile = sersic(np.maximum(distance, 1e-4), index) / radius**2 / OVERSAMPLED**2
    offset = (np.arange(fine) - fine // 2) / OVERSAMPLED
    psf = moffat(np.hypot(*np.meshgrid(offset, offset)), fwhm, MOFFAT_BETA) / OVERSAMPLED**2
    half = fine // 2
    convolved = fftconvolve(profile, psf)[half : half + fine, half : half + fine]
    pixels = convolved.reshape(PADDED, OVERSAMPLED, PADDED, OVERSAMPLED).sum(axis=(1, 3))
    first = SIDE // 2
    return pixels[first : first + SIDE, first : first + SIDE]


@pytest.mark.parametrize(
    ("index", "radius", "fwhm"), [(1.0, 4.0, 3.6), (4.0, 4.0, 3.6), (2.5, 1.5, 2.2), (4.0, 1.0, 3.0)]
)
def test_galaxies_equal_direct_integration(index: float, radius: float, fwhm: float) -> None:
    """A galaxy differs from its directly integrated image by less than 2% of the peak anywhere, 0.1% at the
    border."""
    center = (16.3, 15.8)
    truth = integrated(index, radius, 0.6, 0.7, center, fwhm)
    shown = image(galaxy(index, radius, 0.6, 0.7, center).convolved(psf_gaussians(fwhm)), SIDE, SIDE)
    error = np.abs(shown - truth) / truth.max()
    assert error.max() < 0.02
    assert error[[0, -1]].max() < 0.001
    assert shown.sum() == pytest.approx(truth.sum(), rel=0.02)


@pytest.mark.parametrize("fwhm", [1.8, 2.2, 3.6, 5.0])
def test_points_equal_direct_integration(fwhm: float) -> None:
    """A point source differs from the directly integrated Moffat profile by less than 1% of its peak."""
    axis = (np.arange(SIDE * 11) + 0.5) / 11 - 0.5
    x, y = np.meshgrid(axis, axis)
    truth = moffat(np.hypot(x - 16.3, y - 15.8), fwhm, MOFFAT_BETA).reshape(SIDE, 11, SIDE, 11).mean(axis=(1, 3))
    shown = image(point((16.3, 15.8)).convolved(psf_gaussians(fwhm)), SIDE, SIDE)
    assert np.abs(shown - truth).max() < 0.01 * truth.max()


def test_photometry_gives_back_the_flux() -> None:
    """PSF photometry of a noise-free point gives its flux; its error is the pixels' noise over the profile's norm."""
    spot = image(point((15.6, 16.2)).convolved(psf_gaussians(3.0)), SIDE, SIDE)
    flux, error = psf_photometry(np.float32(123.0) * spot, np.full((SIDE, SIDE), 4.0, np.float32), spot)
    assert flux == pytest.approx(123.0, rel=1e-4)
    assert error == pytest.approx(2.0 / np.sqrt(np.vdot(spot, spot)), rel=1e-4)


def test_rotation_turns_places_and_shapes() -> None:
    """A quarter turn of the detector puts what lay in the west onto the negative row axis, and stands ellipses up."""
    west = Gaussians(np.ones(1), np.array([[4.0, 0.0, 1.0]]), np.array([[3.0, 0.0]]))
    turned = rotated(west, np.pi / 2)
    assert turned.center[0] == pytest.approx([0.0, -3.0])
    assert turned.covariance[0] == pytest.approx([1.0, 0.0, 4.0])


@pytest.mark.parametrize(
    ("edge", "num_masked"), [((3, 0), 96), ((-2, 0), 64), ((0, 4), 128), ((0, -1), 32), ((0, 0), 0)]
)
def test_edges_mask_whole_columns_and_rows(edge: tuple[int, int], num_masked: int) -> None:
    """A chip's edge masks that many columns or rows on its side."""
    pixels = np.zeros((SIDE, SIDE), np.float32)
    mask_edge(pixels, np.array(edge))
    assert np.isnan(pixels).sum() == num_masked


def test_a_bad_subtraction_is_in_the_difference_image_alone() -> None:
    """A change that is no light leaves the science image as the template shows it; a real one is in both."""
    random = np.random.default_rng(2)
    schedule = draw_schedule(SDSS, random)
    curve = novel.OneNight(float(schedule.days[0]), np.full(5, 1e7))
    seen = {}
    for in_science in (True, False):
        source = Source("Variable", "residual", curve, np.zeros(5), None, in_science=in_science)
        seen[in_science] = next(Scene(SDSS, schedule, source).frames(np.random.default_rng(3)))
    for frame in seen.values():
        assert frame.flux_njy == pytest.approx(1e7, rel=0.01)
    assert np.nansum(seen[True].science) == pytest.approx(1e7, rel=0.05)
    assert abs(np.nansum(seen[False].science)) < 1e6
