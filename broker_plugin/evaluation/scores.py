"""Metrics of one slice: N samples, at most one an object. scikit-learn computes what it has.

Dimension letters: N samples, K classes, M probability bins. The most probable class counts as the prediction whether
the ensemble abstained or not; what it would not say is in ``abstention`` and ``answered``.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from schemas.classification import CLASS_NAMES

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
NUM_CLASSES: Final = len(CLASS_NAMES)
NUM_PROBABILITY_BINS: Final = 10
# Smallest probability a logarithm sees: float64's epsilon, as in sklearn.metrics.log_loss.
SMALLEST_PROBABILITY: Final = float(np.finfo(np.float64).eps)
CURVE_POINTS: Final = 64


def slice_scores(truth_N: Integers, probabilities_NK: Floats, answered_N: NDArray[np.bool_]) -> dict[str, Any]:
    """Every closed-set metric of a slice; JSON-ready, None where a metric is undefined. ``num_objects`` may be 0."""
    num_samples = len(truth_N)
    if not num_samples:
        return {"num_objects": 0}
    predicted = probabilities_NK.argmax(axis=1)
    labels = np.arange(NUM_CLASSES)
    precision, recall, f1, support = metrics.precision_recall_fscore_support(
        truth_N, predicted, labels=labels, zero_division=0
    )
    present = support > 0
    named = np.bincount(predicted, minlength=NUM_CLASSES)
    classes = {
        name: {
            "support": int(support[k]),
            "precision": float(precision[k]) if named[k] else None,
            "recall": float(recall[k]) if support[k] else None,
            "f1": float(f1[k]) if support[k] else None,
            **_one_against_rest(truth_N == k, probabilities_NK[:, k]),
        }
        for k, name in enumerate(CLASS_NAMES)
    }
    return {
        "num_objects": num_samples,
        "accuracy": float(metrics.accuracy_score(truth_N, predicted)),
        "macro_f1": float(f1[present].mean()),
        "log_loss": float(sample_log_loss(truth_N, probabilities_NK).mean()),
        "brier": float(sample_brier(truth_N, probabilities_NK).mean()),
        "ece": classwise_ece(truth_N, probabilities_NK),
        "answered": _answered(truth_N, predicted, answered_N),
        "confusion": metrics.confusion_matrix(truth_N, predicted, labels=labels).tolist(),
        "classes": classes,
        "calibration": _reliability(predicted == truth_N, probabilities_NK.max(axis=1)),
        "abstention": abstention_curve(predicted == truth_N, probabilities_NK.max(axis=1)),
    }


def sample_log_loss(truth_N: Integers, probabilities_NK: Floats) -> Floats:
    """-ln of the probability given to the true class, each sample, nat."""
    given = probabilities_NK[np.arange(len(truth_N)), truth_N]
    return np.asarray(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)))


def sample_brier(truth_N: Integers, probabilities_NK: Floats) -> Floats:
    """Squared distance to the one-hot truth summed over the classes, each sample, 0..2 (Brier 1950)."""
    return np.asarray(((probabilities_NK - one_hot(truth_N)) ** 2).sum(axis=1))


def one_hot(truth_N: Integers) -> Floats:
    """[N, K], 1 at the true class."""
    return np.eye(NUM_CLASSES)[truth_N]


def probability_bin(probabilities: Floats) -> Integers:
    """Which of M equal bins of [0, 1] a probability falls in; 1 belongs to the last."""
    return np.minimum((probabilities * NUM_PROBABILITY_BINS).astype(np.int64), NUM_PROBABILITY_BINS - 1)


def classwise_ece(truth_N: Integers, probabilities_NK: Floats) -> float:
    """Class-wise expected calibration error: mean over the classes of the |frequency - mean probability| of M equal
    bins, weighted by their share of the samples (Kull et al. 2019, arXiv:1910.12656, section 2)."""
    errors = [
        sum(
            count * abs(frequency - confidence)
            for count, frequency, confidence in _bins(truth_N == k, probabilities_NK[:, k])
        )
        for k in range(NUM_CLASSES)
    ]
    return float(np.mean(errors) / len(truth_N))


def _bins(positive_N: NDArray[np.bool_], probability_N: Floats) -> list[tuple[int, float, float]]:
    """(count, frequency of positives, mean probability) of each bin that is not empty."""
    places = probability_bin(probability_N)
    counts = np.bincount(places, minlength=NUM_PROBABILITY_BINS)
    hits = np.bincount(places, weights=positive_N, minlength=NUM_PROBABILITY_BINS)
    sums = np.bincount(places, weights=probability_N, minlength=NUM_PROBABILITY_BINS)
    return [(int(n), float(hit / n), float(total / n)) for n, hit, total in zip(counts, hits, sums, strict=True) if n]


def _reliability(positive_N: NDArray[np.bool_], probability_N: Floats) -> list[dict[str, float]]:
    return [
        {"count": count, "frequency": frequency, "probability": probability}
        for count, frequency, probability in _bins(positive_N, probability_N)
    ]


def _one_against_rest(positive_N: NDArray[np.bool_], probability_N: Floats) -> dict[str, Any]:
    """ROC and precision-recall of one class, None when the slice has only one side."""
    result: dict[str, Any] = {
        "roc_auc": None,
        "average_precision": None,
        "roc": None,
        "pr": None,
        "calibration": _reliability(positive_N, probability_N),
    }
    if 0 < positive_N.sum() < len(positive_N):
        false_rate, true_rate, _ = metrics.roc_curve(positive_N, probability_N)
        precision, recall, _ = metrics.precision_recall_curve(positive_N, probability_N)
        result |= {
            "roc_auc": float(metrics.roc_auc_score(positive_N, probability_N)),
            "average_precision": float(metrics.average_precision_score(positive_N, probability_N)),
            "roc": thinned(false_rate, true_rate),
            "pr": thinned(recall[::-1], precision[::-1]),
        }
    return result


def thinned(x: Floats, y: Floats) -> dict[str, list[float]]:
    """At most CURVE_POINTS points of a curve, both ends kept."""
    kept = np.unique(np.linspace(0, len(x) - 1, min(len(x), CURVE_POINTS)).round().astype(np.int64))
    return {"x": x[kept].round(5).tolist(), "y": y[kept].round(5).tolist()}


def _answered(truth_N: Integers, predicted_N: Integers, answered_N: NDArray[np.bool_]) -> dict[str, Any]:
    """How much the ensemble answered, and how well."""
    right = (truth_N == predicted_N)[answered_N]
    return {"coverage": float(answered_N.mean()), "accuracy": float(right.mean()) if right.size else None}


def abstention_curve(right_N: NDArray[np.bool_], confidence_N: Floats) -> dict[str, list[float]]:
    """What abstaining below a confidence costs and buys: share answered, accuracy among them, the confidence.

    Samples of equal confidence are answered together. Coverage ascends.
    """
    order = np.argsort(-confidence_N, kind="stable")
    right, confidence = np.cumsum(right_N[order]), confidence_N[order]
    last_of_ties = np.flatnonzero(np.append(np.diff(confidence) != 0, True))
    kept = last_of_ties[
        np.unique(
            np.linspace(0, len(last_of_ties) - 1, min(len(last_of_ties), CURVE_POINTS)).round().astype(np.int64)
        )
    ]
    return {
        "coverage": ((kept + 1) / len(right_N)).round(5).tolist(),
        "accuracy": (right[kept] / (kept + 1)).round(5).tolist(),
        "threshold": confidence[kept].round(5).tolist(),
    }
