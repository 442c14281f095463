"""The CNN of ``convention_2023`` arranged for inference: the same sums with fewer products. Letters as in
``model.batch``; X pixels of a map, which lead here so that the Fourier transforms are plain matrix products.

Batch normalisation is folded into the convolutions before this is built. The first convolution of a frame's band map
depends on the band alone, so it is a table; of its image it is one matrix product over patches. The second and third
are done by Fourier transform.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.fourier_conv import FourierTimeConv, fold
from model.layers import TimeConv
from schemas.observation import STAMP_SIZE

TOKENS_AT_A_TIME: Final = 32  # spectra of more do not fit the caches of a core
_FRAMES: Final = 3
_FIRST_SIZE: Final = 13
# (output, tap, frame) of the first convolution: stride 2 and padding 2 in time leave the ends one frame each
_FIRST_TERMS: Final = ((0, 2, 0), (1, 0, 0), (1, 1, 1), (1, 2, 2), (2, 0, 2))


class FusedTokenEncoder(nn.Module):
    """Images [G, 3, P, 32, 32] and band ids [G, 3] (0..4) to maps [G, 8, 9, 9]."""

    def __init__(self, convs: tuple[TimeConv, TimeConv, TimeConv, TimeConv], band_maps: Tensor) -> None:
        super().__init__()
        conv1, conv2, conv3, conv4 = convs
        weight = conv1.weight.detach()
        taps = [tap for _, tap, _ in _FIRST_TERMS]
        self.register_buffer("patch_weight", weight[taps, :, :-1].flatten(2).transpose(1, 2).contiguous())
        self.register_buffer("band_table", _band_table(weight[:, :, -1:], band_maps.detach()))
        self.register_buffer("first_bias", conv1.bias.detach().clone())
        self.kernel = weight.shape[-1]
        self.second = FourierTimeConv(conv2, size=_FIRST_SIZE, padding=2, time_padding=2)
        self.third = FourierTimeConv(conv3, size=_FIRST_SIZE, padding=0, time_padding=0)
        self.register_buffer("last_weight", conv4.weight.detach().permute(1, 0, 2, 3, 4).flatten(1, 2).contiguous())
        self.register_buffer("last_bias", conv4.bias.detach().clone())
        self.patch_weight: Tensor
        self.band_table: Tensor
        self.first_bias: Tensor
        self.last_weight: Tensor
        self.last_bias: Tensor

    def forward(self, images_GFPHW: Tensor, band_GF: Tensor) -> Tensor:
        """Maps [G, 8, 9, 9], some tokens at a time."""
        pairs = zip(images_GFPHW.split(TOKENS_AT_A_TIME), band_GF.split(TOKENS_AT_A_TIME), strict=True)  # type: ignore[no-untyped-call]
        return torch.cat([self._encode(images, bands) for images, bands in pairs])

    def _encode(self, images_GFPHW: Tensor, band_GF: Tensor) -> Tensor:
        maps_XFGC = self.second(fold(self._first(images_GFPHW, band_GF).relu_())).relu_()
        maps_XFGC = self.third(maps_XFGC).relu_()
        size = self.third.out_size
        maps_GCHW = fold(maps_XFGC).permute(2, 1, 3, 0).reshape(len(images_GFPHW), -1, size, size)
        return functional.conv2d(maps_GCHW, self.last_weight, self.last_bias).relu_()

    def _first(self, images_GFPHW: Tensor, band_GF: Tensor) -> Tensor:
        """The first convolution's three outputs, [X, 3, G, 64], pixels in row order."""
        padded = functional.pad(images_GFPHW, (2, 2, 2, 2))
        windows = padded.unfold(3, self.kernel, 2).unfold(4, self.kernel, 2)  # [G, F, P, 13, 13, k, k]
        patches = windows.permute(1, 3, 4, 0, 2, 5, 6).reshape(_FRAMES, -1, self.patch_weight.shape[1])
        shape = (_FIRST_SIZE**2, _FRAMES, len(images_GFPHW), self.first_bias.shape[0])
        maps_XFGC = self.first_bias.expand(shape).contiguous()
        for term, (output, _, frame) in enumerate(_FIRST_TERMS):
            products = (patches[frame] @ self.patch_weight[term]).view(shape[0], *shape[2:])
            maps_XFGC[:, output] += products.add_(self.band_table[term].index_select(1, band_GF[:, frame]))
        return maps_XFGC


def _band_table(weight_UOIHW: Tensor, band_maps: Tensor) -> Tensor:
    """What a frame's band map adds to each term of the first convolution: [term, X, band, 64]."""
    maps = band_maps.view(-1, 1, STAMP_SIZE, STAMP_SIZE)
    terms = [functional.conv2d(maps, weight_UOIHW[tap], stride=2, padding=2) for _, tap, _ in _FIRST_TERMS]
    return torch.stack([term.flatten(2).permute(2, 0, 1) for term in terms])
