"""The frames' scalars read as a light curve: a second stream beside the images. Letters as in ``model.batch``.

Two readings of the same scalars: a small network on every frame, pooled by mean and maximum; and per band what a
light-curve classifier is usually given (number, mean, scatter, extremes, last value, time of the maximum, span).
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.preprocess import APERTURE_SIGMAS_PX, HOURS_PER_DAY, NUM_SCALARS, SCALARS_PER_PLANE
from schemas.bands import NUM_BAND_IDS, PADDING_BAND_ID
from schemas.sequence import PLANES

_WIDTH: Final = 64
_NUM_APERTURES: Final = len(APERTURE_SIGMAS_PX)
# narrowest aperture of each plane: its significance and its flux
VALUES: Final = tuple(
    plane * SCALARS_PER_PLANE + offset for plane in range(len(PLANES)) for offset in (0, _NUM_APERTURES)
)
_DIFFERENCE_SIGNIFICANCE: Final = PLANES.index("difference") * 2  # its place in VALUES
_LOG_SCALE: Final = 0.2
AGGREGATES_A_BAND: Final = 5 * len(VALUES) + 3
NUM_AGGREGATES: Final = NUM_BAND_IDS * AGGREGATES_A_BAND  # the bands, and all of them together in row 0


class FrameTable(NamedTuple):
    """All slots of B sequences, one after the other: scalars_BNS; band_BNI one-hot of the band ids; days_BN before
    the newest frame; seen_BN False for empty slots and padding; in_band_BNI the seen frames of each band id, of all
    bands together in column 0; aggregates_BA of ``band_aggregates``."""

    scalars_BNS: Tensor
    band_BNI: Tensor
    days_BN: Tensor
    seen_BN: Tensor
    in_band_BNI: Tensor
    aggregates_BA: Tensor


def frame_table(slots_BTFS: Tensor, mask_BT: Tensor, days_BT: Tensor) -> FrameTable:
    """The table of tokens' slots [B, T, F, scalars and band id]; mask_BT and days_BT as in ``SequenceBatch``."""
    slots_BNS = slots_BTFS.flatten(1, 2)
    band_BN = slots_BNS[..., NUM_SCALARS].round().long().clamp(0, NUM_BAND_IDS - 1)
    seen_BN = mask_BT[..., None].expand(slots_BTFS.shape[:3]).flatten(1, 2) & (band_BN != PADDING_BAND_ID)
    hours_BTF = slots_BTFS[..., NUM_SCALARS - 1]
    days_BN = (days_BT[..., None] - hours_BTF / HOURS_PER_DAY).clamp_min(0.0).flatten(1, 2)
    band_BNI = functional.one_hot(band_BN, NUM_BAND_IDS)
    in_band = band_BNI.bool()
    in_band = torch.cat([torch.ones_like(in_band[..., :1]), in_band[..., 1:]], dim=-1) & seen_BN[..., None]
    aggregates = band_aggregates(slots_BNS[..., list(VALUES)], days_BN, in_band)
    return FrameTable(slots_BNS[..., :NUM_SCALARS], band_BNI, days_BN, seen_BN, in_band, aggregates)


def masked_mean_max(values: Tensor, mask: Tensor, *, dim: int) -> Tensor:
    """Mean and maximum over the places where ``mask`` (broadcastable) is True, joined in the last dimension.

    Zeros where no place is.
    """
    count = mask.sum(dim=dim).clamp_min(1)
    mean = values.masked_fill(~mask, 0.0).sum(dim=dim) / count
    largest = values.masked_fill(~mask, -torch.inf).amax(dim=dim)
    return torch.cat([mean, largest.masked_fill(~mask.any(dim=dim), 0.0)], dim=-1)


class LightCurveStream(nn.Module):
    """A table of frames to features [B, num_features]; padding changes nothing."""

    num_features = 3 * _WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.frame1 = nn.Linear(NUM_SCALARS + NUM_BAND_IDS + 2, _WIDTH)
        self.frame2 = nn.Linear(_WIDTH, _WIDTH)
        self.bands1 = nn.Linear(NUM_AGGREGATES, _WIDTH)
        self.bands2 = nn.Linear(_WIDTH, _WIDTH)

    def forward(self, table: FrameTable) -> Tensor:
        """Features of B sequences."""
        time = torch.stack([_LOG_SCALE * table.days_BN.log1p(), torch.exp(-table.days_BN / 16.0)], dim=-1)
        facts = torch.cat([table.scalars_BNS, table.band_BNI.to(time.dtype), time], dim=-1)
        frames = masked_mean_max(self.frame2(self.frame1(facts).relu()).relu(), table.seen_BN[..., None], dim=1)
        bands = self.bands2(self.bands1(table.aggregates_BA).relu()).relu()
        return torch.cat([frames, bands], dim=-1)


def band_aggregates(values_BNV: Tensor, days_BN: Tensor, in_band_BNI: Tensor) -> Tensor:
    """[B, NUM_AGGREGATES], for each column of ``in_band_BNI``: mean, scatter, largest, smallest and newest of each
    value; logarithms of the number of frames, of the days before the newest frame at the difference's maximum and of
    the span. Zeros for a band without frames.
    """
    mask = in_band_BNI.transpose(1, 2)  # [B, I, N]
    seen = mask[..., None]
    values = values_BNV[:, None]
    count = mask.sum(dim=2)
    weight = 1.0 / count.clamp_min(1).to(values.dtype)[..., None]
    mean = values.masked_fill(~seen, 0.0).sum(dim=2) * weight
    spread = (values - mean[:, :, None]).masked_fill(~seen, 0.0)
    scatter = (spread.square().sum(dim=2) * weight + 1e-8).sqrt()
    largest, smallest = (
        values.masked_fill(~seen, -torch.inf).amax(dim=2),
        values.masked_fill(~seen, torch.inf).amin(dim=2),
    )
    days = days_BN[:, None]
    newest = days.masked_fill(~mask, torch.inf).argmin(dim=2)
    last = _pick(values, newest)
    peak = values[..., _DIFFERENCE_SIGNIFICANCE].masked_fill(~mask, -torch.inf).argmax(dim=2)
    peak_days = _pick(days[..., None].expand(-1, mask.shape[1], -1, -1), peak)
    oldest = days.masked_fill(~mask, -torch.inf).amax(dim=2)
    span = oldest - days.masked_fill(~mask, torch.inf).amin(dim=2)
    times = torch.stack([count.to(values.dtype), peak_days[..., 0], span], dim=-1)
    times = times.masked_fill((count == 0)[..., None], 0.0).log1p() * _LOG_SCALE
    features = torch.cat([mean, scatter, largest, smallest, last], dim=-1).masked_fill((count == 0)[..., None], 0.0)
    return torch.cat([features, times], dim=-1).flatten(1)


def _pick(values: Tensor, index_BI: Tensor) -> Tensor:
    """values [B, I or 1, N, V] at one place of N each: [B, I, V]."""
    num_bands = index_BI.shape[1]
    expanded = values.expand(-1, num_bands, -1, -1)
    return expanded.gather(2, index_BI[..., None, None].expand(-1, -1, 1, values.shape[-1])).squeeze(2)
