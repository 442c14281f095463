"""What a bundle's scored sequences look like, in counts over fixed bins: compared with training it tells drift.

Each quantity is of one scored sequence. Those of the image are of its newest frame only: a trigger brings one new
frame, and the older ones were counted when they were new.

Two sets of counts are compared by the population stability index, sum_i (p_i - q_i) ln(p_i / q_i) over the bins: 0
for equal shares; by custom below 0.1 is no change, above 0.25 one that matters (Siddiqi 2006).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from model.scores import CLASSES, Scores
from schemas.bands import BANDS
from schemas.errors import BundleError
from schemas.sequence import StampSequence

FloatArray = NDArray[np.float64]


class Quantity(StrEnum):
    """What is counted of a scored sequence."""

    PROBABILITY = "probability"  # of the most probable class
    PREDICTED = "class"  # the most probable class, abstained or not
    NOVELTY = "novelty"
    SNR = "snr"  # |difference flux| over its error, newest frame
    BAND = "band"  # of the newest frame
    MASKED = "masked"  # share of masked pixels of the newest frame, both planes


# a value equal to an edge belongs below it; what is not finite goes to a bin of its own, the last
EDGES: Final[Mapping[Quantity, tuple[float, ...]]] = {
    Quantity.PROBABILITY: (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99),
    Quantity.NOVELTY: (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0),
    Quantity.SNR: (3.0, 5.0, 7.0, 10.0, 15.0, 20.0, 30.0, 50.0, 100.0),
    Quantity.MASKED: (0.0, 0.01, 0.05, 0.2, 0.5, 0.99),
}
NUM_BINS: Final[Mapping[Quantity, int]] = {quantity: len(edges) + 2 for quantity, edges in EDGES.items()} | {
    Quantity.PREDICTED: len(CLASSES),
    Quantity.BAND: len(BANDS),
}
Counts = dict[Quantity, FloatArray]


def measure(sequences: Sequence[StampSequence], scores: Sequence[Scores]) -> dict[Quantity, FloatArray]:
    """Each quantity of each sequence, float64 [N]: classes by their place in CLASSES, bands from 0 for u; NaN where a
    frame states no flux or a bundle has no novelty. Every sequence must have a frame."""
    newest = [(s.diff_flux_njy_L[-1], s.diff_flux_err_njy_L[-1]) for s in sequences]
    flux, error = np.array(newest, np.float64).reshape(-1, 2).T
    probabilities = np.array([s.probabilities_K for s in scores], np.float64).reshape(-1, len(CLASSES))
    return {
        Quantity.PROBABILITY: probabilities.max(axis=1),
        Quantity.PREDICTED: probabilities.argmax(axis=1).astype(np.float64),
        Quantity.NOVELTY: np.array([s.novelty for s in scores], np.float64),
        Quantity.SNR: np.divide(np.abs(flux), error, out=np.full_like(flux, np.nan), where=error > 0),
        Quantity.BAND: np.array([s.band_L[-1] - 1.0 for s in sequences], np.float64),
        Quantity.MASKED: np.array([1.0 - s.valid_LPHW[-1].mean() for s in sequences], np.float64),
    }


def count(measured: Mapping[Quantity, FloatArray]) -> Counts:
    """Counts over the bins of each quantity."""
    return {q: np.bincount(_bins(q, values), minlength=NUM_BINS[q]).astype(float) for q, values in measured.items()}


def stability_index(reference: ArrayLike, counts: ArrayLike) -> float:
    """The population stability index of two sets of counts over the same bins, 0 or more; half a count is added to
    each bin, so that an empty one is unlikely, not impossible. NaN when either set is empty."""
    pair = np.stack([np.asarray(reference, np.float64), np.asarray(counts, np.float64)])
    if not np.all(pair.sum(axis=1) > 0):
        return float("nan")
    expected, found = (pair + 0.5) / (pair + 0.5).sum(axis=1, keepdims=True)
    return float(np.sum((found - expected) * np.log(found / expected)))


def to_json(counts: Counts) -> dict[str, list[int]]:
    """As stored in a bundle or a file of its own."""
    return {quantity.value: [int(n) for n in counts[quantity]] for quantity in Quantity}


def from_json(value: Any, *, where: str) -> Counts:
    """Inverse of ``to_json``; BundleError, naming ``where``, when a quantity or a bin is missing or foreign."""
    if not isinstance(value, dict) or set(value) != {quantity.value for quantity in Quantity}:
        raise BundleError(f"{where}: distributions check: expected the quantities {', '.join(Quantity)}")
    counts: Counts = {}
    for quantity in Quantity:
        numbers = value[quantity.value]
        if not isinstance(numbers, list | tuple) or not all(type(n) is int and n >= 0 for n in numbers):
            raise BundleError(f"{where}: distributions check: {quantity} is not a list of counts")
        if len(numbers) != NUM_BINS[quantity]:
            raise BundleError(
                f"{where}: distributions check: {quantity} has {len(numbers)} bins, expected {NUM_BINS[quantity]}: "
                "it was made by another version"
            )
        counts[quantity] = np.array(numbers, np.float64)
    return counts


def _bins(quantity: Quantity, values_N: FloatArray) -> NDArray[np.int64]:
    edges = EDGES.get(quantity)
    if edges is None:
        return values_N.astype(np.int64)
    places = np.searchsorted(edges, values_N, side="left")
    return np.where(np.isfinite(values_N), places, len(edges) + 1)
