"""Bootstrap by object: intervals of a slice's metrics, and of the difference of two ensembles on the same objects.

One set of resamples is drawn for all objects and used by every slice, so that intervals of slices that share objects,
and a champion and its challenger, are resampled together. Every metric is a function of sums over the samples, hence
a resample is a product of a count matrix with the samples' features.

Dimension letters: B resamples, O objects, N samples of a slice, K classes, M probability bins, F features.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.scores import (
    NUM_CLASSES,
    NUM_PROBABILITY_BINS,
    one_hot,
    probability_bin,
    sample_brier,
    sample_log_loss,
)

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
METRICS: Final = ("accuracy", "macro_f1", "log_loss", "brier", "ece")
SMALLER_IS_BETTER: Final = frozenset({"log_loss", "brier", "ece"})
# Central interval of the resamples, in percent.
INTERVAL_PERCENT: Final = (2.5, 97.5)
# Resamples multiplied at once, which bounds the float64 copy of the counts.
CHUNK: Final = 64


def draw_resamples(num_objects: int, num_resamples: int, seed: int) -> NDArray[np.uint16]:
    """[B, O]: how often each object is drawn in each resample of O objects with replacement."""
    generator = np.random.default_rng(seed)
    counts = np.empty((num_resamples, num_objects), np.uint16)
    for row in counts:
        row[:] = np.bincount(generator.integers(num_objects, size=num_objects), minlength=num_objects)
    return counts


def features(truth_N: Integers, probabilities_NK: Floats) -> Floats:
    """[N, F]: 1, confusion K*K, log loss, Brier, and per class and bin (positives - probability), K*M.

    The class-wise ECE needs only that difference: count * |frequency - mean probability| = |sum(y - p)|.
    """
    num_samples = len(truth_N)
    rows = np.arange(num_samples)
    confusion = np.zeros((num_samples, NUM_CLASSES * NUM_CLASSES))
    confusion[rows, truth_N * NUM_CLASSES + probabilities_NK.argmax(axis=1)] = 1.0
    gap = np.zeros((num_samples, NUM_CLASSES, NUM_PROBABILITY_BINS))
    classes = np.arange(NUM_CLASSES)
    gap[rows[:, None], classes[None, :], probability_bin(probabilities_NK)] = one_hot(truth_N) - probabilities_NK
    losses = [sample_log_loss(truth_N, probabilities_NK)[:, None], sample_brier(truth_N, probabilities_NK)[:, None]]
    return np.concatenate([np.ones((num_samples, 1)), confusion, *losses, gap.reshape(num_samples, -1)], axis=1)


def metrics_of_sums(sums_BF: Floats) -> dict[str, Floats]:
    """METRICS, each [B], from summed features; NaN where a resample has no sample of the slice."""
    num_confusion = NUM_CLASSES * NUM_CLASSES
    total = np.where(sums_BF[:, 0] > 0, sums_BF[:, 0], np.nan)
    confusion = sums_BF[:, 1 : 1 + num_confusion].reshape(-1, NUM_CLASSES, NUM_CLASSES)
    hits = np.diagonal(confusion, axis1=1, axis2=2)
    support, named = confusion.sum(axis=2), confusion.sum(axis=1)
    present = support > 0
    f1 = np.where(present, 2.0 * hits / np.maximum(support + named, 1.0), 0.0)
    gaps = np.abs(sums_BF[:, 3 + num_confusion :]).sum(axis=1)
    return {
        "accuracy": hits.sum(axis=1) / total,
        "macro_f1": np.where(np.isnan(total), np.nan, f1.sum(axis=1) / np.maximum(present.sum(axis=1), 1)),
        "log_loss": sums_BF[:, 1 + num_confusion] / total,
        "brier": sums_BF[:, 2 + num_confusion] / total,
        "ece": gaps / NUM_CLASSES / total,
    }


def resampled_metrics(
    counts_BO: NDArray[np.uint16], object_N: Integers, truth_N: Integers, probabilities_NK: Floats
) -> dict[str, Floats]:
    """METRICS of a slice in every resample, each [B]. object_N: which column of the counts each sample belongs to."""
    features_NF = features(truth_N, probabilities_NK)
    sums = [
        counts_BO[start : start + CHUNK, object_N].astype(np.float64) @ features_NF
        for start in range(0, len(counts_BO), CHUNK)
    ]
    return metrics_of_sums(np.concatenate([np.empty((0, features_NF.shape[1])), *sums]))


def intervals(resampled: dict[str, Floats]) -> dict[str, list[float] | None]:
    """The central 95% of each metric's resamples, [low, high]; None when no resample has the metric."""
    result: dict[str, list[float] | None] = {}
    for name, values in resampled.items():
        finite = values[np.isfinite(values)]
        result[name] = np.percentile(finite, INTERVAL_PERCENT).tolist() if finite.size else None
    return result


def paired_difference(
    counts_BO: NDArray[np.uint16], object_N: Integers, truth_N: Integers, champion_NK: Floats, challenger_NK: Floats
) -> dict[str, dict[str, Any]]:
    """Challenger minus champion on the same objects: each metric of both, the difference, its central 95%, and the
    share of resamples in which the challenger is the better one (a tie counts half)."""
    everyone = np.ones((1, len(truth_N)), np.uint16)
    places = np.arange(len(truth_N))
    points = [resampled_metrics(everyone, places, truth_N, p) for p in (champion_NK, challenger_NK)]
    spread = [resampled_metrics(counts_BO, object_N, truth_N, p) for p in (champion_NK, challenger_NK)]
    result: dict[str, dict[str, Any]] = {}
    for name in METRICS:
        difference = spread[1][name] - spread[0][name]
        difference = difference[np.isfinite(difference)]
        better = -difference if name in SMALLER_IS_BETTER else difference
        result[name] = {
            "champion": float(points[0][name][0]),
            "challenger": float(points[1][name][0]),
            "difference": float(points[1][name][0] - points[0][name][0]),
            "interval": np.percentile(difference, INTERVAL_PERCENT).tolist() if difference.size else None,
            "challenger_better": float((better > 0).mean() + 0.5 * (better == 0).mean()) if difference.size else None,
        }
    return result
