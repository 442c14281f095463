"""Layers that several networks share. Dimension letters as in ``model.batch``; U time taps of a kernel."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class TimeConv(nn.Module):
    """Weights of a Conv3d over a few frames, kept tap by tap so that each tap is a plain 2D convolution.

    weight: [U, out, in, H, W], drawn as torch draws a Conv3d's; bias: [out].
    """

    def __init__(self, in_channels: int, out_channels: int, *, size: int, taps: int = 3) -> None:
        super().__init__()
        bound = 1.0 / math.sqrt(in_channels * size * size * taps)
        self.weight = nn.Parameter(torch.empty(taps, out_channels, in_channels, size, size).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(out_channels).uniform_(-bound, bound))


@torch.no_grad()
def fold_batch_norm(conv: TimeConv | nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Identity:
    """Fold an eval-mode batch normalisation that follows ``conv`` into it; returns what to put in its place."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shape = (-1, 1, 1, 1)  # aligned from the right: the output channels of [.., out, in, H, W]
    conv.weight.mul_(scale.view(shape))
    bias = torch.zeros_like(norm.running_mean) if conv.bias is None else conv.bias
    folded = (bias - norm.running_mean) * scale + norm.bias
    if conv.bias is None:
        conv.bias = nn.Parameter(folded)
    else:
        conv.bias.copy_(folded)
    return nn.Identity()


def sinusoidal_encoding(num_tokens: int, num_channels: int) -> Tensor:
    """[T, C] of a token's index p: sin (even c), cos (odd c) of p / 10000^(2 floor(c/2)/C) (Vaswani et al. 2017)."""
    position_T = torch.arange(num_tokens, dtype=torch.float64)
    channel_C = torch.arange(num_channels)
    rate_C = 10000.0 ** (-2.0 * (channel_C // 2).to(torch.float64) / num_channels)
    angle_TC = position_T[:, None] * rate_C
    return torch.where(channel_C % 2 == 0, angle_TC.sin(), angle_TC.cos()).to(torch.float32)


def masked_softmax(logits: Tensor, mask: Tensor, *, dim: int) -> Tensor:
    """Softmax over the places where ``mask`` (broadcastable) is True; 0 elsewhere."""
    return functional.softmax(logits.masked_fill(~mask, -torch.inf), dim=dim)
