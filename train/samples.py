"""The samples of a training step and of a validation, each a function of (seed, step) or of the object alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.sequence import StampSequence
from schemas.view import ViewRule
from train.augment import drop_frames, turn
from train.dataset import DataSet
from train.recipe import Recipe
from train.triggers import random_length

Integers = NDArray[np.int64]
_SAMPLE: Final = 1
_HELD_OUT: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """sequences, their classes, weights, and the rows of the data set they are of."""

    sequences: list[StampSequence]
    labels: Integers
    weights: NDArray[np.float32]
    rows: Integers


class Sampler:
    """Draws samples of a data set under a recipe."""

    def __init__(self, data: DataSet, recipe: Recipe) -> None:
        self.data = data
        self.recipe = recipe
        self.rule: ViewRule = recipe.rule(data.grid_id)

    def training(self, rows: Integers, *, seed: int, step: int) -> Samples:
        """One augmented sample of each row at a random trigger; the same for the same seed and step."""
        random = np.random.default_rng([seed, _SAMPLE, step])
        sequences = [self._augmented(int(row), random) for row in rows]
        weights = self.data.rows["weight"][rows].astype(np.float32)
        return Samples(sequences, self.data.labels(rows), weights, rows)

    def lengths(self, row: int, count: int) -> list[int]:
        """``count`` random numbers of frames of a held-out object, the same whenever it is asked."""
        random = np.random.default_rng([_HELD_OUT, *self.data.object_id(row).encode()])
        longest = len(self.data.timeline(row, self.rule))
        return [random_length(longest, self.recipe.view.min_frames, random) for _ in range(count)]

    def held_out(self, row: int, num_frames: int) -> StampSequence:
        """A held-out object as it is, at its ``num_frames``-th frame."""
        return self.data.prefix(row, self.rule, num_frames)

    def _augmented(self, row: int, random: np.random.Generator) -> StampSequence:
        settings, min_frames = self.recipe.augmentation, self.recipe.view.min_frames
        line = self.data.timeline(row, self.rule)
        frames = line.view(random_length(len(line), min_frames, random))
        bands = {fact.first_offset: fact.band_id for fact in line.facts}
        chosen = np.array([bands[frame] for frame in frames.tolist()], np.int64)
        frames = drop_frames(frames, chosen, settings, min_frames=min_frames, random=random)
        return turn(self.data.take(row, frames), settings, random=random)
