"""What one object costs: ``python -m benchmarks.bench_model [--threads N] [--rounds N]``.

Side by side in one run, on the CPU, batches of 8 objects of 99 frames (three a night): ``convention_2023`` in the
direct form (benchmarks/reference_convention_2023.py: torch's own Conv3d and softmax, O(T^2), nothing cached), the
same network as it runs here, ``convention``; each as a full pass and as one new frame of a known object. The full
passes are the bare networks, where nothing is said; ``runtime`` and new frames go through the runtime, cache,
calibration and all. The forms take turns, and the median over the rounds is printed; beside it the share of the
matrix-product rate measured in the same run.

full_ratio, incremental_ratio: direct full pass over our full pass, and over our one new frame (convention_2023).
convention_ratio: our convention_2023 full pass over convention's. convention_incremental_ratio: convention with no
token cached over one new frame, both through the runtime. The last line is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.reference_convention_2023 import DirectConvention2023
from model import registry
from model.batch import collate
from model.bundle_spec import BundleSpec
from model.bundle_writer import draft_bundle
from model.convention_2023 import NJY_PER_NANOMAGGY, Convention2023
from model.cost import encoder_multiply_adds, multiply_adds, plain_sequence
from model.network import Network
from model.novelty import NoveltyModel
from model.runtime import Runtime, build_runtime
from model.scores import CLASSES
from schemas.sequence import StampSequence

BATCH: Final = 8
NUM_FRAMES: Final = 99
BANDS: Final = ("u", "g", "r", "i", "z")
NUM_TOKENS: Final = 33
# the published arrangement's multiply-adds: zero padding in time is multiplied too
DIRECT_MULTIPLY_ADDS: Final = 20.6e9
TARGETS: Final = {
    "full_ratio": 2.5,
    "incremental_ratio": 40.0,
    "convention_ratio": 6.0,
    "convention_incremental_ratio": 10.0,
}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    objects = [draw_sequence(seed) for seed in range(BATCH)]
    seconds = measure(forms(objects), rounds=args.rounds)
    print_figures(figures_of(seconds, args.threads))


def draw_sequence(seed: int) -> StampSequence:
    """99 frames of noise about a point source, three a night, seeded."""
    random = np.random.default_rng(seed)
    plain = plain_sequence(BANDS, num_frames=NUM_FRAMES)
    rows, columns = np.mgrid[:32, :32] - 15.5
    source = 500.0 * np.exp(-(rows**2 + columns**2) / 6.0)
    planes = random.normal(source, 100.0, plain.planes_LPHW.shape).astype(np.float32)
    digests = tuple(random.bytes(16) for _ in range(NUM_FRAMES))
    noise = np.full_like(plain.noise_LP, 100.0)
    return replace(plain, object_id=str(seed), planes_LPHW=planes, noise_LP=noise, digests=digests)


def forms(objects: list[StampSequence]) -> dict[str, Callable[[], object]]:
    """The calls to time. Each is of one batch, and each has been called once when this returns."""
    calls: dict[str, Callable[[], object]] = {"matmul": matmul_call()}
    for name in ("convention_2023", "convention"):
        network = create(name)
        if isinstance(network, Convention2023):
            calls["direct full"] = direct_call(network, objects)
        runtime = make_runtime(network)
        calls[f"{name} full"] = full_call(network, objects)
        calls[f"{name} runtime"] = runtime_call(runtime, objects, num_new=NUM_FRAMES)
        calls[f"{name} one frame"] = runtime_call(runtime, objects, num_new=1)
    for call in calls.values():
        call()
    return calls


def create(name: str) -> Network:
    """A seeded network of the five bands."""
    torch.manual_seed(11)
    return registry.create(name, bands=BANDS).eval()


def matmul_call(size: int = 1024) -> Callable[[], object]:
    """A square product of ``size``: what the machine reaches at its best."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    return lambda: left @ right


def direct_call(network: Convention2023, objects: list[StampSequence]) -> Callable[[], object]:
    """The direct form's full pass, from images and band ids in the published form."""
    direct = DirectConvention2023(network)
    stacked = np.stack([sequence.planes_LPHW[:, 0] for sequence in objects])
    images_BLHW = torch.from_numpy(stacked) / NJY_PER_NANOMAGGY
    bands_BL = torch.from_numpy(np.stack([sequence.band_L.astype(np.int64) - 1 for sequence in objects]))
    return lambda: direct(images_BLHW, bands_BL)


def full_call(network: Network, objects: list[StampSequence]) -> Callable[[], object]:
    """Our full pass over raw planes, every shape fixed as in the runtime. Fuses the network."""
    batch = collate(network, objects)
    network.fuse()

    def call() -> object:
        tokens_BTD = network.encode_tokens(batch.inputs)[batch.index_BT]
        return network.classify_tokens(tokens_BTD, batch.mask_BT, batch.days_BT)

    return call


def make_runtime(network: Network) -> Runtime:
    """A runtime of one member with the network's weights."""
    size = network.pooled_size
    novelty = NoveltyModel(
        np.zeros((1, len(CLASSES), size), np.float32),
        np.eye(size, 4, dtype=np.float32)[None],
        np.ones((1, 4), np.float32),
        np.ones(1, np.float32),
    )
    spec = BundleSpec.model_validate(
        {
            "name": "bench",
            "version": "1.0",
            "network": {"name": network.name, "config": network.config_dict()},
            "num_members": 1,
            "bands": BANDS,
            "grid_id": "plain",
            "class_prior": (0.25, 0.25, 0.25, 0.25),
            "calibration": {"log_temperature": (0.0, 0.0)},
            "notes": ("Random weights, for a benchmark.",),
        }
    )
    return build_runtime(draft_bundle(spec, [network.state_dict()], novelty))


def runtime_call(runtime: Runtime, objects: list[StampSequence], *, num_new: int) -> Callable[[], object]:
    """Score objects whose newest ``num_new`` frames are new at every call, and whose others are known."""
    runtime.score(objects)
    calls = itertools.count()

    def call() -> object:
        call_id = next(calls)
        renewed = []
        for one in objects:
            new = tuple(f"{one.object_id}/{num_new}/{call_id}/{frame}".encode() for frame in range(num_new))
            renewed.append(replace(one, digests=(*one.digests[:-num_new], *new)))
        return runtime.score(renewed)

    return call


@torch.inference_mode()
def measure(calls: dict[str, Callable[[], object]], *, rounds: int) -> dict[str, float]:
    """Median seconds of each call; the calls take turns, so that a slow spell of the machine meets them all."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def figures_of(seconds: dict[str, float], threads: int) -> dict[str, float | int | str]:
    """Milliseconds an object, ratios, and the share of the matrix-product rate of each form."""
    peak = 1024**3 / seconds["matmul"]
    figures: dict[str, float | int | str] = {
        "threads": threads,
        "batch": BATCH,
        "torch": torch.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "peak_gmac_per_s": peak / 1e9,
    }
    work = {"direct full": DIRECT_MULTIPLY_ADDS}
    for name in ("convention_2023", "convention"):
        network = registry.create(name, bands=BANDS)
        full, token = multiply_adds(network), encoder_multiply_adds(network)
        work |= {f"{name} full": full, f"{name} runtime": full}
        work[f"{name} one frame"] = full - (NUM_TOKENS - 1) * token
    for form, multiplies in work.items():
        key = form.replace(" ", "_")
        figures[f"{key}_ms"] = 1e3 * seconds[form] / BATCH
        figures[f"{key}_share_of_peak"] = multiplies * BATCH / seconds[form] / peak
    direct, ours, convention = (seconds[form] for form in ("direct full", "convention_2023 full", "convention full"))
    figures["full_ratio"] = direct / ours
    figures["incremental_ratio"] = direct / seconds["convention_2023 one frame"]
    figures["convention_ratio"] = ours / convention
    figures["convention_incremental_ratio"] = seconds["convention runtime"] / seconds["convention one frame"]
    return figures


def print_figures(figures: dict[str, float | int | str]) -> None:
    """A table of forms, one of ratios with what they are to reach, one line of JSON."""
    title = f"{figures['threads']} threads, torch {figures['torch']}, peak {figures['peak_gmac_per_s']:.0f} GMAC/s"
    table = Table(title=title, caption="share of peak: multiply-adds of the tap-wise form, whatever is saved of them")
    for heading in ("form", "ms an object", "share of peak"):
        table.add_column(heading, justify="left" if heading == "form" else "right")
    for key in [key.removesuffix("_ms") for key in figures if key.endswith("_ms")]:
        table.add_row(key, f"{figures[f'{key}_ms']:.2f}", f"{figures[f'{key}_share_of_peak']:.2f}")
    ratios = Table()
    for heading in ("ratio", "measured", "at least"):
        ratios.add_column(heading, justify="left" if heading == "ratio" else "right")
    for key, target in TARGETS.items():
        ratios.add_row(key, f"{figures[key]:.2f}", f"{target:.1f}")
    console = Console()
    console.print(table)
    console.print(ratios)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
