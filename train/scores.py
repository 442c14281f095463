"""How good predictions are. Dimension letters: N samples, C classes, M probability bins. Arithmetic is float64."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.scores import CLASSES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NUM_CLASSES: Final = len(CLASSES)
NUM_BINS: Final = 10
SMALLEST: Final = 1e-12


def confusion(truth_N: Integers, predicted_N: Integers) -> Integers:
    """[C, C], rows the truth."""
    places = truth_N * NUM_CLASSES + predicted_N
    return np.bincount(places, minlength=NUM_CLASSES**2).reshape(NUM_CLASSES, NUM_CLASSES).astype(np.int64)


def f1_scores(confusion_CC: NDArray[np.number]) -> Floats:
    """F1 a class, over any leading dimensions; NaN for a class that no sample is of."""
    hits = np.diagonal(confusion_CC, axis1=-2, axis2=-1)
    support, named = confusion_CC.sum(axis=-1), confusion_CC.sum(axis=-2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(support > 0, 2.0 * hits / np.maximum(support + named, 1), np.nan)


def macro_f1(confusion_CC: NDArray[np.number]) -> Floats:
    """Mean F1 of the classes that have samples."""
    scores = f1_scores(confusion_CC)
    present = np.isfinite(scores)
    return np.asarray(np.where(present, scores, 0.0).sum(axis=-1) / np.maximum(present.sum(axis=-1), 1))


def log_losses(truth_N: Integers, probabilities_NC: Floats) -> Floats:
    """-ln of the probability of the true class, nat, each sample."""
    return np.asarray(-np.log(np.maximum(probabilities_NC[np.arange(len(truth_N)), truth_N], SMALLEST)))


def classwise_ece(truth_N: Integers, probabilities_NC: Floats) -> float:
    """Mean over the classes of |frequency - mean probability| of ten equal bins, weighted by their share of
    samples."""
    gaps = []
    for number in range(NUM_CLASSES):
        probability = probabilities_NC[:, number]
        places = np.minimum((probability * NUM_BINS).astype(np.int64), NUM_BINS - 1)
        excess = np.bincount(places, weights=(truth_N == number) - probability, minlength=NUM_BINS)
        gaps.append(np.abs(excess).sum() / len(truth_N))
    return float(np.mean(gaps))


def figures(truth_N: Integers, probabilities_NC: Floats) -> dict[str, Any]:
    """Accuracy, macro F1, log loss, Brier, class-wise ECE, and of each class recall, precision and number;
    JSON-ready, None where a class has no sample."""
    if not len(truth_N):
        return {"num_objects": 0}
    table = confusion(truth_N, probabilities_NC.argmax(axis=1))
    support, named, hits = table.sum(axis=1), table.sum(axis=0), np.diagonal(table)
    brier = np.square(probabilities_NC - np.eye(NUM_CLASSES)[truth_N]).sum(axis=1)
    return {
        "num_objects": len(truth_N),
        "accuracy": float(hits.sum() / len(truth_N)),
        "macro_f1": float(macro_f1(table)),
        "log_loss_nat": float(log_losses(truth_N, probabilities_NC).mean()),
        "brier": float(brier.mean()),
        "ece": classwise_ece(truth_N, probabilities_NC),
        "recall": {name: _ratio(hits[k], support[k]) for k, name in enumerate(CLASSES)},
        "precision": {name: _ratio(hits[k], named[k]) for k, name in enumerate(CLASSES)},
        "objects": {name: int(support[k]) for k, name in enumerate(CLASSES)},
        "confusion": table.tolist(),
    }


def _ratio(part: np.integer, whole: np.integer) -> float | None:
    return float(part / whole) if whole else None
