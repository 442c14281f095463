"""Makes the reference bundles: ``python -m train.reference SURVEY FOLDER``. Seeded; minutes on two cores.

A reference bundle is a small honest ensemble trained on a toy population (``train.reference_population``): what the
demonstration and the tests run on, and no scientific claim. Objects are split once into training, calibration and
test; thresholds are fitted on the calibration objects, the figures on the card come from test objects.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model import distributions, registry
from model.batch import collate
from model.bundle_spec import BundleSpec
from model.bundle_writer import draft_bundle, save_bundle
from model.calibration import (
    fit_min_probability,
    fit_temperature,
    log_loss,
    member_probabilities,
    temperatures,
)
from model.novelty import NoveltyModel, fit_max_novelty, fit_novelty
from model.runtime import build_runtime
from model.scores import CLASSES
from schemas.sequence import StampSequence
from train.reference_population import SURVEYS, ToyObject, draw_object

NOTES: Final = (
    "Trained on a simulated toy population: for demonstration and tests, no scientific claim.",
    "Its probabilities say nothing of real objects; a real alert is outside what it was trained on.",
    "Do not publish its classifications.",
)
MIN_FRAMES: Final = 3
TARGET_ACCURACY: Final = 0.9
# 272,148 parameters: a bundle of three members in float16 stays below 2 MB
SMALL_CONFIG: Final[dict[str, Any]] = {
    "stem_channels": [24, 40, 48],
    "fused_channels": 64,
    "token_channels": 48,
    "pooled_size": 96,
}
_LEARNING_RATE: Final = 1.2e-3
_WARM_UP_STEPS: Final = 50

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How much of everything. config: of the network; seed: of the population, members add their index."""

    network: str = "convention"
    config: dict[str, Any] = field(default_factory=lambda: dict(SMALL_CONFIG))
    num_members: int = 3
    num_train: int = 3000
    num_calibration: int = 600
    num_test: int = 600
    max_frames: int = 36
    steps: int = 600
    batch: int = 16
    seed: int = 20230401


def make_bundle(survey_name: str, folder: Path, recipe: Recipe, *, say: Say) -> str:
    """Draw, train, calibrate, measure, write; returns the bundle id."""
    survey = SURVEYS[survey_name]
    recipe = replace(recipe, config={**recipe.config, "bands": list(survey.bands)})
    counts = (recipe.num_train, recipe.num_calibration, recipe.num_test)
    draw = partial(draw_object, survey, seed=recipe.seed, max_frames=recipe.max_frames, min_frames=MIN_FRAMES)
    objects = [draw(index=index) for index in range(sum(counts))]
    train, rest = objects[: counts[0]], objects[counts[0] :]
    calibration, test = rest[: counts[1]], rest[counts[1] :]
    started = time.monotonic()
    states = [train_member(recipe, train, recipe.seed + member, say=say) for member in range(recipe.num_members)]
    minutes = (time.monotonic() - started) / 60
    spec = BundleSpec.model_validate(
        {
            "name": f"reference-{survey_name}",
            "version": "1.0",
            "network": {"name": recipe.network, "config": recipe.config},
            "num_members": recipe.num_members,
            "bands": tuple(survey.bands),
            "grid_id": survey.grid_id,
            "class_prior": (0.25,) * len(CLASSES),
            "eligibility": {"min_frames": MIN_FRAMES},
            "training": {
                "population": "train.reference_population, seeded toy objects, split by object",
                "objects": {"training": counts[0], "calibration": counts[1], "test": counts[2]},
                "steps_a_member": recipe.steps,
                "sequences_a_step": recipe.batch,
                "frames_at_most": recipe.max_frames,
                "seed": recipe.seed,
                "threads": torch.get_num_threads(),
                "torch": torch.__version__,
                "command": f"python -m train.reference {survey_name} FOLDER",
            },
            "notes": NOTES,
        }
    )
    spec, novelty = calibrate(spec, states, calibration, seed=recipe.seed)
    spec = spec.model_copy(update=measure(spec, states, novelty, test, seed=recipe.seed))
    say(f"trained in {minutes:.1f} minutes: {json.dumps(spec.metrics)}")
    golden = [
        entry.cut(0, min(len(entry.observations), frames)) for entry, frames in zip(test, (3, 8, 14), strict=False)
    ]
    return save_bundle(folder, spec, states, novelty, golden)


def train_member(recipe: Recipe, objects: Sequence[ToyObject], seed: int, *, say: Say) -> dict[str, Tensor]:
    """One network from its seed: AdamW (amsgrad), warm-up and cosine, cross-entropy, random triggers."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = registry.create(recipe.network, **recipe.config).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=0.1, amsgrad=True)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, partial(_rate, recipe.steps))
    running = 0.0
    for step in range(1, recipe.steps + 1):
        chosen = [objects[int(index)] for index in random.integers(len(objects), size=recipe.batch)]
        sequences = [random_trigger(entry, random) for entry in chosen]
        labels = torch.tensor([entry.label for entry in chosen])
        loss = nn.functional.cross_entropy(network(collate(network, sequences)).logits_BK, labels)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(network.parameters(), 5.0, error_if_nonfinite=True)
        optimiser.step()
        schedule.step()
        running += (loss.item() - running) / min(step, 100)
        if step % 100 == 0:
            say(f"seed {seed} step {step}/{recipe.steps}: loss {running:.3f}, gradient {float(norm):.2f}")
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def random_trigger(entry: ToyObject, random: np.random.Generator) -> StampSequence:
    """A prefix of log-uniform length from MIN_FRAMES to all frames: what a worker sees as an object grows."""
    longest = len(entry.observations)
    length = int(np.exp(random.uniform(np.log(MIN_FRAMES), np.log(longest + 1))))
    return entry.cut(0, min(max(length, MIN_FRAMES), longest))


def calibrate(
    spec: BundleSpec, states: Sequence[dict[str, Tensor]], objects: Sequence[ToyObject], *, seed: int
) -> tuple[BundleSpec, NoveltyModel]:
    """Temperature, abstention and novelty, for the ensemble as it is deployed. The novelty model is fitted on the
    even objects and its threshold on the odd ones, lest it be too sure of what it has seen."""
    random = np.random.default_rng([seed, 1])
    sequences = [random_trigger(entry, random) for entry in objects]
    labels = np.array([entry.label for entry in objects])
    logits, pooled = ensemble_features(spec, states, sequences)
    frames = np.array([len(sequence) for sequence in sequences])
    coefficients = fit_temperature(logits, labels, frames)
    probabilities = member_probabilities(logits, temperatures(coefficients, frames)).mean(axis=0)
    fitted = np.arange(len(objects)) // len(CLASSES) % 2 == 0
    novelty = fit_novelty(pooled[:, fitted], labels[fitted], num_classes=len(CLASSES))
    scores = [novelty.score(pooled[:, row]) for row in np.flatnonzero(~fitted)]
    changes = {
        "calibration": {"log_temperature": coefficients},
        "thresholds": {
            "min_probability": fit_min_probability(probabilities, labels, accuracy=TARGET_ACCURACY),
            "max_novelty": fit_max_novelty(scores),
        },
    }
    return BundleSpec.model_validate(spec.model_dump() | changes), novelty


def ensemble_features(
    spec: BundleSpec, states: Sequence[dict[str, Tensor]], sequences: Sequence[StampSequence]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Logits [K, N, C] and pooled features [K, N, F] by the runtime itself."""
    size = registry.create(spec.network.name, **spec.network.config).pooled_size
    flat = np.ones((len(states), 1), np.float32)
    blank = NoveltyModel(
        np.zeros((len(states), len(CLASSES), size), np.float32),
        np.zeros((len(states), size, 1), np.float32),
        flat,
        flat[:, 0],
    )
    features = build_runtime(draft_bundle(spec, states, blank), cache_bytes=0).features(sequences)
    logits, pooled = (np.stack(part, axis=1) for part in zip(*features, strict=True))
    return logits, pooled


def measure(
    spec: BundleSpec,
    states: Sequence[dict[str, Tensor]],
    novelty: NoveltyModel,
    objects: Sequence[ToyObject],
    *,
    seed: int,
) -> dict[str, Any]:
    """``metrics`` and ``distributions`` of the spec, on test objects, each at one random trigger."""
    random = np.random.default_rng([seed, 2])
    sequences = [random_trigger(entry, random) for entry in objects]
    labels = np.array([entry.label for entry in objects])
    frames = np.array([len(sequence) for sequence in sequences])
    results = build_runtime(draft_bundle(spec, states, novelty), cache_bytes=0).score(sequences)
    probabilities = np.stack([result.probabilities_K for result in results]).astype(np.float64)
    right = probabilities.argmax(axis=1) == labels
    answered = np.array([result.abstain_reason is None for result in results])
    recall = {name: float(right[labels == index].mean()) for index, name in enumerate(CLASSES)}
    metrics = {
        "held_out_objects": len(objects),
        "accuracy": float(right.mean()),
        "log_loss_nat": log_loss(probabilities, labels),
        "recall": recall,
        "accuracy_up_to_8_frames": _share(right[frames <= 8]),
        "accuracy_beyond_8_frames": _share(right[frames > 8]),
        "share_answered": float(answered.mean()),
        "accuracy_of_answers": _share(right[answered]),
    }
    counts = distributions.count(distributions.measure(sequences, results))
    return {"metrics": metrics, "distributions": distributions.to_json(counts)}


def _share(right_N: NDArray[np.bool_]) -> float | None:
    return float(right_N.mean()) if len(right_N) else None


def _rate(steps: int, step: int) -> float:
    if step < _WARM_UP_STEPS:
        return (step + 1) / _WARM_UP_STEPS
    return float(0.5 * (1.0 + np.cos(np.pi * min(1.0, (step - _WARM_UP_STEPS) / max(1, steps - _WARM_UP_STEPS)))))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m train.reference", description=__doc__)
    parser.add_argument("survey", choices=sorted(SURVEYS))
    parser.add_argument("folder", type=Path, help="the bundle to write; must not exist")
    for name in ("num_members", "num_train", "num_calibration", "num_test", "max_frames", "steps", "batch", "seed"):
        default = Recipe.__dataclass_fields__[name].default
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--threads", type=int, default=1)
    values = vars(parser.parse_args(arguments))
    survey, folder = values.pop("survey"), values.pop("folder")
    torch.set_num_threads(values.pop("threads"))
    recipe = Recipe(**values)
    print(make_bundle(survey, folder, recipe, say=partial(print, file=sys.stderr, flush=True)))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
