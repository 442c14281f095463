"""Convolutions over a token's three frames by the discrete Fourier transform: exact, with a fifth of the products.

One circular transform of N x N pixels takes the place of every k x k window: what wraps around meets only the zeros
past the map's edge (N = S + padding) or is never asked for (N = S without padding). The transforms are products with
matrices of cosines and sines about the map's centre, so that cosines see only the even part of a map under reflection
and sines the odd one: half the products again.

Letters as in ``model.batch``; J the frequencies of a half plane (the others are their conjugates), X pixels, I and O
channels. Maps are folded: the first half of the pixels in row order, the centre, then the mirror image of each pixel
of the first half.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from model.layers import TimeConv


def fold(maps_X: Tensor) -> Tensor:
    """Pixels in row order to folded order, or back, along the first dimension."""
    middle = maps_X.shape[0] // 2 + 1
    return torch.cat([maps_X[:middle], maps_X[middle:].flip(0)])


class FourierTimeConv(nn.Module):
    """Inference form of a ``TimeConv``: output t is the sum over taps u of tap u on frame t + u - time_padding.

    size: S of the input maps; padding: of their sides; time_padding: of the run of frames. ValueError when S +
    padding is even or too short for the kernel.
    """

    def __init__(self, conv: TimeConv, *, size: int, padding: int, time_padding: int) -> None:
        super().__init__()
        self.num_taps, self.num_out, self.num_in, kernel, _ = conv.weight.shape
        self.time_padding = time_padding
        self.out_size = size + 2 * padding - kernel + 1
        period = size + padding
        if period % 2 == 0 or self.out_size + kernel - 1 - padding > period:
            raise ValueError(f"no transform of {period} for maps of {size}, kernel {kernel}, padding {padding}")
        frequencies_J2 = _half_plane(period)
        phase_JX = _half_phases(frequencies_J2, size, period)
        self.register_buffer("even_in_JX", phase_JX.cos().float())
        self.register_buffer("odd_in_JX", -phase_JX[:, :-1].sin().float())
        phase_JX = _half_phases(frequencies_J2, self.out_size, period)
        scale_J1 = torch.where((frequencies_J2 == 0).all(dim=1), 1.0, 2.0)[:, None] / period**2
        self.register_buffer("even_out_XJ", (phase_JX.cos() * scale_J1).T.contiguous().float())
        self.register_buffer("odd_out_XJ", (-phase_JX.sin() * scale_J1)[:, :-1].T.contiguous().float())
        phase_JX = _phases(frequencies_J2, torch.arange(kernel) - (kernel - 1) // 2, period)
        weight = conv.weight.detach().double().flatten(3).permute(3, 0, 2, 1).flatten(1)
        shape = (len(frequencies_J2), self.num_taps * self.num_in, self.num_out)
        real, imaginary = (phase_JX.cos() @ weight).view(shape), (phase_JX.sin() @ weight).view(shape)
        self.register_buffer("real_JIO", real.float())
        self.register_buffer("difference_JIO", (imaginary - real).float())
        self.register_buffer("sum_JIO", (imaginary + real).float())
        self.register_buffer("bias", conv.bias.detach() * period**2)  # all of it in the frequency 0
        self.even_in_JX: Tensor
        self.odd_in_JX: Tensor
        self.even_out_XJ: Tensor
        self.odd_out_XJ: Tensor
        self.real_JIO: Tensor
        self.difference_JIO: Tensor
        self.sum_JIO: Tensor
        self.bias: Tensor

    def forward(self, maps_XGFC: Tensor) -> Tensor:
        """Folded maps [X, G, F, C] to folded maps [X', G, F', C']."""
        num_tokens, num_frames = maps_XGFC.shape[1:3]
        real, imaginary = self._analyse(maps_XGFC.flatten(1))
        parts = (real, imaginary, real + imaginary)
        real, imaginary, total = (part.view(-1, num_tokens, num_frames * self.num_in) for part in parts)
        num_out_frames = num_frames + 2 * self.time_padding - self.num_taps + 1
        half = self.even_out_XJ.shape[0]
        maps = real.new_empty((2 * half - 1, num_tokens, num_out_frames, self.num_out))
        for time in range(num_out_frames):
            first = max(0, time - self.time_padding)  # the frames, and then the taps, that meet at this output
            last = min(num_frames, time - self.time_padding + self.num_taps)
            tap = first - time + self.time_padding
            frames = slice(first * self.num_in, last * self.num_in)
            taps = slice(tap * self.num_in, (tap + last - first) * self.num_in)
            spectra = (real[..., frames], imaginary[..., frames], total[..., frames])
            self._synthesise(spectra, taps, maps[:, :, time])
        return maps

    def _analyse(self, maps_XN: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the spectra of folded maps, [J, N] each."""
        half = self.odd_in_JX.shape[1]
        head, tail = maps_XN[:half], maps_XN[half + 1 :]
        even = torch.empty_like(maps_XN[: half + 1])
        torch.add(head, tail, out=even[:half])
        even[half] = maps_XN[half]
        return self.even_in_JX @ even, self.odd_in_JX @ (head - tail)

    def _synthesise(self, spectra: tuple[Tensor, Tensor, Tensor], taps: slice, out_XGC: Tensor) -> None:
        """Product with the weights of ``taps``, transformed back into ``out_XGC``.

        spectra: real part, imaginary part and their sum, so that a complex product takes three real ones.
        """
        re, im, total = spectra
        shared = torch.bmm(total, self.real_JIO[:, taps])
        imaginary = torch.baddbmm(shared, re, self.difference_JIO[:, taps])
        real = shared.baddbmm_(im, self.sum_JIO[:, taps], alpha=-1)
        real[0] += self.bias
        even = torch.unflatten(self.even_out_XJ @ real.flatten(1), 1, real.shape[1:])
        odd = torch.unflatten(self.odd_out_XJ @ imaginary.flatten(1), 1, real.shape[1:])
        half = len(odd)
        torch.add(even[:half], odd, out=out_XGC[:half])
        torch.sub(even[:half], odd, out=out_XGC[half + 1 :])
        out_XGC[half] = even[half]


def _half_plane(period: int) -> Tensor:
    """One of each pair of conjugate frequencies of an odd period, 0 first: [J, 2]."""
    half = (period - 1) // 2
    axis = [(row, 0) for row in range(half + 1)]
    return torch.tensor(axis + [(row, column) for row in range(period) for column in range(1, half + 1)])


def _half_phases(frequencies_J2: Tensor, size: int, period: int) -> Tensor:
    """Phases about the centre of the pixels up to and with the centre: [J, X]."""
    centre = (size - 1) // 2
    return _phases(frequencies_J2, torch.arange(size) - centre, period)[:, : size * size // 2 + 1]


def _phases(frequencies_J2: Tensor, places: Tensor, period: int) -> Tensor:
    """2 pi f.x / N for the pixels of ``places`` x ``places``, row by row: [J, X], float64."""
    rows, columns = torch.meshgrid(places, places, indexing="ij")
    turns = frequencies_J2[:, :1] * rows.flatten() + frequencies_J2[:, 1:] * columns.flatten()
    return turns.remainder(period).double() * (2.0 * math.pi / period)
