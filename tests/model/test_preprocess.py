"""Preprocessing: apertures against plain numpy, masked planes, scalars."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model.preprocess import (
    APERTURE_SIGMAS_PX,
    NUM_SCALARS,
    FrameFacts,
    aperture_significance,
    arcsinh,
    arcsinh_planes,
    frame_scalars,
    plane_indices,
    significance,
)


def test_apertures_recover_a_point_source() -> None:
    """The amplitude of a Gaussian of the aperture's width is its flux, with and without masked pixels."""
    rows, columns = np.mgrid[:32, :32] - 15.5
    for index, sigma in enumerate(APERTURE_SIGMAS_PX[:2]):
        profile = np.exp(-0.5 * (rows**2 + columns**2) / sigma**2)
        planes = torch.from_numpy((700.0 * profile / profile.sum()).astype(np.float32))[None]
        for share in (1.0, 0.6):
            valid = (torch.rand(planes.shape, generator=torch.Generator().manual_seed(1)) < share).float()
            flux_PA, _, share_P = aperture_significance(planes * valid, valid)
            assert float(flux_PA[0, index]) == pytest.approx(700.0, rel=1e-4)
            assert float(share_P[0]) == pytest.approx(float(valid.mean()), abs=1e-6)


def test_significance_has_unit_scatter_on_noise() -> None:
    """On pure noise each aperture's significance is standard normal."""
    random = torch.Generator().manual_seed(2)
    planes = torch.randn((4000, 1, 32, 32), generator=random)
    _, significance_NPA, _ = aperture_significance(planes, torch.ones_like(planes))
    assert (significance_NPA.std(dim=0) - 1.0).abs().max() < 0.05


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(1e-3, 1e8), seed=st.integers(0, 1000))
def test_planes_see_only_flux_over_noise(scale: float, seed: int) -> None:
    """Flux and noise in other units give the same plane; masked pixels and planes without noise are 0."""
    random = torch.Generator().manual_seed(seed)
    flux = torch.randn((2, 32, 32), generator=random) * 100.0
    valid = torch.rand(flux.shape, generator=random) > 0.2
    noise = torch.tensor([5.0, 0.0])
    planes = arcsinh_planes(flux, valid, noise)
    torch.testing.assert_close(planes, arcsinh_planes(flux * scale, valid, noise * scale), atol=1e-4, rtol=1e-4)
    assert not planes[~valid].any()
    assert not planes[1].any()
    torch.testing.assert_close(planes[0][valid[0]], torch.asinh(flux[0][valid[0]] / 5.0))


@given(value=st.floats(-1e7, 1e7, width=32))
def test_arcsinh_is_the_inverse_hyperbolic_sine(value: float) -> None:
    """numpy's float64 answer to 1e-6."""
    assert float(arcsinh(torch.tensor(value))) == pytest.approx(float(np.arcsinh(value)), abs=1e-6, rel=1e-6)


def test_scalars_of_empty_and_masked_frames_are_finite() -> None:
    """An empty slot gives zeros, a fully masked frame finite numbers, SN-bright pixels numbers of order one."""
    flux = torch.zeros(3, 2, 32, 32)
    flux[2] = 4e6
    valid = torch.zeros_like(flux)
    valid[2] = 1.0
    noise = torch.tensor([[0.0, 0.0], [0.0, 0.0], [50.0, 50.0]])
    facts = FrameFacts(torch.tensor([0, 1, 2]), torch.tensor([0.0, 0.0, 0.1]), torch.tensor([0.0, 0.0, 1.2]))
    scalars = frame_scalars(significance(flux, valid, noise), valid, noise, facts)
    assert scalars.shape == (3, NUM_SCALARS)
    assert not scalars[0].any()
    assert scalars.isfinite().all()
    assert scalars.abs().max() < 8.0


def test_unknown_planes_are_refused() -> None:
    """The error names the planes there are."""
    with pytest.raises(ValueError, match="science, difference, not template"):
        plane_indices(["template"])
    with pytest.raises(ValueError, match="not none"):
        plane_indices([])
