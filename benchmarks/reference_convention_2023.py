"""ConvEntion 2023 written down directly from the published formula: the form that tests and benchmarks compare with.

torch's own Conv3d over the padded frames, an explicit [T, T] map of logits, torch's softmax: O(T^2) and nothing kept
between calls. Takes a ``Convention2023``'s weights, so that both forms answer the same question.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.convention_2023 import (
    FRAMES_PER_TOKEN,
    MAP_CHANNELS,
    NUM_HEADS,
    Block,
    ConvAttention,
    Convention2023,
)
from model.layers import TimeConv
from schemas.observation import STAMP_SIZE


def _conv3d(conv: TimeConv, *, stride: int = 1, padding: int = 0) -> nn.Conv3d:
    """The Conv3d [out, in, H, W, time] of tap-wise weights."""
    taps, num_out, num_in, size, _ = conv.weight.shape
    layer = nn.Conv3d(num_in, num_out, (size, size, taps), stride=stride, padding=padding)
    with torch.no_grad():
        layer.weight.copy_(conv.weight.permute(1, 2, 3, 4, 0))
        layer.bias.copy_(conv.bias)  # type: ignore[union-attr]
    return layer


def _norm3d(norm: nn.Module) -> nn.BatchNorm3d:
    layer = nn.BatchNorm3d(int(norm.running_mean.numel()))  # type: ignore[union-attr, operator]
    layer.load_state_dict(norm.state_dict())
    return layer


class DirectConvention2023(nn.Module):
    """The published forward pass, images [B, L, 32, 32] and bands [B, L] (0..4, 0 also padding) to logits [B, K]."""

    def __init__(self, network: Convention2023) -> None:
        super().__init__()
        encoder = network.encoder
        self.network = network
        self.cnn = nn.Sequential(
            _conv3d(encoder.conv1, stride=2, padding=2),
            _norm3d(encoder.norm1),
            nn.ReLU(),
            _conv3d(encoder.conv2, padding=2),
            _norm3d(encoder.norm2),
            nn.ReLU(),
            _conv3d(encoder.conv3),
            _norm3d(encoder.norm3),
            nn.ReLU(),
            _conv3d(encoder.conv4),
            _norm3d(encoder.norm4),
            nn.ReLU(),
        )
        self.eval()

    def forward(self, images_BLHW: Tensor, bands_BL: Tensor) -> Tensor:
        """Logits [B, K]."""
        num_sequences = images_BLHW.shape[0]
        band_map = self.network.band_embedding(bands_BL).unflatten(-1, (STAMP_SIZE, STAMP_SIZE))
        frames_BLCHW = torch.stack([images_BLHW, band_map], dim=2)
        tokens_GFCHW = frames_BLCHW.unflatten(1, (-1, FRAMES_PER_TOKEN)).flatten(0, 1)
        maps_GCHW = self.cnn(tokens_GFCHW.permute(0, 2, 3, 4, 1)).squeeze(-1)
        maps_BTCHW = maps_GCHW.unflatten(0, (num_sequences, -1)) + self.network.place_TC[:, :, None, None]
        for block in self.network.blocks:
            maps_BTCHW = _direct_block(block, maps_BTCHW)  # type: ignore[arg-type]
        hidden = self.network.hidden(maps_BTCHW.amax(dim=1).flatten(1)).relu()
        logits: Tensor = self.network.output(hidden)
        return logits


def _direct_block(block: Block, maps_BTCHW: Tensor) -> Tensor:
    maps_BTCHW = maps_BTCHW + _direct_attention(block.attention, block.attention_norm(maps_BTCHW))
    return maps_BTCHW + block.feed_forward(block.feed_forward_norm(maps_BTCHW))


def _direct_attention(attention: ConvAttention, maps_BTCHW: Tensor) -> Tensor:
    """One logit map for every pair of tokens: conv(q_i + k_j), softmax over j, sum of the values, output conv."""
    shape = maps_BTCHW.shape[:2]
    query, key, value = attention.qkv(maps_BTCHW.flatten(0, 1)).unflatten(0, shape).split(MAP_CHANNELS, dim=2)
    pairs_BTTCHW = query[:, :, None] + key[:, None]
    logits = functional.conv2d(pairs_BTTCHW.flatten(0, 2), attention.logit.weight, attention.logit.bias, padding=2)
    weights_BTTNHW = logits.unflatten(0, pairs_BTTCHW.shape[:3]).softmax(dim=2)
    value_BTNCHW = value.unflatten(2, (NUM_HEADS, -1))
    context = torch.einsum("bijnhw,bjnchw->binchw", weights_BTTNHW, value_BTNCHW).flatten(2, 3)
    result: Tensor = attention.out(context.flatten(0, 1)).unflatten(0, shape)
    return result
