"""A training step of each network: ``python -m benchmarks.bench_training [--threads 1] [--rounds 5]``.

Sixteen sequences of 3 to 36 frames, spread evenly, as prefixes of an object are; forward, backward and the optimiser,
in the precision of the comparison. ``convention_2023`` also with every padding token encoded by itself, as its
formula has it. Processor seconds of the fastest of some rounds, all forms in turn; the last line is JSON.

padding_ratio: all padding tokens encoded over one encoded for all. padding_share: of tokens.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import Final

import numpy as np
import torch

from benchmarks.bench_model import BANDS, draw_sequence
from model import registry
from model.batch import SequenceBatch, collate
from model.network import Network
from train.clock import clock_of
from train.inputs import take_frames

MAX_FRAMES: Final = 36
BATCH: Final = 16
NETWORKS: Final = ("convention", "convention_2023", "cnn_gru", "cnn_lstm")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    calls: dict[str, Callable[[], object]] = {}
    padding_share = 0.0
    for name in NETWORKS:
        network, batch = _network(name)
        calls[name] = _step(network, batch, packed=True)
        if name == "convention_2023":
            calls["every_padding_token"] = _step(network, batch, packed=False)
            padding_share = float((~batch.inputs.frame_valid_GF.any(dim=1)).double().mean())
    seconds = _best(calls, args.rounds)
    figures: dict[str, float] = {"threads": args.threads, "padding_share": padding_share}
    figures |= {f"{name}_s": value for name, value in seconds.items()}
    figures["padding_ratio"] = seconds["every_padding_token"] / seconds["convention_2023"]
    for key, value in figures.items():
        print(f"{key:<28}{value:.4g}")
    print(json.dumps(figures))


def _network(name: str) -> tuple[Network, SequenceBatch]:
    torch.manual_seed(11)
    longest = {"max_frames": MAX_FRAMES} if name == "convention_2023" else {}
    network = registry.create(name, bands=BANDS, **longest).train()
    lengths = np.linspace(3, MAX_FRAMES, BATCH).round().astype(int)
    sequences = [take_frames(draw_sequence(seed), np.arange(length)) for seed, length in enumerate(lengths.tolist())]
    return network, collate(network, sequences)


def _step(network: Network, batch: SequenceBatch, *, packed: bool) -> Callable[[], object]:
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, amsgrad=True)
    truth_B = torch.arange(len(batch)) % 4
    half = network.name == "convention_2023"

    def call() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            tokens_GD = network.encode_tokens(batch.inputs, packed=packed)
            tokens_BTD = tokens_GD[batch.index_BT].masked_fill(~batch.mask_BT[..., None], 0.0)
            logits_BK = network.classify_tokens(tokens_BTD, batch.mask_BT, batch.days_BT).logits_BK
        loss = torch.nn.functional.cross_entropy(logits_BK.float(), truth_B)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()

    return call


def _best(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Of each call; the first round only warms up."""
    clock = clock_of("cpu")
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            began = clock()
            call()
            times[name].append(clock() - began)
    return {name: min(own[1:]) for name, own in times.items()}


if __name__ == "__main__":
    main()
