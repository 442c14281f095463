"""Paired bootstrap of macro F1. Letters: R resamples, N objects. The same resamples serve all that is compared."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.scores import NUM_CLASSES, macro_f1

INTERVAL: Final = (2.5, 97.5)
CHUNK: Final = 200

Floats = NDArray[np.float64]


def draw_resamples(num_objects: int, num_resamples: int, random: np.random.Generator) -> NDArray[np.int64]:
    """How often each object is drawn in each resample, [R, N]."""
    counts_RN = np.zeros((num_resamples, num_objects), np.int64)
    for counts in counts_RN if num_objects else ():
        counts[:] = np.bincount(random.integers(num_objects, size=num_objects), minlength=num_objects)
    return counts_RN


def resampled_f1(
    counts_RN: NDArray[np.integer], truth_N: NDArray[np.int64], predicted_N: NDArray[np.int64]
) -> Floats:
    """Macro F1 of each resample, [R]."""
    places = np.eye(NUM_CLASSES**2)[truth_N * NUM_CLASSES + predicted_N]
    tables = np.concatenate(
        [counts_RN[start : start + CHUNK].astype(np.float64) @ places for start in range(0, len(counts_RN), CHUNK)]
    )
    return macro_f1(tables.reshape(-1, NUM_CLASSES, NUM_CLASSES))


def verdict(difference: float, drawn_R: Floats) -> dict[str, Any]:
    """The difference, its central 95%, and what may be said of it."""
    low, high = interval(drawn_R)
    word = "better" if low > 0 else "worse" if high < 0 else "undecided"
    return {"difference": difference, "interval": [low, high], "verdict": word}


def interval(values_R: Floats) -> tuple[float, float]:
    """The central 95%."""
    low, high = np.percentile(values_R, INTERVAL)
    return float(low), float(high)
