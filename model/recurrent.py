"""CNN and recurrence over nights: what ``cnn_gru`` and ``cnn_lstm`` share. Letters as in ``model.batch``.

A token is one site night, a slot one band (the grid form: a band the night lacks is an empty slot, a black image). Of
two frames of one band in a night the later one is taken. The night's CNN feature is the cached token, the recurrence
is the head. Layer sizes meet the parameter counts of the table in Bairouk et al. 2023.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.batch import EMPTY_SLOT, TokenGroup, TokenInputs, make_groups
from model.network import Network, NetworkOutput
from model.preprocess import arcsinh_planes, frames_of_bands, plane_indices
from schemas.bands import BAND_IDS
from schemas.sequence import StampSequence

_FEATURE_SIZE = 512
_STATE_SIZE = 256


@dataclass(frozen=True, slots=True)
class RecurrentConfig:
    """bands: the input channels, in order. planes: what each band shows. plus: ``convention``'s inputs as well: pixel
    masks as channels, the night's time gaps (days before the newest frame, days since the night before) and its
    noise into the recurrence."""

    bands: Sequence[str] = ("u", "g", "r", "i", "z")
    planes: Sequence[str] = ("science",)
    plus: bool = False
    num_classes: int = 4
    dropout: float = 0.3

    def __post_init__(self) -> None:
        plane_indices(self.planes)
        if not self.bands or not set(self.bands) <= set(BAND_IDS):
            raise ValueError(f"bands must be some of {', '.join(BAND_IDS)}, not {', '.join(self.bands) or 'none'}")


class RecurrentNetwork(Network):
    """3x3 convolutions 32-64-64-256 to a 3x3 map, Linear 512, recurrence 256, Linear 64, Linear classes."""

    recurrence: ClassVar[type[nn.GRU] | type[nn.LSTM]]

    def __init__(self, config: RecurrentConfig) -> None:
        super().__init__()
        self.config = config
        self.num_extra = len(config.bands) if config.plus else 0
        self.token_size = _FEATURE_SIZE + self.num_extra
        self.pooled_size = 64
        channels = len(config.bands) * len(config.planes) * (2 if config.plus else 1)
        self.cnn = nn.Sequential(
            nn.Conv2d(channels, 32, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 64, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(64, 256, 3, padding=1),
            nn.ReLU(inplace=True),
        )
        self.feature = nn.Linear(256 * 9, _FEATURE_SIZE)
        self.rnn = self.recurrence(self.token_size + (2 if config.plus else 0), _STATE_SIZE, batch_first=True)
        self.hidden = nn.Linear(_STATE_SIZE, self.pooled_size)
        self.output = nn.Linear(self.pooled_size, config.num_classes)
        self.dropout = nn.Dropout(config.dropout)

    def group_frames(self, sequence: StampSequence) -> list[TokenGroup]:
        """One token a night that has a frame of the network's bands, one slot a band."""
        columns = {BAND_IDS[band]: column for column, band in enumerate(self.config.bands)}
        nights: dict[int, list[int]] = {}
        for frame in frames_of_bands(sequence, self.config.bands):
            slots = nights.setdefault(int(sequence.night_L[frame]), [EMPTY_SLOT] * len(columns))
            slots[columns[int(sequence.band_L[frame])]] = frame
        return make_groups(sequence, list(nights.values()))

    def encode_tokens(self, inputs: TokenInputs, *, packed: bool = False) -> Tensor:
        """tokens_GD. A missing band is part of the input, so ``packed`` changes nothing."""
        planes = plane_indices(self.config.planes)
        flux, valid = inputs.flux_GFPHW[:, :, planes], inputs.valid_GFPHW[:, :, planes]
        images_GFPHW = arcsinh_planes(flux, valid, inputs.noise_GFP[:, :, planes])
        channels = [images_GFPHW.flatten(1, 2)]
        if self.config.plus:
            channels.append(valid.flatten(1, 2).to(images_GFPHW.dtype))
        maps = self.cnn(torch.cat(channels, dim=1))
        feature_GD: Tensor = self.feature(maps.flatten(1)).relu()
        if not self.config.plus:
            return feature_GD
        noise_GF = inputs.noise_GFP.amax(dim=2)
        log_noise_GF = torch.where(noise_GF > 0, noise_GF.clamp_min(1e-30).log10() / 3.0, 0.0)
        return torch.cat([feature_GD, log_noise_GF], dim=1)

    def classify_tokens(self, tokens_BTD: Tensor, mask_BT: Tensor, days_BT: Tensor) -> NetworkOutput:
        """The state after the last real night; padding comes after it, so it is never seen."""
        if self.config.plus:
            gap_BT = torch.cat([days_BT.new_zeros(days_BT.shape[0], 1), days_BT[:, :-1] - days_BT[:, 1:]], dim=1)
            times = torch.stack([days_BT.log1p(), gap_BT.clamp_min(0.0).log1p()], dim=-1)
            tokens_BTD = torch.cat([tokens_BTD, 0.2 * times], dim=-1)
        states_BTF, _ = self.rnn(tokens_BTD)
        last_B = mask_BT.sum(dim=1) - 1
        state_BF = states_BTF.gather(1, last_B[:, None, None].expand(-1, 1, _STATE_SIZE)).squeeze(1)
        hidden_BF = self.hidden(self.dropout(state_BF)).relu()
        return NetworkOutput(self.output(hidden_BF), hidden_BF)
