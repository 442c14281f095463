"""What an ensemble as deployed says of held-out objects, and its calibration from the calibration part alone.

Probabilities and features come from the runtime that the worker uses. Letters: K members, N samples, C classes, F
features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from model import registry
from model.bundle_spec import BundleSpec
from model.bundle_writer import draft_bundle
from model.calibration import fit_min_probability, fit_temperature, log_loss, member_probabilities, temperatures
from model.novelty import NoveltyModel, fit_max_novelty, fit_novelty
from model.runtime import build_runtime
from model.scores import CLASSES
from schemas.errors import SettingsError, TrainingError
from train.dataset import DataSet
from train.recipe import Calibration
from train.samples import Sampler

Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
CHUNK: Final = 64
CACHE_BYTES: Final = 64 << 20  # prefixes of one object, asked one after the other, share tokens
PRIOR_STEPS: Final = 21


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Of N samples: uncalibrated logits_KNC, pooled_KNF, frames_N, the row each is of."""

    logits_KNC: NDArray[np.float32]
    pooled_KNF: NDArray[np.float32]
    frames_N: Integers
    rows_N: Integers


def answers(
    spec: BundleSpec, states: Sequence[Mapping[str, Tensor]], sampler: Sampler, asked: Sequence[tuple[int, int]]
) -> Answers:
    """Of (row, number of frames) pairs, by the runtime itself; a chunk of sequences is in memory at a time."""
    runtime = build_runtime(draft_bundle(spec, states, blank_novelty(spec)), cache_bytes=CACHE_BYTES)
    features: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    frames: list[int] = []
    for start in range(0, len(asked), CHUNK):
        sequences = [sampler.held_out(row, length) for row, length in asked[start : start + CHUNK]]
        features += runtime.features(sequences)
        frames += map(len, sequences)
    logits, pooled = (np.stack(part, axis=1) for part in zip(*features, strict=True))
    return Answers(logits, pooled, np.array(frames, np.int64), np.array([row for row, _ in asked], np.int64))


def blank_novelty(spec: BundleSpec) -> NoveltyModel:
    """A stand-in for a novelty model that is not fitted yet."""
    size = registry.create(spec.network.name, **spec.network.config).pooled_size
    members = spec.num_members
    flat = np.ones((members, 1), np.float32)
    means, directions = np.zeros((members, len(CLASSES), size)), np.zeros((members, size, 1))
    return NoveltyModel(means.astype(np.float32), directions.astype(np.float32), flat, flat[:, 0])


def log_prior_shift(spec: BundleSpec) -> Floats:
    """What is added to the logits of a training on equally many of every class, for the prior that the bundle
    assumes, [C]."""
    return np.asarray(np.log(np.array(spec.class_prior) * len(CLASSES)))


def fit_prior_share(
    logits_KNC: NDArray[np.float32], truth_N: Integers, frames_N: Integers, log_shift_C: Floats
) -> float:
    """How much of ``log_shift_C`` to add to every member's logits: of 0, 0.05, ... 1 the share with the smallest log
    loss, each with its own single temperature."""
    losses = []
    shares = np.linspace(0.0, 1.0, PRIOR_STEPS)
    for share in shares:
        shifted = logits_KNC + share * log_shift_C
        fitted = fit_temperature(shifted, truth_N, frames_N, degree=0)
        mean = member_probabilities(shifted, temperatures(fitted, frames_N)).mean(axis=0)
        losses.append(log_loss(mean, truth_N))
    return float(shares[int(np.argmin(losses))])


def shift_output(state: Mapping[str, Tensor], shift_C: Floats) -> dict[str, Tensor]:
    """Weights whose logits are ``shift_C`` larger: every network ends in a linear layer named output."""
    bias = state["output.bias"]
    return {**state, "output.bias": bias + bias.new_tensor(shift_C.tolist())}


def calibrate(
    spec: BundleSpec, found: Answers, truth_N: Integers, groups_N: Integers, settings: Calibration
) -> tuple[BundleSpec, NoveltyModel]:
    """Temperature, abstention and novelty, for the mean of the members.

    The novelty model is fitted on half of the objects and its threshold on the other half, lest it be too sure of
    what it has seen; all samples of an object are on one side. TrainingError when a class has no calibration object
    there.
    """
    coefficients = fit_temperature(found.logits_KNC, truth_N, found.frames_N, degree=settings.temperature_degree)
    mean = member_probabilities(found.logits_KNC, temperatures(coefficients, found.frames_N)).mean(axis=0)
    fitted = _half(truth_N, groups_N)
    try:
        novelty = fit_novelty(found.pooled_KNF[:, fitted], truth_N[fitted], num_classes=len(CLASSES))
    except ValueError as error:
        raise TrainingError(f"calibration part of {len(set(groups_N.tolist()))} objects: {error}") from error
    scores = [novelty.score(found.pooled_KNF[:, row]) for row in np.flatnonzero(~fitted)]
    changes = {
        "calibration": {"log_temperature": coefficients},
        "thresholds": {
            "min_probability": fit_min_probability(mean, truth_N, accuracy=settings.accuracy),
            "max_novelty": fit_max_novelty(scores, quantile=settings.novelty_quantile),
        },
    }
    return BundleSpec.model_validate(spec.model_dump() | changes), novelty


def require_calibration(data: DataSet) -> None:
    """SettingsError, before anything is trained, unless the calibration part has an object of every class, and two of
    one: half of a class fits the novelty model, the rest its threshold."""
    counts = np.bincount(data.truth(data.calibration), minlength=len(CLASSES))
    if counts.min() == 0 or counts.max() < 2:
        said = ", ".join(f"{name} {count}" for name, count in zip(CLASSES, counts.tolist(), strict=True))
        raise SettingsError(
            f"the calibration part has too few objects with enough frames ({said}): it needs one of every class and "
            "two of one; a tenth of the objects comes there by their names, so give some tens of every class"
        )


def _half(truth_N: Integers, groups_N: Integers) -> NDArray[np.bool_]:
    """Every other object of each class."""
    chosen = np.zeros(len(truth_N), np.bool_)
    for label in np.unique(truth_N):
        own = np.unique(groups_N[truth_N == label])
        chosen |= np.isin(groups_N, own[::2]) & (truth_N == label)
    return chosen
