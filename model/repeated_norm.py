"""Batch normalisation of rows of which one stands for many equal ones.

In a training batch of ``convention_2023`` most tokens are padding, all alike, and count in its batch statistics as
published. Their maps are made once; the statistics and the gradient count them as often as they occur.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_OUTPUTS = [True, True, True]


class RepeatedBatchNorm(nn.BatchNorm2d):
    """``nn.BatchNorm2d`` of [F G, C, H, W], F blocks of G rows. The last row of each block stands for ``repeats``
    equal rows: results, gradients and running statistics are those of all of them (to rounding)."""

    def forward(self, input: Tensor, num_rows: int = 1, repeats: int = 1) -> Tensor:
        """Same shape. num_rows: G. The gradient of a row that stands for several is the sum of theirs."""
        if repeats == 1 or not self.training:
            return super().forward(input)
        mean, variance, count = _statistics(input.detach(), num_rows, repeats)
        self._track(mean, variance * (count / (count - 1)))
        result: Tensor = _Normalise.apply(  # type: ignore[no-untyped-call]
            input, self.weight, self.bias, mean, variance, count, num_rows, repeats, self.eps
        )
        return result

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)


def _statistics(maps: Tensor, num_rows: int, repeats: int) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance of each channel, float32 at least, and the number of values, repeated ones counted:
    those of all rows and those of the repeated ones again, joined (Chan et al. 1979)."""
    again = maps[num_rows - 1 :: num_rows].to(torch.promote_types(maps.dtype, torch.float32))
    mean, variance = torch.batch_norm_update_stats(maps, None, None, 0.0)
    again_variance, again_mean = torch.var_mean(again, dim=(0, 2, 3), correction=0)
    own, more = maps.numel() // maps.shape[1], (repeats - 1) * (again.numel() // again.shape[1])
    count = own + more
    distance = again_mean - mean
    joined = (own * variance + more * again_variance + (own * more / count) * distance**2) / count
    return mean + (more / count) * distance, joined, count


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) * weight + bias, mean and variance being those of x with its repeats."""

    @staticmethod
    def forward(
        ctx: Any,
        maps: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: int,
        num_rows: int,
        repeats: int,
        eps: float,
    ) -> Tensor:
        ctx.save_for_backward(maps, weight, mean, variance)
        ctx.settings = (count, num_rows, repeats, eps)
        return functional.batch_norm(maps, mean, variance, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        maps, weight, mean, variance = ctx.saved_tensors
        count, num_rows, repeats, eps = ctx.settings
        # as if mean and variance were constants, which gives the two sums that their own part needs
        result, weight_sum, bias_sum = torch.ops.aten.native_batch_norm_backward(
            gradient, maps, weight, mean, variance, None, None, False, eps, _OUTPUTS
        )
        scale = weight * torch.rsqrt(variance + eps) / count
        through = functional.batch_norm(maps, mean, variance, scale * weight_sum, scale * bias_sum, eps=eps)
        result -= through
        last = slice(num_rows - 1, None, num_rows)
        result[last] -= (repeats - 1) * through[last]
        return result, weight_sum, bias_sum, None, None, None, None, None, None
