"""A large ensemble on long sequences: ``python -m benchmarks.bench_members [--device cuda] [--members 15]``.

Objects of 99 frames, three a night, through the runtime with ``--members`` full-size ``convention`` networks: nothing
cached, and one new frame of known objects. On CUDA the networks run in bfloat16, in CUDA graphs; what is asked of one
GPU is 333 objects a second with nothing cached. The last line is JSON, with hardware and versions.
"""

from __future__ import annotations

import argparse
import itertools
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import torch

from benchmarks.bench_model import BANDS, NUM_FRAMES, draw_sequence
from benchmarks.random_ensemble import random_ensemble
from model.bundle_writer import draft_bundle
from model.runtime import Runtime, build_runtime
from schemas.sequence import StampSequence

WANTED_PER_S: Final = 333.0


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--members", type=int, default=15)
    parser.add_argument("--objects", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    objects = [draw_sequence(seed) for seed in range(args.objects)]
    full_s = best(renewing(make_runtime(args.members, args.device, cache_bytes=0), objects, NUM_FRAMES), args.rounds)
    one_s = best(renewing(make_runtime(args.members, args.device, cache_bytes=1 << 31), objects, 1), args.rounds)
    figures: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or "cpu",
        "torch": torch.__version__,
        "threads": args.threads,
        "members": args.members,
        "frames": NUM_FRAMES,
        "full_objects_per_s": args.objects / full_s,
        "one_new_frame_objects_per_s": args.objects / one_s,
        "ratio": args.objects / full_s / WANTED_PER_S,
    }
    for key, value in figures.items():
        print(f"{key:<32}{value:.4g}" if isinstance(value, float) else f"{key:<32}{value}")
    print(json.dumps(figures))


def make_runtime(members: int, device: str, *, cache_bytes: int) -> Runtime:
    """An ensemble of full-size networks."""
    spec, states, novelty = random_ensemble(members, bands=BANDS, grid_id="plain")
    return build_runtime(draft_bundle(spec, states, novelty), device=device, cache_bytes=cache_bytes)


def renewing(runtime: Runtime, objects: list[StampSequence], num_new: int) -> Callable[[], object]:
    """Score objects whose newest ``num_new`` frames are new at every call."""
    runtime.score(objects)
    calls = itertools.count()

    def call() -> object:
        number = next(calls)
        renewed = []
        for one in objects:
            new = tuple(f"{one.object_id}/{number}/{frame}".encode() for frame in range(num_new))
            renewed.append(replace(one, digests=(*one.digests[:-num_new], *new)))
        return runtime.score(renewed)

    return call


def best(call: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest call, all of its work done."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()  # results come back as arrays: nothing is left running on a device
        seconds.append(time.perf_counter() - start)
    return min(seconds)


if __name__ == "__main__":
    main()
