"""The samples of a training step and of a validation, each a function of (seed, step) or of the object alone."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.sequence import StampSequence
from schemas.view import ViewRule
from train.augment import drop_frames, turn
from train.dataset import DataSet
from train.inputs import shown
from train.recipe import Recipe
from train.triggers import random_length

Integers = NDArray[np.int64]
TIMELINES: Final = 2048  # kept, at 25 kB for 100 frames: making one is a tenth of a small network's training step
_SAMPLE: Final = 1
_HELD_OUT: Final = 2
_SHUFFLE: Final = 5


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """sequences, their classes, weights, and the rows of the data set they are of."""

    sequences: list[StampSequence]
    labels: Integers
    weights: NDArray[np.float32]
    rows: Integers


class Sampler:
    """Draws samples of a data set under a recipe.

    trigger_rule: held-out triggers are frames that this rule admits, by default the recipe's own; a network of fewer
    bands is so asked at the triggers of one of more bands, and sees what it can of the object up to there.
    """

    def __init__(self, data: DataSet, recipe: Recipe, *, trigger_rule: ViewRule | None = None) -> None:
        self.data = data
        self.recipe = recipe
        self.rule: ViewRule = recipe.rule(data.grid_id)
        self.trigger_rule = trigger_rule or self.rule
        self._timeline = lru_cache(maxsize=TIMELINES)(data.timeline)

    def training(self, rows: Integers, *, seed: int, step: int) -> Samples:
        """One augmented sample of each row at a random trigger; the same for the same seed and step."""
        random = np.random.default_rng([seed, _SAMPLE, step])
        sequences = [self._augmented(int(row), random) for row in rows]
        weights = self.data.rows["weight"][rows].astype(np.float32)
        return Samples(sequences, self.data.labels(rows), weights, rows)

    def lengths(self, row: int, count: int) -> list[int]:
        """``count`` random numbers of frames of a held-out object, the same whenever it is asked."""
        random = np.random.default_rng([_HELD_OUT, *self.data.object_id(row).encode()])
        longest = self.longest(row)
        return [random_length(longest, self.recipe.view.min_frames, random) for _ in range(count)]

    def random_triggers(self, rows: Integers, count: int) -> list[tuple[int, int]]:
        """``count`` random triggers of each held-out object, as (row, number of frames); see ``lengths``."""
        return [(int(row), length) for row in rows for length in self.lengths(int(row), count)]

    def held_out(self, row: int, num_frames: int) -> StampSequence:
        """A held-out object as it is, at its ``num_frames``-th frame."""
        random = np.random.default_rng([_SHUFFLE, *self.data.object_id(row).encode()])
        sequence = self.data.take(row, self.visible(row, num_frames))
        return shown(sequence, self.recipe.network.input, random=random)

    def longest(self, row: int) -> int:
        """Triggers that a held-out object has."""
        return len(self._timeline(row, self.trigger_rule))

    def visible(self, row: int, num_frames: int) -> Integers:
        """Frame numbers in the view of a held-out object's ``num_frames``-th trigger, or of its last one."""
        triggers = self._timeline(row, self.trigger_rule)
        at_offset = triggers.facts[min(num_frames, len(triggers)) - 1].first_offset
        own = triggers if self.trigger_rule == self.rule else self._timeline(row, self.rule)
        return own.view_at(at_offset)

    def _augmented(self, row: int, random: np.random.Generator) -> StampSequence:
        settings, min_frames = self.recipe.augmentation, self.recipe.view.min_frames
        line = self._timeline(row, self.rule)
        frames = line.view(random_length(len(line), min_frames, random))
        bands = {fact.first_offset: fact.band_id for fact in line.facts}
        chosen = np.array([bands[frame] for frame in frames.tolist()], np.int64)
        frames = drop_frames(frames, chosen, settings, min_frames=min_frames, random=random)
        turned = turn(self.data.take(row, frames), settings, random=random)
        return shown(turned, self.recipe.network.input, random=random)
