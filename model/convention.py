"""ConvEntion, corrected: the same idea with masks, times, a real attention and a tenth of the work.

A token is the frames of one site night, split at three. Letters as in ``model.batch``; Q quarters of a map.

Per frame: arcsinh planes and their masks, three 2D convolutions, scaled and shifted by what the frame's scalars and
its band say. Per token: one convolution over space and slots, one over space, normalised over the token: 96 maps of
2 x 2. That much is cached. The head adds the token's time (days before the newest frame), two blocks of attention
over tokens and the poolings; a second stream reads the frames' scalars as a light curve. Boosted trees on features of
the same scalars, fitted when the network is trained, may add to its logits.

Attention is a scaled dot product at each quarter of the frame (a pixel of the 2 x 2 map), with a bias from the time
gap. Padding is masked everywhere, so it changes nothing. Each correction has a switch in
``ConventionConfig``, for the ablation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.batch import SequenceBatch, TokenGroup, TokenInputs, make_groups
from model.boosted_trees import BoostedTrees
from model.convention_config import MAX_FRAMES_PER_TOKEN, ConventionConfig
from model.convention_head import AttentionBlock, TimeGaps, time_features
from model.layers import TimeConv, fold_batch_norm
from model.light_curve import FrameTable, LightCurveStream, frame_table, masked_mean_max
from model.light_curve_features import NUM_FEATURES, light_curve_features
from model.network import Network, NetworkOutput
from model.preprocess import NUM_SCALARS, FrameFacts, arcsinh, frame_scalars, frames_of_bands, significance
from schemas.bands import NUM_BAND_IDS, PADDING_BAND_ID
from schemas.sequence import PLANES, StampSequence

NUM_PIXELS = 4
POOLED_CHANNELS = 64
_SLOT_SIZE = NUM_SCALARS + 1  # the scalars and the band id, 0 in an empty slot


class FrameStem(nn.Module):
    """Frames [N, C, 32, 32] with their scalars [N, S] and band ids [N] to maps [N, C, 8, 8]; zeros for padding."""

    def __init__(self, config: ConventionConfig) -> None:
        super().__init__()
        first, second, third = config.stem_channels
        num_planes = len(config.planes) * (2 if config.masks else 1)
        self.use_scalars = config.scalars
        self.conv1 = nn.Conv2d(num_planes, first, 5, stride=2, padding=2)
        self.norm1: nn.Module = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, second, 3, stride=2, padding=1)
        self.norm2: nn.Module = nn.BatchNorm2d(second)
        self.conv3 = nn.Conv2d(second, third, 3, padding=1)
        self.norm3: nn.Module = nn.BatchNorm2d(third)
        self.scalars1 = nn.Linear(NUM_BAND_IDS + (NUM_SCALARS if config.scalars else 0), 64)
        self.scalars2 = nn.Linear(64, 2 * third)

    def forward(self, planes_NCHW: Tensor, scalars_NS: Tensor, band_N: Tensor) -> Tensor:
        """One frame is one row: no row depends on another in eval mode."""
        maps = planes_NCHW.contiguous(memory_format=torch.channels_last)
        maps = self.norm1(self.conv1(maps)).relu_()
        maps = self.norm2(self.conv2(maps)).relu_()
        maps = self.norm3(self.conv3(maps))
        facts = functional.one_hot(band_N, NUM_BAND_IDS).to(maps.dtype)
        if self.use_scalars:
            facts = torch.cat([facts, scalars_NS], dim=1)
        condition = self.scalars2(self.scalars1(facts).relu())
        condition = condition.masked_fill((band_N == PADDING_BAND_ID)[:, None], 0.0)
        scale, shift = condition[:, :, None, None].chunk(2, dim=1)
        present = (band_N != PADDING_BAND_ID).to(maps.dtype)[:, None, None, None]
        return torch.addcmul(shift, maps, scale + present).relu_()


class TokenFusion(nn.Module):
    """Maps of all slots [F G, C, 8, 8] to [G, X, C], normalised over each token; X the pixels of a 2 x 2 map."""

    def __init__(self, config: ConventionConfig) -> None:
        super().__init__()
        self.fuse = TimeConv(config.stem_channels[-1], config.fused_channels, size=3, taps=MAX_FRAMES_PER_TOKEN)
        self.norm: nn.Module = nn.BatchNorm2d(config.fused_channels)
        self.mix = nn.Conv2d(config.fused_channels, config.token_channels, 3, stride=2, padding=1)
        self.token_norm = nn.GroupNorm(1, config.token_channels)

    def forward(self, maps_NCHW: Tensor, num_tokens: int) -> Tensor:
        """Rows slot by slot (f G + g), so that each slot is one run; a slot left out is a slot of zeros."""
        fused: Tensor | None = None
        for slot, rows in enumerate(maps_NCHW.split(num_tokens)):  # type: ignore[no-untyped-call]
            bias = self.fuse.bias if slot == 0 else None
            term = functional.conv2d(rows, self.fuse.weight[slot], bias, stride=2, padding=1)
            fused = term if fused is None else fused + term
        maps: Tensor = self.token_norm(self.mix(self.norm(fused).relu_()))
        return maps.flatten(2).transpose(1, 2)


class _Frames:
    """The frames of G tokens as rows, slot by slot (f G + g); packed: without the empty slots.

    planes: significance [N, P, H, W]; valid: float, 0 or 1; facts: of each row; slots_NS: scalars and band id.
    """

    def __init__(self, inputs: TokenInputs, *, packed: bool) -> None:
        fields = (inputs.flux_GFPHW, inputs.valid_GFPHW, inputs.noise_GFP)
        flux, valid, noise = (field.transpose(0, 1).flatten(0, 1) for field in fields)
        facts = FrameFacts(*(field.T.flatten() for field in (inputs.band_GF, inputs.days_GF, inputs.psf_GF)))
        self._rows = inputs.frame_valid_GF.T.flatten().nonzero().squeeze(1) if packed else None
        if self._rows is not None:
            flux, valid, noise = flux[self._rows], valid[self._rows], noise[self._rows]
            facts = FrameFacts(*(field[self._rows] for field in facts))
        self.facts = facts
        self.valid = valid.to(flux.dtype)
        self.planes = significance(flux, self.valid, noise)
        scalars_NS = frame_scalars(self.planes, self.valid, noise, facts)
        self.slots_NS = torch.cat([scalars_NS, facts.band_N[:, None].to(flux.dtype)], dim=1)

    def placed(self, values: Tensor, num_rows: int) -> Tensor:
        """``values`` of the rows at the places of all slots, zeros where a slot is empty."""
        if self._rows is None:
            return values
        return values.new_zeros((num_rows, *values.shape[1:])).index_copy(0, self._rows, values)


def _slots(frames: _Frames, num_tokens: int, num_slots: int) -> Tensor:
    """[G, MAX_FRAMES_PER_TOKEN _SLOT_SIZE]"""
    slots_NS = frames.placed(frames.slots_NS, num_slots * num_tokens)
    slots_GS = slots_NS.view(num_slots, num_tokens, -1).transpose(0, 1).flatten(1)
    return functional.pad(slots_GS, (0, (MAX_FRAMES_PER_TOKEN - num_slots) * _SLOT_SIZE))


def _table(slots_BTS: Tensor, mask_BT: Tensor, days_BT: Tensor) -> FrameTable:
    return frame_table(torch.unflatten(slots_BTS, 2, (MAX_FRAMES_PER_TOKEN, -1)), mask_BT, days_BT)


class Convention(Network):
    """The corrected network; see the module's docstring. Any number of frames and tokens."""

    name = "convention"

    def __init__(self, config: ConventionConfig) -> None:
        super().__init__()
        self.config = config
        channels = config.token_channels
        self.map_values = NUM_PIXELS * channels
        self.token_size = self.map_values + MAX_FRAMES_PER_TOKEN * _SLOT_SIZE
        self.pooled_size = config.pooled_size
        self.stem = FrameStem(config)
        self.fusion = TokenFusion(config)
        self.time = nn.Linear(time_features(torch.zeros(1), config.time).shape[-1], channels) if config.time else None
        self.gaps = TimeGaps(config) if config.time == "days" and config.attention == "pairwise" else None
        self.blocks = nn.ModuleList(AttentionBlock(config) for _ in range(config.num_blocks))
        self.pool = nn.Linear(2 * channels, POOLED_CHANNELS)
        self.light_curve = LightCurveStream() if config.light_curve else None
        num_features = NUM_PIXELS * POOLED_CHANNELS + (self.light_curve.num_features if self.light_curve else 0)
        self.trees = BoostedTrees(config.trees, NUM_FEATURES, config.num_classes) if config.trees else None
        self.hidden = nn.Linear(num_features, config.pooled_size)
        self.output = nn.Linear(config.pooled_size, config.num_classes)
        self.dropout = nn.Dropout(config.dropout)

    def group_frames(self, sequence: StampSequence) -> list[TokenGroup]:
        """The frames of each site night, split at three, each with its slots filled."""
        frames = frames_of_bands(sequence, self.config.bands)
        nights: list[int] = sequence.night_L.tolist()
        groups: list[list[int]] = []
        for frame in frames:
            if groups and len(groups[-1]) < MAX_FRAMES_PER_TOKEN and nights[groups[-1][0]] == nights[frame]:
                groups[-1].append(frame)
            else:
                groups.append([frame])
        return make_groups(sequence, groups, self._references(sequence, frames))

    def _references(self, sequence: StampSequence, frames: list[int]) -> dict[int, tuple[int, ...]] | None:
        """The frames whose mean makes each frame's difference plane: the earlier ones of its band, none where the
        survey's own plane is used; None where it is in every frame."""
        if self.config.difference in ("survey", "none"):
            return None
        own_L = np.any(sequence.valid_LPHW[:, PLANES.index("difference")], axis=(1, 2))
        causal = self.config.difference == "causal"
        if not causal and own_L[frames].all():
            return None
        earlier: dict[int, tuple[int, ...]] = {}
        references: dict[int, tuple[int, ...]] = {}
        bands: list[int] = sequence.band_L.tolist()
        for frame in frames:
            before = earlier.get(bands[frame], ())
            references[frame] = before if causal or not own_L[frame] else ()
            earlier[bands[frame]] = (*before, frame)
        return references

    def encode_tokens(self, inputs: TokenInputs, *, packed: bool = False) -> Tensor:
        """tokens_GD: the token's maps, then each slot's scalars and band id. Frames go slot by slot: row f G + g."""
        num_tokens, num_slots = inputs.band_GF.shape
        frames = _Frames(inputs, packed=packed)
        maps_NCHW = self.stem(
            self._planes(frames.planes, frames.valid), frames.slots_NS[:, :NUM_SCALARS], frames.facts.band_N
        )
        tokens_GXC = self.fusion(frames.placed(maps_NCHW, num_slots * num_tokens), num_tokens)
        return torch.cat([tokens_GXC.flatten(1), _slots(frames, num_tokens, num_slots)], dim=1)

    def light_curve_features(self, batch: SequenceBatch) -> Tensor:
        """What the trees are told of B sequences, [B, NUM_FEATURES], without a convolution."""
        num_tokens, num_slots = batch.inputs.band_GF.shape
        slots_GS = _slots(_Frames(batch.inputs, packed=True), num_tokens, num_slots)
        slots_BTS = slots_GS[batch.index_BT].masked_fill(~batch.mask_BT[..., None], 0.0)
        return light_curve_features(_table(slots_BTS, batch.mask_BT, batch.days_BT))

    def _planes(self, significance_NPHW: Tensor, valid_NPHW: Tensor) -> Tensor:
        count = len(self.config.planes)  # science comes first
        planes = arcsinh(significance_NPHW[:, :count])
        return torch.cat([planes, valid_NPHW[:, :count]], dim=1) if self.config.masks else planes

    def classify_tokens(self, tokens_BTD: Tensor, mask_BT: Tensor, days_BT: Tensor) -> NetworkOutput:
        """Time, attention, poolings. Without ``masks`` in the config padding counts as tokens of zeros."""
        seen_BT = mask_BT if self.config.masks else torch.ones_like(mask_BT)
        maps_BTXC = torch.unflatten(tokens_BTD[..., : self.map_values], 2, (NUM_PIXELS, -1))
        if self.time is not None:
            maps_BTXC = maps_BTXC + self.time(time_features(days_BT, self.config.time))[:, :, None]
        bias = self.gaps(days_BT) if self.gaps is not None else [None] * len(self.blocks)
        for block, gap_bias in zip(self.blocks, bias, strict=True):
            maps_BTXC = block(maps_BTXC, seen_BT, gap_bias)
        pooled_BXC = masked_mean_max(maps_BTXC, seen_BT[..., None, None], dim=1)
        features = self.pool(pooled_BXC).flatten(1)
        if self.light_curve is not None or self.trees is not None:
            table = _table(tokens_BTD[..., self.map_values :], mask_BT, days_BT)
        if self.light_curve is not None:
            features = torch.cat([features, self.light_curve(table)], dim=1)
        hidden_BF = self.hidden(self.dropout(features)).relu()
        logits_BK = self.output(self.dropout(hidden_BF))
        if self.trees is not None:
            logits_BK = logits_BK + self.trees(light_curve_features(table))
        return NetworkOutput(logits_BK, hidden_BF)

    def fuse(self) -> None:
        """Fold the batch normalisations into the convolutions; keep 2D weights channels last."""
        self.eval()
        for module, pairs in ((self.stem, ("1", "2", "3")), (self.fusion, ("",))):
            for pair in pairs:
                norm = getattr(module, f"norm{pair}")
                conv = getattr(module, f"conv{pair}" if pair else "fuse")
                if isinstance(norm, nn.BatchNorm2d):
                    setattr(module, f"norm{pair}", fold_batch_norm(conv, norm))
        for conv in (self.stem.conv1, self.stem.conv2, self.stem.conv3):
            conv.weight.data = conv.weight.data.contiguous(memory_format=torch.channels_last)
