"""The one preprocessing of every network: pixels to arcsinh planes, frames to scalars. Pure tensor functions.

Dimension letters as in ``model.batch``; ``*`` stands for any leading dimensions. A masked pixel counts for nothing:
it is 0 in a plane and outside every sum. A fully masked plane gives zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.batch import TokenInputs
from schemas.bands import BAND_IDS
from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES, StampSequence

APERTURE_SIGMAS_PX: Final = (1.5, 3.0, 6.0)
FLUX_SCALE_NJY: Final = 1000.0  # AB magnitude 23.9: about where a single exposure stops seeing
LOG_NOISE_SCALE: Final = 1.0 / 3.0  # pixel noise is 10 to 1e5 nJy over the surveys
ASINH_SCALE: Final = 0.25  # arcsinh of significance reaches 10: scalars of order one train better
# per plane: significance and arcsinh flux in each aperture, concentration, log noise, share of valid pixels
SCALARS_PER_PLANE: Final = 2 * len(APERTURE_SIGMAS_PX) + 3
# log PSF width, whether it is known, hours since the token's first frame
SCALARS_PER_FRAME: Final = 3
NUM_SCALARS: Final = len(PLANES) * SCALARS_PER_PLANE + SCALARS_PER_FRAME


def frames_of_bands(sequence: StampSequence, bands: Sequence[str]) -> list[int]:
    """Indices, in time order, of the frames whose band is one of ``bands``."""
    return np.flatnonzero(np.isin(sequence.band_L, [BAND_IDS[band] for band in bands])).tolist()


def plane_indices(planes: Sequence[str]) -> list[int]:
    """Places of ``planes`` in a frame; ValueError for none or an unknown one."""
    unknown = [plane for plane in planes if plane not in PLANES]
    if unknown or not planes:
        raise ValueError(f"planes must be some of {', '.join(PLANES)}, not {', '.join(unknown) or 'none'}")
    return [PLANES.index(plane) for plane in planes]


def arcsinh_planes(flux_PHW: Tensor, valid_PHW: Tensor, noise_P: Tensor) -> Tensor:
    """arcsinh(flux / noise) of planes [*, P, H, W] with noise [*, P]; 0 where masked or where the noise is 0."""
    inverse_P = torch.where(noise_P > 0, 1.0 / noise_P.clamp_min(1e-30), 0.0)
    return torch.asinh(flux_PHW * inverse_P[..., None, None]).masked_fill(~valid_PHW, 0.0)


@lru_cache(maxsize=8)
def _apertures(device: torch.device) -> Tensor:
    """Gaussian profiles of unit sum about the stamp's centre, [A, H W]."""
    offset = torch.arange(STAMP_SIZE, dtype=torch.float64) - (STAMP_SIZE - 1) / 2
    radius2 = (offset[:, None] ** 2 + offset[None, :] ** 2).flatten()
    sigmas = torch.tensor(APERTURE_SIGMAS_PX, dtype=torch.float64)
    profile = torch.exp(-0.5 * radius2 / sigmas[:, None] ** 2)
    return (profile / profile.sum(dim=1, keepdim=True)).to(torch.float32).to(device)


def aperture_fluxes(flux_PHW: Tensor, valid_PHW: Tensor, noise_P: Tensor) -> tuple[Tensor, Tensor]:
    """Flux (nJy) and its significance in each Gaussian aperture, both [*, P, A].

    The least-squares amplitude of the profile over the valid pixels: sum(w f) / sum(w^2), with standard deviation
    noise / sqrt(sum(w^2)); 0 where a plane has no valid pixel or no noise.
    """
    weight_AX = _apertures(flux_PHW.device)
    valid_PX = valid_PHW.flatten(-2)
    total_PA = flux_PHW.flatten(-2).masked_fill(~valid_PX, 0.0) @ weight_AX.T
    power_PA = valid_PX.to(flux_PHW.dtype) @ weight_AX.square().T
    known_PA = (power_PA > 1e-8) & (noise_P > 0)[..., None]
    power_PA = power_PA.clamp_min(1e-8)
    flux_PA = torch.where(known_PA, total_PA / power_PA, 0.0)
    noise_PA = noise_P[..., None].clamp_min(1e-30)
    significance_PA = torch.where(known_PA, total_PA / (noise_PA * power_PA.sqrt()), 0.0)
    return flux_PA, significance_PA


def frame_scalars(inputs: TokenInputs) -> Tensor:
    """What one number says of a frame, [G, F, NUM_SCALARS]; zeros in an empty slot.

    Plane by plane: arcsinh of the aperture significances, arcsinh of the aperture fluxes in units of 1 uJy, their
    difference from the narrowest to the widest (concentration), log10 of the pixel noise, share of valid pixels. Then
    log of the PSF width (0 unknown), whether it is known, and hours since the token's first frame.
    """
    flux_GFPA, significance_GFPA = aperture_fluxes(inputs.flux_GFPHW, inputs.valid_GFPHW, inputs.noise_GFP)
    size_GFPA = ASINH_SCALE * torch.asinh(flux_GFPA / FLUX_SCALE_NJY)
    concentration_GFP = size_GFPA[..., 0] - size_GFPA[..., -1]
    noise_GFP = inputs.noise_GFP
    log_noise_GFP = torch.where(noise_GFP > 0, noise_GFP.clamp_min(1e-30).log10() * LOG_NOISE_SCALE, 0.0)
    share_GFP = inputs.valid_GFPHW.to(noise_GFP.dtype).mean(dim=(-2, -1))
    per_plane = [ASINH_SCALE * torch.asinh(significance_GFPA), size_GFPA]
    per_plane += [value[..., None] for value in (concentration_GFP, log_noise_GFP, share_GFP)]
    planes_GFS = torch.cat(per_plane, dim=-1).flatten(2)
    known_GF = inputs.psf_GF > 0
    log_psf_GF = torch.where(known_GF, inputs.psf_GF.clamp_min(1e-3).log(), 0.0)
    frame_GFS = torch.stack([log_psf_GF, known_GF.to(noise_GFP.dtype), 24.0 * inputs.days_GF], dim=-1)
    scalars_GFS = torch.cat([planes_GFS, frame_GFS], dim=-1)
    return scalars_GFS.masked_fill(~inputs.frame_valid_GF[..., None], 0.0)
