"""Convolutions over a token's three frames by the discrete Fourier transform: exact, with a fifth of the products.

One circular transform of N x N pixels takes the place of every k x k window: what wraps around meets only the zeros
past the map's edge (N = S + padding) or is never asked for (N = S without padding). The transforms are products with
matrices of cosines and sines about the map's centre, so that cosines see only the even part of a map under reflection
and sines the odd one: half the products again.

Letters as in ``model.batch``; J the frequencies of a half plane (the others are their conjugates), X pixels, U time
taps, I and O channels. Maps are folded: the first half of the pixels in row order, the centre, then the mirror image
of each pixel of the first half.
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
        weight_UXIO = conv.weight.detach().double().flatten(3).permute(0, 3, 2, 1)
        real = torch.einsum("jx,uxio->ujio", phase_JX.cos(), weight_UXIO)
        imaginary = torch.einsum("jx,uxio->ujio", phase_JX.sin(), weight_UXIO)
        self.register_buffer("real_UJIO", real.float())
        self.register_buffer("difference_UJIO", (imaginary - real).float())
        self.register_buffer("minus_sum_UJIO", -(imaginary + real).float())
        self.register_buffer("bias", conv.bias.detach() * period**2)  # all of it in the frequency 0
        self.even_in_JX: Tensor
        self.odd_in_JX: Tensor
        self.even_out_XJ: Tensor
        self.odd_out_XJ: Tensor
        self.real_UJIO: Tensor
        self.difference_UJIO: Tensor
        self.minus_sum_UJIO: Tensor
        self.bias: Tensor

    def forward(self, maps_XFGC: Tensor) -> Tensor:
        """Folded maps [X, F, G, C] to folded maps [X', F', G, C']."""
        num_frames, num_tokens = maps_XFGC.shape[1:3]
        num_out_frames = num_frames + 2 * self.time_padding - self.num_taps + 1
        real, imaginary = (part.view(-1, *maps_XFGC.shape[1:]) for part in self._analyse(maps_XFGC.flatten(1)))
        # three real products a complex one: of the sum, the real and the imaginary part
        shape = (len(real), num_out_frames, num_tokens, self.num_out)
        shared = self._products(real + imaginary, self.real_UJIO, real.new_zeros(shape))
        out_imaginary = self._products(real, self.difference_UJIO, shared.clone())
        out_real = self._products(imaginary, self.minus_sum_UJIO, shared)
        out_real[0] += self.bias
        return self._synthesise(out_real.flatten(1), out_imaginary.flatten(1)).view(-1, *shape[1:])

    def _products(self, spectra_JFGC: Tensor, weight_UJIO: Tensor, total_JFGC: Tensor) -> Tensor:
        """Adds each tap's products to the outputs it reaches; a tap's weights are read once for all its frames."""
        num_frames, num_out_frames = spectra_JFGC.shape[1], total_JFGC.shape[1]
        for tap, weight_JIO in enumerate(weight_UJIO):
            shift = tap - self.time_padding  # of frames against outputs
            first, last = max(0, -shift), min(num_out_frames, num_frames - shift)
            frames = spectra_JFGC[:, first + shift : last + shift].flatten(1, 2)
            reached = total_JFGC[:, first:last]
            if reached.is_contiguous():
                reached.flatten(1, 2).baddbmm_(frames, weight_JIO)
            else:  # torch would go matrix by matrix
                reached += torch.bmm(frames, weight_JIO).view_as(reached)
        return total_JFGC

    def _analyse(self, maps_XN: Tensor) -> tuple[Tensor, Tensor]:
        """Real and imaginary part of the spectra of folded maps, [J, N] each."""
        half = self.odd_in_JX.shape[1]
        head, tail = maps_XN[:half], maps_XN[half + 1 :]
        even = torch.empty_like(maps_XN[: half + 1])
        torch.add(head, tail, out=even[:half])
        even[half] = maps_XN[half]
        return self.even_in_JX @ even, self.odd_in_JX @ (head - tail)

    def _synthesise(self, real_JN: Tensor, imaginary_JN: Tensor) -> Tensor:
        """Folded maps [X', N] of spectra."""
        even, odd = self.even_out_XJ @ real_JN, self.odd_out_XJ @ imaginary_JN
        half = len(odd)
        maps_XN = even.new_empty((2 * half + 1, even.shape[1]))
        torch.add(even[:half], odd, out=maps_XN[:half])
        torch.sub(even[:half], odd, out=maps_XN[half + 1 :])
        maps_XN[half] = even[half]
        return maps_XN


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
