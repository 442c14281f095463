"""What a light curve says, in numbers: the features of ``model.boosted_trees``. Letters as in ``model.batch``.

Per band and of all frames together: what ``model.light_curve.band_aggregates`` gives, then how the values go from a
frame to the next one of the band (von Neumann's ratio, steepest rise and decline, slope), their skewness, how many
frames are detections, and the concentration of the source. Then colours, band against the next one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from model.light_curve import AGGREGATES_A_BAND, VALUES, FrameTable
from model.preprocess import ASINH_SCALE, SCALARS_PER_PLANE
from schemas.bands import NUM_BAND_IDS
from schemas.sequence import PLANES

_FLUXES: Final = tuple(plane * 2 + 1 for plane in range(len(PLANES)))  # places in VALUES
_SIGNIFICANCES: Final = tuple(plane * 2 for plane in range(len(PLANES)))
_CONCENTRATIONS: Final = tuple(plane * SCALARS_PER_PLANE + SCALARS_PER_PLANE - 3 for plane in range(len(PLANES)))
_DETECTION: Final = ASINH_SCALE * 2.3124  # arcsinh(5): five sigma
_SHORTEST_DAYS: Final = 0.5  # of a rise: frames of one night say nothing of it
_TIME_FEATURES: Final = 5 * len(_FLUXES) + len(_SIGNIFICANCES) + 2 * len(_CONCENTRATIONS)
NUM_COLOURS: Final = 3 * (NUM_BAND_IDS - 2)
NUM_FEATURES: Final = NUM_BAND_IDS * (AGGREGATES_A_BAND + _TIME_FEATURES) + NUM_COLOURS


def light_curve_features(table: FrameTable) -> Tensor:
    """[B, NUM_FEATURES]; zeros for what a band has too few frames to say."""
    values_BNV = table.scalars_BNS[..., list(VALUES)]
    aggregates = torch.unflatten(table.aggregates_BA, 1, (NUM_BAND_IDS, -1))
    fluxes = values_BNV[..., list(_FLUXES)]
    mask = table.in_band_BNI.transpose(1, 2)
    moving = _movement(fluxes, table.days_BN, mask)
    count = mask.sum(dim=2).clamp_min(1).to(fluxes.dtype)[..., None]
    detected = (values_BNV[..., list(_SIGNIFICANCES)] > _DETECTION)[:, None] & mask[..., None]
    shape = table.scalars_BNS[..., list(_CONCENTRATIONS)][:, None]
    typical = shape.masked_fill(~mask[..., None], 0.0).sum(dim=2) / count
    largest = shape.masked_fill(~mask[..., None], -torch.inf).amax(dim=2)
    largest = largest.masked_fill(~mask.any(dim=2)[..., None], 0.0)
    parts = [aggregates, moving, detected.sum(dim=2) / count, typical, largest]
    return torch.cat([torch.cat(parts, dim=-1).flatten(1), _colours(aggregates, mask.any(dim=2))], dim=1)


def _movement(values_BNV: Tensor, days_BN: Tensor, mask_BIN: Tensor) -> Tensor:
    """[B, I, 5 V]: von Neumann's ratio, steepest rise, steepest decline (a day), slope (a day) and skewness."""
    num_frames = values_BNV.shape[1]
    place = torch.arange(num_frames, device=days_BN.device).expand(mask_BIN.shape)
    newest = torch.where(mask_BIN, place, -1).cummax(dim=2).values
    before = torch.cat([torch.full_like(newest[..., :1], -1), newest[..., :-1]], dim=2)  # the band's frame before
    paired = mask_BIN & (before >= 0)
    values = values_BNV[:, None].expand(-1, mask_BIN.shape[1], -1, -1)
    index = before.clamp_min(0)
    step = values - values.gather(2, index[..., None].expand(-1, -1, -1, values.shape[-1]))
    days = days_BN[:, None].expand(mask_BIN.shape)
    wait = (days.gather(2, index) - days).clamp_min(_SHORTEST_DAYS)[..., None]  # days are counted back
    step = step.masked_fill(~paired[..., None], 0.0)
    rate = step / wait
    seen = mask_BIN[..., None]
    weight = 1.0 / mask_BIN.sum(dim=2).clamp_min(1).to(values.dtype)[..., None]
    mean = values.masked_fill(~seen, 0.0).sum(dim=2) * weight
    offset = (values - mean[:, :, None]).masked_fill(~seen, 0.0)
    variance = offset.square().sum(dim=2) * weight + 1e-6
    pairs = 1.0 / paired.sum(dim=2).clamp_min(1).to(values.dtype)[..., None]
    ratio = step.square().sum(dim=2) * pairs / variance
    # products, not powers: a power's last bit may depend on the place in the batch
    skewness = (offset * offset.square()).sum(dim=2) * weight / (variance * variance.sqrt())
    middle = (days.masked_fill(~mask_BIN, 0.0).sum(dim=2, keepdim=True)) * weight
    time = (days - middle).masked_fill(~mask_BIN, 0.0)[..., None]
    slope = -(time * offset).sum(dim=2) / (time.square().sum(dim=2) + 1.0)
    return torch.cat([ratio, rate.amax(dim=2), rate.amin(dim=2), slope, skewness], dim=-1)


def _colours(aggregates_BIA: Tensor, seen_BI: Tensor) -> Tensor:
    """Of each band and the next: differences of the mean fluxes of both planes and of the difference plane's
    largest, as arcsinh (magnitudes where bright); 0 unless both bands have frames."""
    count = len(VALUES)
    science, difference = _FLUXES[0], _FLUXES[1]
    chosen = aggregates_BIA[:, 1:, [science, difference, 2 * count + difference]]
    both = seen_BI[:, 1:-1] & seen_BI[:, 2:]
    return (chosen[:, :-1] - chosen[:, 1:]).masked_fill(~both[..., None], 0.0).flatten(1)
