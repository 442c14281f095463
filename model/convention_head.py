"""Attention over tokens for ``convention``. Letters as in ``model.batch``; X the pixels of a token's 2 x 2 map,
N heads.

All layers are products with small matrices over [B, T, X, C], so that the head over cached tokens stays cheap.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.convention_config import NUM_HEADS, ConventionConfig
from model.layers import masked_softmax, sinusoidal_encoding

PERIODS_DAYS: Final = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)
INDEX_CHANNELS: Final = 16
GAP_SCALES_DAYS: Final = (1.0, 4.0, 16.0, 64.0)
SIGNED_GAP_SCALES_DAYS: Final = (8.0, 64.0)
LOG_DAYS_SCALE: Final = 0.2


def time_features(days_BT: Tensor, kind: str) -> Tensor:
    """What a token is told of its place, [*, T, features]: sinusoids of its days before the newest frame and their
    logarithm (``days``), or sinusoids of its place counted from the oldest (``index``)."""
    if kind == "index":
        return sinusoidal_encoding(days_BT.shape[-1], INDEX_CHANNELS).to(days_BT).expand(*days_BT.shape, -1)
    periods = torch.tensor(PERIODS_DAYS, dtype=days_BT.dtype, device=days_BT.device)
    angle = days_BT[..., None] * (2.0 * math.pi / periods)
    return torch.cat([angle.sin(), angle.cos(), LOG_DAYS_SCALE * days_BT[..., None].log1p()], dim=-1)


class TimeGaps(nn.Module):
    """Additive logits of every pair of tokens from the days between them, one map a head and block."""

    def __init__(self, config: ConventionConfig) -> None:
        super().__init__()
        self.num_blocks = config.num_blocks
        num_features = len(GAP_SCALES_DAYS) + len(SIGNED_GAP_SCALES_DAYS)
        self.weight = nn.Linear(num_features, config.num_blocks * NUM_HEADS, bias=False)

    def forward(self, days_BT: Tensor) -> list[Tensor]:
        """One [B, heads, T, T] a block; rows are queries."""
        gap_BTT = days_BT[:, None, :] - days_BT[:, :, None]  # positive where the key is older
        near = [torch.exp(gap_BTT.abs() * (-1.0 / scale)) for scale in GAP_SCALES_DAYS]
        signed = [torch.tanh(gap_BTT * (1.0 / scale)) for scale in SIGNED_GAP_SCALES_DAYS]
        bias = self.weight(torch.stack(near + signed, dim=-1))
        return list(bias.permute(0, 3, 1, 2).chunk(self.num_blocks, dim=1))


class TokenNorm(nn.Module):
    """Normalisation over pixels and channels of each token, or over all tokens of the sequence (``joint``)."""

    def __init__(self, num_channels: int, kind: str) -> None:
        super().__init__()
        self.joint = kind == "joint"
        self.weight = nn.Parameter(torch.ones(num_channels))
        self.bias = nn.Parameter(torch.zeros(num_channels))

    def forward(self, maps_BTXC: Tensor, mask_BT: Tensor) -> Tensor:
        """Same shape."""
        if not self.joint:
            shape = maps_BTXC.shape[2:]
            return functional.layer_norm(maps_BTXC, shape, self.weight.expand(shape), self.bias.expand(shape))
        weight = mask_BT[..., None, None].to(maps_BTXC.dtype)
        count = weight.sum(dim=(1, 2, 3), keepdim=True) * maps_BTXC.shape[2] * maps_BTXC.shape[3]
        mean = (maps_BTXC * weight).sum(dim=(1, 2, 3), keepdim=True) / count
        centred = maps_BTXC - mean
        variance = (centred.square() * weight).sum(dim=(1, 2, 3), keepdim=True) / count
        return torch.addcmul(self.bias, centred * torch.rsqrt(variance + 1e-5), self.weight)


class AttentionBlock(nn.Module):
    """x += Attention(norm(x)); x += Linear(ReLU(Linear(norm(x)))), both ending in zeros at the start."""

    def __init__(self, config: ConventionConfig) -> None:
        super().__init__()
        channels = config.token_channels
        self.kind = config.attention
        self.attend_norm = TokenNorm(channels, config.norm) if config.attention != "none" else None
        if config.attention == "pairwise":
            self.qkv = nn.Linear(channels, 3 * channels)
        elif config.attention == "key_only":
            self.logit = nn.Linear(channels, NUM_HEADS)
            self.value = nn.Linear(channels, channels)
        if config.attention != "none":
            self.out = _zero_linear(channels, channels)
        self.mix_norm = TokenNorm(channels, config.norm)
        self.mix1 = nn.Linear(channels, config.mix_channels)
        self.mix2 = _zero_linear(config.mix_channels, channels)

    def forward(self, maps_BTXC: Tensor, mask_BT: Tensor, gap_bias: Tensor | None) -> Tensor:
        """Same shape; what padding tokens become is never read by the others."""
        if self.attend_norm is not None:
            normal = self.attend_norm(maps_BTXC, mask_BT)
            attend = self._pairwise if self.kind == "pairwise" else self._key_only
            maps_BTXC = maps_BTXC + self.out(attend(normal, mask_BT, gap_bias))
        mixed: Tensor = self.mix2(self.mix1(self.mix_norm(maps_BTXC, mask_BT)).relu())
        return maps_BTXC + mixed

    def looked_at(self, maps_BTXC: Tensor, mask_BT: Tensor, gap_bias: Tensor | None) -> Tensor | None:
        """How much of the attention each token gets, [B, T], 0 for padding, sums to 1: the mean over pixels, heads
        and, where each token asks by itself, asking tokens. Arguments as ``forward``; None without attention."""
        if self.attend_norm is None:
            return None
        normal = self.attend_norm(maps_BTXC, mask_BT)
        if self.kind == "key_only":
            return self._key_weights(normal, mask_BT).mean(dim=(2, 3))
        weights_MTT, shape, _ = self._pair_weights(normal, mask_BT, gap_bias)
        weights_BTT = weights_MTT.view(*shape[:-1], shape[-2]).mean(dim=(1, 2))
        asking_BT = mask_BT.to(weights_BTT.dtype)
        return torch.einsum("bqt,bq->bt", weights_BTT, asking_BT / asking_BT.sum(dim=1, keepdim=True))

    def _pair_weights(
        self, normal: Tensor, mask_BT: Tensor, gap_bias: Tensor | None
    ) -> tuple[Tensor, torch.Size, Tensor]:
        """Weights [M, T, T] (rows are queries; M runs over B, X, N), the shape [B, X, N, T, C] and the values."""
        parts = self.qkv(normal).unflatten(-1, (3, NUM_HEADS, -1)).permute(3, 0, 2, 4, 1, 5)  # [3, B, X, N, T, C]
        shape = parts.shape[1:]
        query, key, value = (part.reshape(-1, *shape[-2:]) for part in parts)
        bias_BNTT = gap_bias if gap_bias is not None else parts.new_zeros(1, 1, 1, 1)
        bias_BNTT = bias_BNTT.masked_fill(~mask_BT[:, None, None, :], -torch.inf)
        logits_MTT = bias_BNTT[:, None].expand(*shape[:-1], shape[-2]).reshape(-1, shape[-2], shape[-2])
        logits_MTT = torch.baddbmm(logits_MTT, query, key.transpose(1, 2), alpha=shape[-1] ** -0.5)
        return functional.softmax(logits_MTT, dim=-1), shape, value

    def _pairwise(self, normal: Tensor, mask_BT: Tensor, gap_bias: Tensor | None) -> Tensor:
        weights_MTT, shape, value = self._pair_weights(normal, mask_BT, gap_bias)
        context = torch.bmm(weights_MTT, value)
        return context.view(shape).permute(0, 3, 1, 2, 4).flatten(3)

    def _key_weights(self, normal: Tensor, mask_BT: Tensor) -> Tensor:
        """[B, T, X, N]"""
        return masked_softmax(self.logit(normal), mask_BT[..., None, None], dim=1)

    def _key_only(self, normal: Tensor, mask_BT: Tensor, gap_bias: Tensor | None) -> Tensor:
        weight_BTXN = self._key_weights(normal, mask_BT)
        value = torch.unflatten(self.value(normal), -1, (NUM_HEADS, -1))
        context = (weight_BTXN[..., None] * value).sum(dim=1, keepdim=True)
        return context.flatten(-2)


def _zero_linear(num_in: int, num_out: int) -> nn.Linear:
    layer = nn.Linear(num_in, num_out)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
