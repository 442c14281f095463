"""The Fourier form of a convolution over frames is the convolution."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from model.fourier_conv import FourierTimeConv, fold
from model.layers import TimeConv


@pytest.mark.parametrize(
    ("size", "kernel", "padding", "time_padding", "frames"), [(13, 5, 2, 2, 3), (13, 3, 0, 0, 5), (9, 3, 0, 1, 1)]
)
def test_equals_conv3d(size: int, kernel: int, padding: int, time_padding: int, frames: int) -> None:
    """torch's own Conv3d on the same weights, to float32 rounding."""
    torch.manual_seed(3)
    conv = TimeConv(4, 6, size=kernel)
    maps = torch.randn(2, 4, frames, size, size)  # [G, C, F, H, W]
    with torch.no_grad():
        expected = functional.conv3d(
            maps, conv.weight.permute(1, 2, 0, 3, 4), conv.bias, padding=(time_padding, padding, padding)
        )
        folded = fold(maps.permute(3, 4, 2, 0, 1).flatten(0, 1))
        form = FourierTimeConv(conv, size=size, padding=padding, time_padding=time_padding)
        answer = fold(form(folded)).reshape(form.out_size, form.out_size, -1, 2, 6)
    torch.testing.assert_close(answer.permute(3, 4, 2, 0, 1), expected, atol=2e-6, rtol=1e-5)


def test_fold_undoes_itself() -> None:
    """Folding twice gives the row order again, and a folded map's halves mirror each other."""
    pixels = torch.arange(25)
    folded = fold(pixels)
    assert torch.equal(fold(folded), pixels)
    assert torch.equal(folded[:12] + folded[13:], torch.full((12,), 24))


def test_too_short_a_transform_is_refused() -> None:
    """An even period has no half plane."""
    with pytest.raises(ValueError, match="no transform of 14"):
        FourierTimeConv(TimeConv(1, 1, size=3), size=13, padding=1, time_padding=0)
