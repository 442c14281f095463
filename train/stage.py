"""One stage of one member: steps, validation, early stop, checkpoints.

What a step does is a function of (seed, step) and of the weights before it: order, triggers, augmentation and
dropout are drawn anew from both, so a run that is resumed from a checkpoint continues as if it had never stopped,
bit for bit on one machine with one number of threads.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batch import SequenceBatch, collate
from model.network import Network
from schemas.errors import SettingsError, TrainingError
from train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from train.clock import clock_of
from train.losses import focal_loss
from train.recipe import Optimiser
from train.samples import Sampler, Samples
from train.sampling import batches, epoch_rows
from train.scores import confusion, log_losses, macro_f1

Integers = NDArray[np.int64]
State = dict[str, Tensor]
CHECKPOINT_FILE: Final = "checkpoint.pt"
CURVES_FILE: Final = "curves.json"
VALIDATION_BATCH: Final = 32
_ORDER: Final = 3
_OLD: Final = 4
_HEAD: Final = ("hidden.", "output.")


class StopTraining(Exception):
    """Raised by a ``progress`` to end a run here; its checkpoint is written first, so that it goes on from this
    step."""


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a stage trains on and how.

    rows: its objects; old_rows: others of which ``old_share`` of an epoch is made; validation: rows that stop it.
    learning_rate: the highest. frozen_norm: normalisation statistics stay. frozen_backbone: only the head learns.
    start: weights to begin with. device: of torch.
    """

    rows: Integers
    validation: Integers
    steps: int
    learning_rate: float
    seed: int
    start: Mapping[str, Tensor]
    old_rows: Integers = field(default_factory=lambda: np.zeros(0, np.int64))
    old_share: float = 0.0
    frozen_norm: bool = False
    frozen_backbone: bool = False
    device: str = "cpu"


@dataclass(slots=True)
class Curves:
    """losses: of every step; validations: step, log_loss (mean of the classes' means, nat), macro_f1; seconds:
    spent, by ``train.clock``."""

    losses: list[float] = field(default_factory=list)
    validations: list[dict[str, float]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def best(self) -> int | None:
        """Place of the validation with the smallest log loss, None before the first."""
        values = [entry["log_loss"] for entry in self.validations]
        return int(np.argmin(values)) if values else None

    def as_json(self) -> dict[str, Any]:
        """For ``curves.json``."""
        return {"losses": self.losses, "validations": self.validations, "seconds": self.seconds, "best": self.best}


def train_stage(
    network: Network,
    sampler: Sampler,
    plan: Plan,
    settings: Optimiser,
    folder: Path,
    *,
    progress: Callable[[int, float], None],
) -> tuple[State, Curves]:
    """Train until the steps are used up or validation stops it; the weights of the best validation.

    A checkpoint in ``folder`` is continued. ``progress`` is told of each step and its loss. SettingsError when there
    are fewer objects than a batch, TrainingError when a loss or gradient is not finite.
    """
    return _StageRun(network, sampler, plan, settings, folder).run(progress)


class _StageRun:
    def __init__(self, network: Network, sampler: Sampler, plan: Plan, settings: Optimiser, folder: Path) -> None:
        self.network, self.sampler, self.plan, self.settings, self.folder = network, sampler, plan, settings, folder
        folder.mkdir(parents=True, exist_ok=True)
        network.load_state_dict(dict(plan.start))
        network.to(plan.device)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(not plan.frozen_backbone or name.startswith(_HEAD))
        learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
        self.optimiser = torch.optim.AdamW(
            learning, lr=plan.learning_rate, weight_decay=settings.weight_decay, amsgrad=True
        )
        self.curves = Curves()
        self.best: State = {}
        self.step = 0
        self.epoch_steps = len(self._epoch(0)) // settings.batch
        if self.epoch_steps == 0:
            raise SettingsError(
                f"{len(plan.rows)} objects to train on make no batch of {settings.batch}: give more objects or set "
                "optimiser.batch"
            )

    def run(self, progress: Callable[[int, float], None]) -> tuple[State, Curves]:
        """See ``train_stage``."""
        self._resume()
        clock = clock_of(self.plan.device)
        began = clock() - self.curves.seconds
        if not self._stopped():
            for step, samples, batch in self._batches():
                loss = self._train_step(step, samples, batch)
                self.step = step + 1
                self.curves.losses.append(loss)
                due = self.step % self.settings.validate_every == 0 or self.step == self.plan.steps
                if due:
                    self._validate()
                self.curves.seconds = clock() - began
                if due:
                    self._save()
                try:
                    progress(self.step, loss)
                except StopTraining:
                    self._save()
                    raise
                if self._stopped():
                    break
        return self.best, self.curves

    def _batches(self) -> Iterator[tuple[int, Samples, SequenceBatch]]:
        """The batches from the current step on, the next one made while this one trains."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            waiting: Future[tuple[Samples, SequenceBatch]] = pool.submit(self._batch, self.step)
            for step in range(self.step, self.plan.steps):
                samples, batch = waiting.result()
                if step + 1 < self.plan.steps:
                    waiting = pool.submit(self._batch, step + 1)
                yield step, samples, batch

    def _batch(self, step: int) -> tuple[Samples, SequenceBatch]:
        epoch, place = divmod(step, self.epoch_steps)
        rows = list(batches(self._epoch(epoch), self.settings.batch))[place]
        samples = self.sampler.training(rows, seed=self.plan.seed, step=step)
        return samples, collate(self.network, samples.sequences)

    def _epoch(self, epoch: int) -> Integers:
        data, plan = self.sampler.data, self.plan
        random = np.random.default_rng([plan.seed, _ORDER, epoch])
        rows = epoch_rows(plan.rows, data.labels(plan.rows), balance=self.settings.balance, random=random)
        if not plan.old_share or not len(plan.old_rows):
            return rows
        count = round(len(rows) * plan.old_share / (1.0 - plan.old_share))
        old = epoch_rows(
            plan.old_rows,
            data.labels(plan.old_rows),
            balance=self.settings.balance,
            random=np.random.default_rng([plan.seed, _OLD, epoch]),
        )
        return random.permutation(np.concatenate([rows, np.resize(old, count)]))

    def _train_step(self, step: int, samples: Samples, batch: SequenceBatch) -> float:
        plan, settings = self.plan, self.settings
        for group in self.optimiser.param_groups:
            group["lr"] = plan.learning_rate * rate(step, plan.steps, settings.warm_up_steps)
        _training_mode(self.network, frozen_norm=plan.frozen_norm)
        labels = torch.from_numpy(samples.labels).to(plan.device)
        weights = torch.from_numpy(samples.weights).to(plan.device)
        cuda = plan.device.startswith("cuda")
        with torch.random.fork_rng(devices=[0] if cuda else []):
            torch.manual_seed(int(np.random.default_rng([plan.seed, step]).integers(1 << 62)))
            with self._precision():
                logits = self.network(batch.to(plan.device)).logits_BK
            loss = focal_loss(logits, labels, weights, gamma=settings.focal_gamma)
            if not math.isfinite(loss.item()):
                raise self._not_finite("loss", step, samples)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        if not math.isfinite(float(norm)):
            raise self._not_finite("gradient", step, samples)
        self.optimiser.step()
        return loss.item()

    def _not_finite(self, what: str, step: int, samples: Samples) -> TrainingError:
        names = ", ".join(self.sampler.data.object_id(int(row)) for row in samples.rows)
        return TrainingError(f"{self.folder}: the {what} of step {step} is not finite; the batch: {names}")

    @torch.inference_mode()
    def _validate(self) -> None:
        self.network.eval()
        rows = self.plan.validation
        logits = np.concatenate([self._logits(part) for part in _parts(rows, VALIDATION_BATCH)])
        labels = self.sampler.data.labels(rows)
        probabilities = torch.from_numpy(logits).double().softmax(dim=1).numpy()
        losses = log_losses(labels, probabilities)
        by_class = [losses[labels == label].mean() for label in np.unique(labels)]
        score = float(macro_f1(confusion(labels, probabilities.argmax(axis=1))))
        entry = {"step": float(self.step), "log_loss": float(np.mean(by_class)), "macro_f1": score}
        self.curves.validations.append(entry)
        if self.curves.best == len(self.curves.validations) - 1 or not self.best:
            self.best = {name: value.detach().cpu().clone() for name, value in self.network.state_dict().items()}

    def _logits(self, rows: Integers) -> NDArray[np.float32]:
        sampler = self.sampler
        sequences = [sampler.held_out(row, length) for row, length in sampler.random_triggers(rows, 1)]
        batch = collate(self.network, sequences).to(self.plan.device)
        with self._precision():
            logits: NDArray[np.float32] = self.network(batch).logits_BK.float().cpu().numpy()
        return logits

    def _precision(self) -> torch.autocast:
        kind = torch.device(self.plan.device).type
        return torch.autocast(kind, torch.bfloat16, enabled=self.settings.precision == "bfloat16")

    def _stopped(self) -> bool:
        best = self.curves.best
        waited = 0 if best is None else len(self.curves.validations) - 1 - best
        return self.step >= self.plan.steps or waited >= self.settings.patience

    def _save(self) -> None:
        record = json.dumps(self.curves.as_json())
        state = self.network.state_dict()
        save_checkpoint(
            self.folder / CHECKPOINT_FILE,
            Checkpoint(self.step, state, self.optimiser.state_dict(), self.best, record),
        )
        (self.folder / CURVES_FILE).write_text(record + "\n", encoding="utf-8")

    def _resume(self) -> None:
        path = self.folder / CHECKPOINT_FILE
        if not path.exists():
            return
        found = load_checkpoint(path)
        self.network.load_state_dict(found.network)
        self.optimiser.load_state_dict(found.optimiser)
        self.step, self.best = found.step, found.best
        said = json.loads(found.curves)
        self.curves = Curves(said["losses"], said["validations"], said["seconds"])


def rate(step: int, steps: int, warm_up: int) -> float:
    """Share of the highest learning rate: linear up to it, then half a cosine to 0."""
    if step < warm_up:
        return (step + 1) / warm_up
    return float(0.5 * (1.0 + np.cos(np.pi * min(1.0, (step - warm_up) / max(1, steps - warm_up)))))


def _training_mode(network: Network, *, frozen_norm: bool) -> None:
    network.train()
    if frozen_norm:
        for module in network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()


def _parts(rows: Integers, size: int) -> list[Integers]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
