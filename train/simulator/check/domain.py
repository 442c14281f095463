"""``python -m train.simulator.check.domain PACKETS SET``: how well can a small network tell real stamps from
simulated?

The area under the ROC curve of a small convolutional network on single stamps (science and difference plane, arcsinh
of flux over noise, masks), five folds split by object, overall and by magnitude. 0.5: it cannot; 1: it always can.
No parameter of the simulation is fitted to it: the figure says how far from real stamps a bundle is trained.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor, nn

from schemas.archive.reader import ArchiveReader
from schemas.decode import PacketDecoder
from schemas.errors import PacketError, SchemaUnavailable
from schemas.observation import Observation
from schemas.outcome import Stamped
from schemas.sequence import StampSequence, build_sequence
from train.module_command import run_module
from train.simulator.sequence_set import SequenceSet
from train.simulator.spectra import njy_to_magnitude

NUM_FOLDS: Final = 5
FRAMES_AN_OBJECT: Final = 4
EPOCHS: Final = 12
BATCH: Final = 32
NUM_MAGNITUDE_BINS: Final = 3
LEAST_OF_EACH: Final = 20


@dataclass(frozen=True, slots=True, eq=False)
class Stamps:
    """inputs_NCHW: both planes and both masks; magnitude_N of the stated difference flux; object_N: names."""

    inputs_NCHW: NDArray[np.float32]
    magnitude_N: NDArray[np.float64]
    object_N: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.magnitude_N)


def stamps_of(sequences: Sequence[StampSequence], random: np.random.Generator) -> Stamps:
    """A few frames of each sequence, fully masked ones left out."""
    inputs, fluxes, names = [], [], []
    for sequence in sequences:
        usable = np.flatnonzero((sequence.noise_LP > 0).all(axis=1) & np.isfinite(sequence.diff_flux_njy_L))
        for frame in random.permutation(usable)[:FRAMES_AN_OBJECT]:
            planes = np.arcsinh(sequence.planes_LPHW[frame] / sequence.noise_LP[frame][:, None, None])
            inputs.append(np.concatenate([planes, sequence.valid_LPHW[frame]]).astype(np.float32))
            fluxes.append(abs(float(sequence.diff_flux_njy_L[frame])))
            names.append(sequence.object_id)
    return Stamps(np.stack(inputs), njy_to_magnitude(np.array(fluxes)), np.array(names))


def real_sequences(path: Path, survey: str) -> list[StampSequence]:
    """Sequences of one survey's objects in an archive of packets; damaged packets are left out."""
    decoder, found = PacketDecoder(), dict[str, dict[str, Observation]]()
    for packet in ArchiveReader([path], lambda damage: None):
        try:
            outcome = decoder.decode(packet.payload)
        except (PacketError, SchemaUnavailable):
            continue
        if isinstance(outcome, Stamped) and isinstance(outcome.fact, Observation) and outcome.fact.survey == survey:
            found.setdefault(outcome.fact.object_id, {})[outcome.fact.source_id] = outcome.fact
    sequences = []
    for object_id, facts in found.items():
        ordered = sorted(facts.values(), key=lambda fact: (fact.mjd, fact.source_id))
        digests = [fact.source_id.encode() for fact in ordered]
        sequences.append(build_sequence(survey, object_id, ordered[0].grid_id, ordered, digests, view_digest=""))
    return sequences


def network() -> nn.Module:
    """Three convolutions, mean and linear: 20 thousand parameters."""
    layers: list[nn.Module] = []
    channels = 4
    for width in (16, 32, 48):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.ReLU()]
        channels = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels, 1))


def scores(real: Stamps, simulated: Stamps, *, seed: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Out-of-fold scores of all stamps, real ones first, and which are real. Objects keep to one fold."""
    inputs = torch.from_numpy(np.concatenate([real.inputs_NCHW, simulated.inputs_NCHW]))
    is_real = np.arange(len(inputs)) < len(real)
    names = np.concatenate([real.object_N, simulated.object_N])
    objects, which = np.unique(names, return_inverse=True)
    fold_N = np.random.default_rng(seed).permutation(np.arange(len(objects)) % NUM_FOLDS)[which]
    result = np.zeros(len(inputs))
    for fold in range(NUM_FOLDS):
        torch.manual_seed(seed + fold)
        model = network()
        _fit(model, inputs[fold_N != fold], torch.from_numpy(is_real[fold_N != fold]).float())
        with torch.no_grad():
            result[fold_N == fold] = model.eval()(inputs[fold_N == fold])[:, 0].double().numpy()
    return result, is_real


def _fit(model: nn.Module, inputs: Tensor, labels: Tensor) -> None:
    weight = (1 - labels).sum() / labels.sum().clamp_min(1)
    loss_of = nn.BCEWithLogitsLoss(pos_weight=weight)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.05)
    model.train()
    for _ in range(EPOCHS):
        for batch in torch.split(torch.randperm(len(inputs)), BATCH):
            turned = torch.rot90(inputs[batch], int(torch.randint(4, ())), (2, 3))
            loss = loss_of(model(turned)[:, 0], labels[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()


@contextmanager
def one_thread() -> Iterator[None]:
    """So small a network gains nothing from threads, and on a busy machine loses minutes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def report(real: Stamps, simulated: Stamps, *, seed: int) -> list[tuple[str, int, int, float]]:
    """(range of magnitude, real stamps, simulated stamps, AUC): overall and in thirds of the real magnitudes."""
    from sklearn.metrics import roc_auc_score

    with one_thread():
        values, is_real = scores(real, simulated, seed=seed)
    magnitude = np.concatenate([real.magnitude_N, simulated.magnitude_N])
    edges = np.quantile(real.magnitude_N, np.linspace(0, 1, NUM_MAGNITUDE_BINS + 1))
    rows = [("all", len(real), len(simulated), float(roc_auc_score(is_real, values)))]
    for low, high in pairwise(edges):
        here = (magnitude >= low) & (magnitude <= high)
        counts = int((here & is_real).sum()), int((here & ~is_real).sum())
        enough = min(counts) >= LEAST_OF_EACH
        auc = float(roc_auc_score(is_real[here], values[here])) if enough else float("nan")
        rows.append((f"{low:.1f} to {high:.1f} mag", *counts, auc))
    return rows


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m train.simulator.check.domain", description=__doc__)
    parser.add_argument("packets", type=Path, help="real packets: a file or a folder")
    parser.add_argument("set", type=Path, help="sequences simulated in the natural form")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    sequences, random = SequenceSet(args.set), np.random.default_rng(args.seed)
    chosen = [index for index, split in enumerate(sequences.text("split")) if split != "novel"]
    simulated = stamps_of([sequences.sequence(index) for index in chosen], random)
    real = stamps_of(real_sequences(args.packets, str(sequences.about["survey"])), random)
    for name, num_real, num_simulated, auc in report(real, simulated, seed=args.seed):
        Console().print(f"{name:<20} {num_real:5d} real {num_simulated:5d} simulated   AUC {auc:.3f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(run_module(main))
