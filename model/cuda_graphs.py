"""Calls of one shape as CUDA graphs, in bfloat16: the CPU no longer launches kernels one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_WARM_UP_CALLS: Final = 3

TensorCall = Callable[..., tuple[Tensor, ...]]


def graphed(call: TensorCall, *, device: str = "cuda") -> TensorCall:
    """``call`` under bfloat16 autocast, captured once for each combination of input shapes and replayed since.

    ``call`` must be a pure function of its tensors' values without synchronisation inside. The answer is a copy: the
    graph's own memory is written again by the next call.
    """
    captured: dict[tuple[torch.Size, ...], tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, ...]]] = {}

    def capture(inputs: list[Tensor]) -> tuple[torch.cuda.CUDAGraph, list[Tensor], tuple[Tensor, ...]]:
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream), torch.autocast(device, torch.bfloat16, cache_enabled=False):
            for _ in range(_WARM_UP_CALLS):
                call(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph), torch.autocast(device, torch.bfloat16, cache_enabled=False):
            outputs = call(*inputs)
        return graph, inputs, outputs

    def run(*tensors: Tensor) -> tuple[Tensor, ...]:
        shape = tuple(tensor.shape for tensor in tensors)
        with torch.inference_mode():
            if shape not in captured:
                captured[shape] = capture([tensor.to(device).clone() for tensor in tensors])
            graph, inputs, outputs = captured[shape]
            for place, tensor in zip(inputs, tensors, strict=True):
                place.copy_(tensor)
            graph.replay()
            return tuple(output.clone() for output in outputs)

    return run
