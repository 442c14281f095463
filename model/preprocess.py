"""The one preprocessing of every network: pixels to arcsinh planes, frames to scalars. Pure tensor functions.

Dimension letters as in ``model.batch``; ``*`` stands for any leading dimensions. A masked pixel counts for nothing:
it is 0 in a plane and outside every sum. A fully masked plane gives zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import torch
from torch import Tensor

from schemas.bands import BAND_IDS, PADDING_BAND_ID
from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES, StampSequence

APERTURE_SIGMAS_PX: Final = (1.5, 3.0, 6.0)
FLUX_SCALE_NJY: Final = 1000.0  # AB magnitude 23.9: about where a single exposure stops seeing
LOG_NOISE_SCALE: Final = 1.0 / 3.0  # pixel noise is 10 to 1e5 nJy over the surveys
HOURS_PER_DAY: Final = 24.0
SMALLEST: Final = 1e-30  # keeps a division finite whose result is not used
ASINH_SCALE: Final = 0.25  # arcsinh of significance reaches 10: scalars of order one train better
# per plane: significance and arcsinh flux in each aperture, concentration, log noise, share of valid pixels
SCALARS_PER_PLANE: Final = 2 * len(APERTURE_SIGMAS_PX) + 3
# log PSF width, whether it is known, hours since the token's first frame
SCALARS_PER_FRAME: Final = 3
NUM_SCALARS: Final = len(PLANES) * SCALARS_PER_PLANE + SCALARS_PER_FRAME


class FrameFacts(NamedTuple):
    """Of N frames: band_N int64 ids 0..6; days_N float32 days since the token's first frame; psf_N float32 arcsec, 0
    unknown."""

    band_N: Tensor
    days_N: Tensor
    psf_N: Tensor


def frames_of_bands(sequence: StampSequence, bands: Sequence[str]) -> list[int]:
    """Indices, in time order, of the frames whose band is one of ``bands``."""
    wanted = {BAND_IDS[band] for band in bands}
    return [frame for frame, band_id in enumerate(sequence.band_L.tolist()) if band_id in wanted]


def plane_indices(planes: Sequence[str]) -> list[int]:
    """Places of ``planes`` in a frame; ValueError for none or an unknown one."""
    unknown = [plane for plane in planes if plane not in PLANES]
    if unknown or not planes:
        raise ValueError(f"planes must be some of {', '.join(PLANES)}, not {', '.join(unknown) or 'none'}")
    return [PLANES.index(plane) for plane in planes]


def arcsinh(values: Tensor) -> Tensor:
    """Inverse hyperbolic sine to 1e-6, from the logarithm: on the CPU a tenth of torch.asinh's time."""
    return torch.copysign(((values * values + 1.0).sqrt() + values.abs()).log(), values)


def significance(flux_PHW: Tensor, valid_PHW: Tensor, noise_P: Tensor) -> Tensor:
    """flux / noise of planes [*, P, H, W] with noise [*, P]; 0 where ``valid_PHW`` (float, 0 or 1) is 0 or the noise
    is 0."""
    inverse_P = torch.where(noise_P > 0, 1.0 / noise_P.clamp_min(SMALLEST), 0.0)
    return flux_PHW * (valid_PHW * inverse_P[..., None, None])


def arcsinh_planes(flux_PHW: Tensor, valid_PHW: Tensor, noise_P: Tensor) -> Tensor:
    """arcsinh(flux / noise) of planes [*, P, H, W], valid_PHW bool; 0 where masked or where the noise is 0."""
    return arcsinh(significance(flux_PHW, valid_PHW.to(flux_PHW.dtype), noise_P))


@lru_cache(maxsize=8)
def _apertures(device: torch.device) -> tuple[Tensor, Tensor]:
    """Gaussian profiles of unit sum about the stamp's centre [H W, A], and what is summed over valid pixels
    [H W, A + 1]: their squares, and a pixel's share of the stamp."""
    offset = torch.arange(STAMP_SIZE, dtype=torch.float64) - (STAMP_SIZE - 1) / 2
    radius2 = (offset[:, None] ** 2 + offset[None, :] ** 2).flatten()
    sigmas = torch.tensor(APERTURE_SIGMAS_PX, dtype=torch.float64)
    profile = torch.exp(-0.5 * radius2[:, None] / sigmas**2)
    profile = profile / profile.sum(dim=0)
    share = torch.full((len(radius2), 1), 1.0 / len(radius2), dtype=torch.float64)
    weights = (profile, torch.cat([profile.square(), share], dim=1))
    first, second = (weight.to(torch.float32).to(device) for weight in weights)
    return first, second


def aperture_significance(significance_PHW: Tensor, valid_PHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """In each Gaussian aperture the flux in units of the pixel noise and its significance, [*, P, A]; and the share
    of valid pixels [*, P]. significance_PHW as ``significance`` gives it, valid_PHW float.

    The flux is the least-squares amplitude of the profile over the valid pixels, sum(w f) / sum(w^2), its standard
    deviation 1 / sqrt(sum(w^2)); 0 where a plane has no valid pixel.
    """
    profile_XA, sums_XA = _apertures(significance_PHW.device)
    total_PA = significance_PHW.flatten(-2) @ profile_XA
    sums_PA = valid_PHW.flatten(-2) @ sums_XA
    power_PA, share_P = sums_PA[..., :-1], sums_PA[..., -1]
    known_PA = power_PA > 1e-8
    power_PA = power_PA.clamp_min(1e-8)
    flux_PA = torch.where(known_PA, total_PA / power_PA, 0.0)
    return flux_PA, torch.where(known_PA, total_PA * power_PA.rsqrt(), 0.0), share_P


def frame_scalars(significance_NPHW: Tensor, valid_NPHW: Tensor, noise_NP: Tensor, facts: FrameFacts) -> Tensor:
    """What one number says of a frame, [N, NUM_SCALARS]; zeros for an empty slot.

    Plane by plane: arcsinh of the aperture significances, arcsinh of the aperture fluxes in units of 1 uJy, their
    difference from the narrowest to the widest (concentration), log10 of the pixel noise, share of valid pixels. Then
    log of the PSF width (0 unknown), whether it is known, and hours since the token's first frame. Planes as for
    ``aperture_significance``.
    """
    flux_NPA, significance_NPA, share_NP = aperture_significance(significance_NPHW, valid_NPHW)
    size_NPA = arcsinh(flux_NPA * (noise_NP[..., None] / FLUX_SCALE_NJY))
    sizes_NPA = ASINH_SCALE * torch.cat([arcsinh(significance_NPA), size_NPA], dim=-1)
    concentration_NP = ASINH_SCALE * (size_NPA[..., 0] - size_NPA[..., -1])
    log_noise_NP = torch.where(noise_NP > 0, noise_NP.clamp_min(SMALLEST).log10() * LOG_NOISE_SCALE, 0.0)
    rest_NP = torch.stack([concentration_NP, log_noise_NP, share_NP], dim=-1)
    planes_NS = torch.cat([sizes_NPA, rest_NP], dim=-1).flatten(1)
    known_N = facts.psf_N > 0
    log_psf_N = torch.where(known_N, facts.psf_N.clamp_min(1e-3).log(), 0.0)
    frame_NS = torch.stack([log_psf_N, known_N.to(planes_NS.dtype), HOURS_PER_DAY * facts.days_N], dim=-1)
    return torch.cat([planes_NS, frame_NS], dim=-1) * (facts.band_N != PADDING_BAND_ID)[:, None]
