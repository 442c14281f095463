"""How fast an ensemble scores one new frame of known objects: ``python -m benchmarks.bench_ensemble [BUNDLE]``.

Prints objects a second for full sequences (nothing cached) and for one new frame (all older tokens cached), the bytes
an object's tokens take in the cache, and members one after the other against stacked by torch.func.vmap; last, one
line of JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state

from broker_plugin.api import sequences_of
from model.ensemble import Ensemble, build_members
from model.fixed_shapes import TOKENS_PER_CHUNK, sample_inputs
from model.runtime import Runtime, load_scorer
from model.token_cache import TokenCache
from train.simulator.objects import SetSettings
from train.simulator.production import observe
from train.simulator.survey_description import SURVEYS

FRAMES: Final = 31


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", nargs="?", default="convention-ztf-1.1")
    parser.add_argument("--objects", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    scorer = load_scorer(args.bundle, threads=args.threads)
    figures: dict[str, Any] = {"bundle": scorer.bundle_id, "threads": args.threads, "torch": torch.__version__}
    figures |= measure_scoring(scorer, num_objects=args.objects, repeats=args.repeats)
    figures |= measure_members(scorer, repeats=args.repeats)
    for name, value in figures.items():
        print(f"{name:<36}{value:.4g}" if isinstance(value, float) else f"{name:<36}{value}")
    print(json.dumps(figures))


def measure_scoring(scorer: Runtime, *, num_objects: int, repeats: int) -> dict[str, float]:
    """Objects a second, full and incremental, best of ``repeats``."""
    survey = scorer.bundle.spec.grid_id.partition("-")[0]
    settings = SetSettings(SURVEYS[survey], num_objects, seed=7, mix="equal")
    alerts = [[packet for _, packet in observe(settings, index)[1]][:FRAMES] for index in range(num_objects)]
    before = sequences_of([packet for of_object in alerts for packet in of_object[:-1]], bundle=scorer.bundle.folder)
    after = sequences_of([packet for of_object in alerts for packet in of_object], bundle=scorer.bundle.folder)
    scorer.score(before)
    scorer.score(after)  # every shape has been used and checked now
    full, one_frame = float("inf"), float("inf")
    for _ in range(repeats):
        scorer.cache = TokenCache(1 << 30)
        full = min(full, timed(lambda: scorer.score(before)))
        num_bytes = scorer.cache.num_bytes
        one_frame = min(one_frame, timed(lambda: scorer.score(after)))
    return {
        "frames_an_object": sum(map(len, after)) / len(after),
        "full_objects_per_s": num_objects / full,
        "one_new_frame_objects_per_s": num_objects / one_frame,
        "incremental_ratio": full / one_frame,
        "cache_bytes_an_object": num_bytes / num_objects,
    }


def measure_members(scorer: Runtime, *, repeats: int) -> dict[str, float]:
    """Encoding one chunk of tokens: members in a loop against stacked, seconds and ratio."""
    bundle, inputs = scorer.bundle, sample_inputs(TOKENS_PER_CHUNK, 1)
    loop = Ensemble(build_members(bundle.spec.network, bundle.states))
    members = [member.eval() for member in build_members(bundle.spec.network, bundle.states)]
    parameters, buffers = stack_module_state(members)
    skeleton = members[0]

    class Encoder(torch.nn.Module):
        """``encode_tokens`` as ``forward``, which is what functional_call calls."""

        def __init__(self) -> None:
            super().__init__()
            self.network = skeleton

        def forward(self) -> Tensor:
            return self.network.encode_tokens(inputs)

    encoder = Encoder()

    def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        named = {f"network.{name}": value for name, value in (parameters | buffers).items()}
        result: Tensor = functional_call(encoder, named, ())
        return result

    stacked = torch.vmap(one)
    with torch.inference_mode():
        loop.encode(inputs)
        stacked(parameters, buffers)
        loop_s = min(timed(lambda: loop.encode(inputs)) for _ in range(repeats))
        stacked_s = min(timed(lambda: stacked(parameters, buffers)) for _ in range(repeats))
    return {
        "loop_ms_a_chunk": 1e3 * loop_s,
        "stacked_ms_a_chunk": 1e3 * stacked_s,
        "stacked_ratio": stacked_s / loop_s,
    }


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
