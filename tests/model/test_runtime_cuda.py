"""On a GPU the runtime uses bfloat16 and CUDA graphs, within the declared tolerance of the CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from broker_plugin.api import sequences_of
from model.bundle_store import shipped_bundles
from model.runtime import CUDA_TOLERANCE, load_scorer
from tests.simulated import simulated_objects

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


def test_cuda_agrees_with_the_cpu_and_repeats_itself() -> None:
    """Probabilities within CUDA_TOLERANCE of the CPU's; a second call, cached or not, repeats the bytes."""
    (path,) = [path for path in shipped_bundles() if "ztf" in path.name]
    sequences = [sequences_of(one.packets, bundle=path)[0] for one in simulated_objects("ztf", 20)]
    cpu, cuda = load_scorer(path), load_scorer(path, device="cuda")
    assert cuda.device == "cuda"
    first, again = cuda.score(sequences), cuda.score(sequences)
    uncached = load_scorer(path, device="cuda", cache_bytes=0).score(sequences)
    for a, b, c, d in zip(cpu.score(sequences), first, again, uncached, strict=True):
        assert np.abs(a.probabilities_K - b.probabilities_K).max() <= CUDA_TOLERANCE
        assert b.probabilities_K.tobytes() == c.probabilities_K.tobytes() == d.probabilities_K.tobytes()
