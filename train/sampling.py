"""The order in which an epoch shows its objects: shuffled, and balanced by showing the rare classes again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


def epoch_rows(rows: Integers, labels: Integers, *, balance: bool, random: np.random.Generator) -> Integers:
    """``rows`` in random order, every row at least once.

    balance: a class with fewer rows than the largest is topped up with its own rows, each used once more before any
    is used a third time, until all classes have as many. ``labels`` are those of ``rows``, one each; only rows given
    can be returned, so a fold that is balanced cannot draw on another.
    """
    if len(rows) != len(labels):
        raise ValueError(f"{len(rows)} rows and {len(labels)} labels")
    if not balance or not len(rows):
        return random.permutation(rows)
    members = [rows[labels == label] for label in np.unique(labels)]
    largest = max(map(len, members))
    topped = [np.concatenate([random.permutation(own) for _ in range(-(-largest // len(own)))]) for own in members]
    return random.permutation(np.concatenate([order[:largest] for order in topped]))


def batches(rows: Integers, size: int) -> Iterator[Integers]:
    """Runs of ``size`` rows; a short rest is left for the next epoch."""
    for start in range(0, len(rows) - size + 1, size):
        yield rows[start : start + size]
