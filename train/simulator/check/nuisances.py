"""The nuisance audit: can a classifier tell the class from what should say nothing of it?

Features are what a network sees beside the source: mask, bands, time gaps, noise, PSF width. Gradient boosting with
class weights, five folds, balanced accuracy with a bootstrap interval over objects: chance is a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.bands import BANDS
from schemas.classification import CLASS_NAMES
from schemas.sequence import PLANES, StampSequence
from train.simulator.objects import NOVEL_SPLIT
from train.simulator.sequence_set import SequenceSet

Array = NDArray[np.float64]

NUM_FOLDS: Final = 5
NUM_RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95
NO_FRAME: Final = -1.0
LEAST_OBJECTS: Final = 1000  # with fewer, an interval that holds chance may hold a leak too
LEAST_OF_A_CLASS: Final = 50
NATURAL: Final = "not held: alerts exist on detections only, so number and span of the frames tell the class"


@dataclass(frozen=True, slots=True, eq=False)
class Nuisances:
    """Of one object, [L] each but for the science mask's share. noise_L in nJy."""

    mjd_L: Array
    band_L: NDArray[np.integer]
    noise_L: Array
    psf_fwhm_arcsec_L: Array
    valid_share_L: Array


def of_sequence(sequence: StampSequence, *, plane: str | None = None) -> Nuisances:
    """What a sequence carries beside its source. plane: whose noise; by default the difference's where there is one.

    Noise that is measured on the border of a science image is also a measure of how far the host reaches, which is no
    nuisance; a difference image's border has no host in it.
    """
    if plane is None:
        plane = "difference" if (sequence.noise_LP[:, PLANES.index("difference")] > 0).any() else "science"
    return Nuisances(
        sequence.mjd_L,
        sequence.band_L,
        sequence.noise_LP[:, PLANES.index(plane)].astype(np.float64),
        sequence.psf_fwhm_arcsec_L.astype(np.float64),
        sequence.valid_LPHW[:, 0].mean(axis=(1, 2)),
    )


def features(nuisances: Nuisances) -> Array:
    """Numbers for the classifier."""
    days = nuisances.mjd_L - nuisances.mjd_L[0]
    nights = np.unique(np.floor(nuisances.mjd_L))
    gaps = np.diff(nights) if len(nights) > 1 else np.array([0.0])
    values = [float(len(days)), float(len(nights)), days[-1], gaps.mean(), gaps.std(), gaps.max(), gaps.min()]
    values += [nuisances.valid_share_L.mean(), nuisances.valid_share_L.min()]
    for number in range(1, len(BANDS) + 1):
        chosen = nuisances.band_L == number
        count = int(chosen.sum())
        noise, width = nuisances.noise_L[chosen], nuisances.psf_fwhm_arcsec_L[chosen]
        values.append(float(count))
        values += [noise.mean(), noise.std(), width.mean(), width.std()] if count else [NO_FRAME] * 4
    return np.array(values, np.float64)


@dataclass(frozen=True, slots=True)
class Audit:
    """balanced_accuracy with its 95% interval; chance is a quarter."""

    num_objects: int
    balanced_accuracy: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        """Whether the interval holds chance."""
        return self.low <= 1.0 / len(CLASS_NAMES) <= self.high


def too_few(class_names: Sequence[str]) -> str:
    """Why a set of objects of these classes is too small for an audit, "" when it is not."""
    counts = {name: list(class_names).count(name) for name in CLASS_NAMES}
    if len(class_names) >= LEAST_OBJECTS and min(counts.values()) >= LEAST_OF_A_CLASS:
        return ""
    said = ", ".join(f"{name} {count}" for name, count in counts.items())
    return (
        f"{len(class_names)} ({said}), an audit needs {LEAST_OBJECTS}, and {LEAST_OF_A_CLASS} of each class; "
        "simulate 2,000 with --mix equal"
    )


def audit(features_NF: Array, class_names: Sequence[str], *, seed: int = 0) -> Audit:
    """Cross-validated balanced accuracy of gradient boosting on the features; see ``too_few`` for its least size."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    labels = np.array([CLASS_NAMES.index(name) for name in class_names])
    model = HistGradientBoostingClassifier(
        max_iter=40, max_leaf_nodes=15, class_weight="balanced", random_state=seed, early_stopping=False
    )
    folds = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # so few rows gain nothing from threads, and on a busy machine lose much
        right = cross_val_predict(model, features_NF, labels, cv=folds) == labels
    random = np.random.default_rng(seed)
    resampled = []
    for _ in range(NUM_RESAMPLES):
        chosen = random.integers(len(labels), size=len(labels))
        resampled.append(_balanced(right[chosen], labels[chosen]))
    tail = 100.0 * (1.0 - CONFIDENCE) / 2.0
    low, high = np.percentile(resampled, (tail, 100.0 - tail))
    return Audit(len(labels), _balanced(right, labels), float(low), float(high))


def audit_set(sequences: SequenceSet, *, plane: str) -> Audit:
    """The audit of a set's objects of the four classes, with ``plane``'s noise; see ``set_too_small``."""
    names = sequences.text("true_class")
    chosen = _audited(sequences)
    parts = (of_sequence(sequences.sequence(index), plane=plane) for index in chosen)
    return audit(np.stack([features(part) for part in parts]), [names[index] for index in chosen])


def set_too_small(sequences: SequenceSet) -> str:
    """Why a set is too small for an audit, "" when it is not."""
    names = sequences.text("true_class")
    return too_few([names[index] for index in _audited(sequences)])


def is_natural(sequences: SequenceSet) -> bool:
    """Whether the simulator kept detections only."""
    return bool(_settings(sequences).get("form") == "natural")


def _settings(sequences: SequenceSet) -> dict[str, Any]:
    """The simulator's own; none for a set that was made otherwise."""
    said = sequences.about["made"].get("settings")
    return dict(said) if isinstance(said, dict) else {}


def audits(sources: Sequence[SequenceSet]) -> list[dict[str, Any]]:
    """What a card says of each simulated set: balanced accuracy of its nuisances with the 95% interval, chance, and a
    verdict, which a natural set has not. Noise is the last plane's: the difference's, where there is one. Sets that
    no simulator made are left out."""
    found = []
    for sequences in sources:
        settings = _settings(sequences)
        if not settings:
            continue
        entry = {name: settings.get(name) for name in ("survey", "form", "mix", "seed")}
        if fault := set_too_small(sequences):
            found.append(entry | {"verdict": f"too few objects to say: {fault}"})
            continue
        plane = sequences.about["planes"][-1]
        result = audit_set(sequences, plane=plane)
        verdict = NATURAL if is_natural(sequences) else "passed" if result.passed else "FAILED"
        found.append(
            entry
            | {
                "objects": result.num_objects,
                "noise_of": plane,
                "balanced_accuracy": result.balanced_accuracy,
                "low_95": result.low,
                "high_95": result.high,
                "chance": 1.0 / len(CLASS_NAMES),
                "verdict": verdict,
            }
        )
    return found


def _audited(sequences: SequenceSet) -> list[int]:
    return [index for index, split in enumerate(sequences.text("split")) if split != NOVEL_SPLIT]


def _balanced(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> float:
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))
