"""ConvEntion as published: Bairouk et al. 2023, A&A 673 A141 (arXiv:2304.01236). Letters as in ``model.batch``.

Every layer is the published one, faults included (padding is not masked, u shares the padding row of the band
embedding, no time input); only the arithmetic is arranged differently, exactly:

* a Conv3d over three frames is done tap by tap as 2D convolutions, which skips the products with the zero padding in
  time (40% of the second convolution's); for inference (``fuse``) by Fourier transform, see ``model.fourier_conv``;
* the attention's logit convolution is linear, so in conv(q_i + k_j) the query's term is constant over j and cancels
  in the softmax over j: all tokens get one context map, and attention costs O(T) instead of O(T^2). The query
  weights and the logit bias therefore never receive a gradient, here or in the published form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.batch import EMPTY_SLOT, TokenGroup, TokenInputs, make_groups
from model.convention_2023_fused import FusedTokenEncoder
from model.layers import TimeConv, fold_batch_norm, sinusoidal_encoding
from model.network import Network, NetworkOutput
from model.preprocess import arcsinh_planes, frames_of_bands, plane_indices
from model.repeated_norm import RepeatedBatchNorm
from schemas.observation import STAMP_SIZE
from schemas.sequence import StampSequence

FRAMES_PER_TOKEN: Final = 3
NUM_HEADS: Final = 4
MAP_CHANNELS: Final = 8
MAP_SIZE: Final = 9
NJY_PER_NANOMAGGY: Final = 3631.0  # AB zero point, 3631 Jy
NUM_EMBEDDING_ROWS: Final = 10


@dataclass(frozen=True, slots=True)
class Convention2023Config:
    """max_frames: a multiple of 3; longer sequences lose their oldest frames. planes: science as published, or
    science and difference. pixels: ``nanomaggy`` (calibrated flux, as published) or ``arcsinh`` of flux / noise.
    bands: frames of other bands are left out."""

    max_frames: int = 99
    planes: Sequence[str] = ("science",)
    pixels: str = "nanomaggy"
    bands: Sequence[str] = ("u", "g", "r", "i", "z")
    num_classes: int = 4
    dropout: float = 0.5

    def __post_init__(self) -> None:
        if self.max_frames < FRAMES_PER_TOKEN or self.max_frames % FRAMES_PER_TOKEN:
            raise ValueError(f"max_frames must be a positive multiple of {FRAMES_PER_TOKEN}, not {self.max_frames}")
        if self.pixels not in ("nanomaggy", "arcsinh"):
            raise ValueError(f"pixels must be nanomaggy or arcsinh, not {self.pixels!r}")
        plane_indices(self.planes)

    @property
    def num_tokens(self) -> int:
        """33 for 99 frames."""
        return self.max_frames // FRAMES_PER_TOKEN


class TokenEncoder(nn.Module):
    """The shared 3D CNN of one token: three frames [G, 3, C, 32, 32] to [G, 8, 9, 9]."""

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv1 = TimeConv(in_channels, 64, size=11)
        self.norm1 = RepeatedBatchNorm(64)
        self.conv2 = TimeConv(64, 128, size=5)
        self.norm2 = RepeatedBatchNorm(128)
        self.conv3 = TimeConv(128, 64, size=3)
        self.norm3 = RepeatedBatchNorm(64)
        self.conv4 = TimeConv(64, MAP_CHANNELS, size=3)
        self.norm4 = RepeatedBatchNorm(MAP_CHANNELS)

    def forward(self, frames_GFCHW: Tensor, repeats: int = 1) -> Tensor:
        """Feature maps [G, 8, 9, 9]; the last token counts ``repeats`` times in the normalisations. Inside, frames
        lead ([F, G, ...])."""
        num_tokens = frames_GFCHW.shape[0]
        maps = self.norm1(self._first(frames_GFCHW), num_tokens, repeats).relu_()
        maps = self.norm2(self._second(maps, num_tokens), num_tokens, repeats).relu_()
        maps = self.norm3(_valid_taps(maps, self.conv3, num_tokens), num_tokens, repeats).relu_()
        result: Tensor = self.norm4(_valid_taps(maps, self.conv4, num_tokens), num_tokens, repeats)
        return result.relu_()

    def _first(self, frames_GFCHW: Tensor) -> Tensor:
        """Stride 2, padding 2 in space and time: outputs 0 and 2 each see one frame, output 1 all three."""
        weight = self.conv1.weight
        weight_all = weight.permute(1, 0, 2, 3, 4).flatten(1, 2)
        frames = frames_GFCHW.unbind(1)
        outputs = [
            functional.conv2d(frames[0], weight[2], self.conv1.bias, stride=2, padding=2),
            functional.conv2d(frames_GFCHW.flatten(1, 2), weight_all, self.conv1.bias, stride=2, padding=2),
            functional.conv2d(frames[2], weight[0], self.conv1.bias, stride=2, padding=2),
        ]
        return torch.cat(outputs).contiguous(memory_format=torch.channels_last)

    def _second(self, maps: Tensor, num_tokens: int) -> Tensor:
        """Padding 2 in time, 3 frames to 5: output t is the sum over taps u of tap u on frame t + u - 2."""
        frames = functional.conv2d(maps, self.conv2.weight.flatten(0, 1), padding=2)
        # split, not sliced: the gradient of a slice is a whole map of zeros, a fifth of a training step in all
        taps = [frame.chunk(3, dim=1) for frame in torch.split(frames, num_tokens)]
        outputs = []
        for time in range(5):
            terms = [taps[frame][tap] for tap in range(3) if 0 <= (frame := time + tap - 2) < 3]
            total = terms[0]
            for term in terms[1:]:
                total = total + term
            outputs.append(total)
        return torch.cat(outputs) + self.conv2.bias[:, None, None]


def _valid_taps(maps: Tensor, conv: TimeConv, num_tokens: int) -> Tensor:
    """A Conv3d without padding on frames-first maps [F G, C, H, W]."""
    frames = torch.split(maps, num_tokens)
    num_out = len(frames) - conv.weight.shape[0] + 1
    total: Tensor | None = None
    for tap, weight in enumerate(conv.weight):
        window = torch.cat(frames[tap : tap + num_out])
        term = functional.conv2d(window, weight, conv.bias if tap == 0 else None)
        total = term if total is None else total.add_(term)
    assert total is not None
    return total


class JointNorm(nn.Module):
    """Layer normalisation over [8, 9, 9, T] together, each value with its own scale and shift."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        shape = (num_tokens, MAP_CHANNELS, MAP_SIZE, MAP_SIZE)
        self.weight = nn.Parameter(torch.ones(shape))
        self.bias = nn.Parameter(torch.zeros(shape))

    def forward(self, tokens_BTCHW: Tensor) -> Tensor:
        """Same shape."""
        return functional.layer_norm(tokens_BTCHW, self.weight.shape, self.weight, self.bias)


class ConvAttention(nn.Module):
    """4 heads of 2 channels; one context map for all tokens (see the module's docstring)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Conv2d(MAP_CHANNELS, 3 * MAP_CHANNELS, 1)
        self.logit = nn.Conv2d(MAP_CHANNELS, NUM_HEADS, 5, padding=2)
        self.out = nn.Conv2d(MAP_CHANNELS, MAP_CHANNELS, 3, padding=1)

    def forward(self, tokens_BTCHW: Tensor) -> Tensor:
        """[B, 1, C, H, W], the same for every token."""
        num_sequences, num_tokens = tokens_BTCHW.shape[:2]
        weight, bias = self.qkv.weight[MAP_CHANNELS:], self.qkv.bias
        assert bias is not None
        key_value = functional.conv2d(tokens_BTCHW.flatten(0, 1), weight, bias[MAP_CHANNELS:])
        key, value = key_value.chunk(2, dim=1)
        logits = torch.unflatten(functional.conv2d(key, self.logit.weight, padding=2), 0, (num_sequences, num_tokens))
        attention = logits.softmax(dim=1)[:, :, :, None]
        value_BTNCHW = value.reshape(num_sequences, num_tokens, NUM_HEADS, -1, MAP_SIZE, MAP_SIZE)
        context = (attention * value_BTNCHW).sum(dim=1).flatten(1, 2)
        result: Tensor = self.out(context)[:, None]
        return result


class FeedForward(nn.Module):
    """Conv2d 8->16 3x3, ReLU, BN, Conv2d 16->8 3x3, ReLU, BN."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(MAP_CHANNELS, 2 * MAP_CHANNELS, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(2 * MAP_CHANNELS)
        self.conv2 = nn.Conv2d(2 * MAP_CHANNELS, MAP_CHANNELS, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(MAP_CHANNELS)

    def forward(self, tokens_BTCHW: Tensor) -> Tensor:
        """Same shape."""
        hidden = self.norm1(self.conv1(tokens_BTCHW.flatten(0, 1)).relu())
        maps: Tensor = self.norm2(self.conv2(hidden).relu())
        return maps.view_as(tokens_BTCHW)


class Block(nn.Module):
    """x += Attention(LN(x)); x += FF(LN(x))."""

    def __init__(self, num_tokens: int) -> None:
        super().__init__()
        self.attention_norm = JointNorm(num_tokens)
        self.attention = ConvAttention()
        self.feed_forward_norm = JointNorm(num_tokens)
        self.feed_forward = FeedForward()

    def forward(self, tokens_BTCHW: Tensor) -> Tensor:
        """Same shape."""
        tokens_BTCHW = tokens_BTCHW + self.attention(self.attention_norm(tokens_BTCHW))
        mixed: Tensor = self.feed_forward(self.feed_forward_norm(tokens_BTCHW))
        return tokens_BTCHW + mixed


class Convention2023(Network):
    """The published network; see the module's docstring. Sequences always have ``max_frames / 3`` tokens."""

    name = "convention_2023"

    def __init__(self, config: Convention2023Config) -> None:
        super().__init__()
        self.config = config
        self.fixed_tokens = config.num_tokens
        self.token_size = MAP_CHANNELS * MAP_SIZE * MAP_SIZE
        self.pooled_size = 256
        self.band_embedding = nn.Embedding(NUM_EMBEDDING_ROWS, STAMP_SIZE * STAMP_SIZE, padding_idx=0)
        self.encoder = TokenEncoder(len(config.planes) + 1)
        self.fused_encoder: FusedTokenEncoder | None = None  # takes the encoder's place in ``fuse``
        self.blocks = nn.ModuleList(Block(config.num_tokens) for _ in range(2))
        self.hidden = nn.Linear(self.token_size, self.pooled_size)
        self.output = nn.Linear(self.pooled_size, config.num_classes)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("place_TC", sinusoidal_encoding(config.num_tokens, MAP_CHANNELS))
        self.place_TC: Tensor

    def group_frames(self, sequence: StampSequence) -> list[TokenGroup]:
        """Threes from the first frame of the newest ``max_frames``; empty slots, then empty tokens, at the end."""
        frames = frames_of_bands(sequence, self.config.bands)[-self.config.max_frames :]
        frames += [EMPTY_SLOT] * (self.config.max_frames - len(frames))
        starts = range(0, self.config.max_frames, FRAMES_PER_TOKEN)
        return make_groups(sequence, [frames[start : start + FRAMES_PER_TOKEN] for start in starts])

    def encode_tokens(self, inputs: TokenInputs, *, packed: bool = False) -> Tensor:
        """tokens_GD. Empty slots are part of the published input; ``packed`` encodes the first of the empty tokens,
        which are all alike, for all of them."""
        if not packed:
            return self._encode(inputs)
        empty_G = ~inputs.frame_valid_GF.any(dim=1)
        repeats = int(empty_G.sum())
        if repeats < 2:
            return self._encode(inputs)
        chosen = torch.cat([(~empty_G).nonzero()[:, 0], empty_G.nonzero()[:1, 0]])
        place_G = torch.where(empty_G, len(chosen) - 1, (~empty_G).cumsum(dim=0) - 1)
        return self._encode(inputs.take(chosen), repeats)[place_G]

    def _encode(self, inputs: TokenInputs, repeats: int = 1) -> Tensor:
        planes = plane_indices(self.config.planes)
        flux, valid, noise = inputs.flux_GFPHW, inputs.valid_GFPHW, inputs.noise_GFP
        flux, valid, noise = flux[:, :, planes], valid[:, :, planes], noise[:, :, planes]
        if self.config.pixels == "arcsinh":
            images_GFPHW = arcsinh_planes(flux, valid, noise)
        else:
            images_GFPHW = flux.masked_fill(~valid, 0.0) / NJY_PER_NANOMAGGY
        published_band_GF = (inputs.band_GF - 1).clamp_min(0)
        return self.encode_images(images_GFPHW, published_band_GF, repeats)

    def encode_images(self, images_GFPHW: Tensor, published_band_GF: Tensor, repeats: int = 1) -> Tensor:
        """tokens_GD of images and band ids in the published form (0..4 = u g r i z, 0 for padding too). repeats: how
        many equal tokens the last one stands for."""
        if self.fused_encoder is not None:
            fused: Tensor = self.fused_encoder(images_GFPHW, published_band_GF)
            return fused.flatten(1)
        band_map = torch.unflatten(self.band_embedding(published_band_GF), -1, (1, STAMP_SIZE, STAMP_SIZE))
        maps: Tensor = self.encoder(torch.cat([images_GFPHW, band_map], dim=2), repeats)
        return maps.flatten(1)

    def classify_tokens(self, tokens_BTD: Tensor, mask_BT: Tensor, days_BT: Tensor) -> NetworkOutput:
        """As published: every token counts, padding included, and times are not seen."""
        hidden_BF = self.dropout(self.pool_tokens(tokens_BTD))
        hidden_BF = self.hidden(hidden_BF).relu()
        return NetworkOutput(self.output(self.dropout(hidden_BF)), hidden_BF)

    def place_tokens(self, tokens_BTD: Tensor) -> Tensor:
        """The CNN's maps with the encoding of their place added: [B, T, 8, 9, 9], the first block's input."""
        if tokens_BTD.shape[1] != self.config.num_tokens:
            raise ValueError(f"{tokens_BTD.shape[1]} tokens: {self.name} takes exactly {self.config.num_tokens}")
        maps_BTCHW = torch.unflatten(tokens_BTD, 2, (MAP_CHANNELS, MAP_SIZE, MAP_SIZE))
        return maps_BTCHW + self.place_TC[:, :, None, None]

    def pool_tokens(self, tokens_BTD: Tensor) -> Tensor:
        """Encoding, blocks, maximum over the tokens: [B, 648]."""
        tokens_BTCHW = self.place_tokens(tokens_BTD)
        for block in self.blocks:
            tokens_BTCHW = block(tokens_BTCHW)
        return tokens_BTCHW.amax(dim=1).flatten(1)

    def fuse(self) -> None:
        """Fold the CNN's batch normalisations into its convolutions and arrange these with fewer products."""
        self.eval()
        if self.fused_encoder is not None:
            return
        encoder = self.encoder
        convs = (encoder.conv1, encoder.conv2, encoder.conv3, encoder.conv4)
        norms = (encoder.norm1, encoder.norm2, encoder.norm3, encoder.norm4)
        for conv, norm in zip(convs, norms, strict=True):
            fold_batch_norm(conv, norm)
        self.fused_encoder = FusedTokenEncoder(convs, self.band_embedding.weight)
        del self.encoder
