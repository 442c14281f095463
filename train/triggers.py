"""What a training sample is: an object's view at a random trigger, by the function that the worker uses."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from schemas.sequence import StampSequence
from schemas.view import FactKey, ViewRule, select_view
from train.simulator.sequence_set import SequenceSet

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """The frames of one object that a rule admits. facts: in time order, each first seen at its own number among all
    frames of the object, so that "seen up to frame i" is the view's ``at_offset=i``."""

    facts: tuple[FactKey, ...]
    rule: ViewRule

    def __len__(self) -> int:
        return len(self.facts)

    def view(self, num_frames: int) -> Integers:
        """Frame numbers that a trigger at the ``num_frames``-th admitted frame sees (1 the oldest)."""
        return self.view_at(self.facts[num_frames - 1].first_offset)

    def view_at(self, at_offset: int) -> Integers:
        """The same for a trigger at any frame number of the object, admitted or not."""
        view = select_view(self.facts, self.rule, at_offset=at_offset)
        return np.array([fact.first_offset for fact in view], np.int64)


def timeline(sequences: SequenceSet, index: int, rule: ViewRule) -> Timeline:
    """The frames of object ``index`` that ``rule`` admits."""
    facts = _facts(sequences.frames(index), rule.grid_id)
    return Timeline(tuple([fact for fact in facts if rule.admits(fact)]), rule)


def _facts(frames: NDArray[np.void], grid_id: str) -> list[FactKey]:
    digests, size = frames["digest"].tobytes(), frames["digest"].itemsize * frames["digest"][:1].size
    columns = zip(frames["source_id"].tolist(), frames["mjd"].tolist(), frames["band"].tolist(), strict=True)
    # one reading a source: a set keeps the best one, so the number of valid pixels decides nothing here
    return [
        FactKey(source_id.decode(), digests[number * size : (number + 1) * size], number, mjd, band, grid_id, 1)
        for number, (source_id, mjd, band) in enumerate(columns)
    ]


def random_length(longest: int, shortest: int, random: np.random.Generator) -> int:
    """Log-uniform from ``shortest`` to ``longest`` inclusive; ``longest`` where an object is shorter than that."""
    if longest <= shortest:
        return longest
    drawn = int(np.exp(random.uniform(np.log(shortest), np.log(longest + 1))))
    return min(max(drawn, shortest), longest)


def prefix(sequences: SequenceSet, index: int, rule: ViewRule, num_frames: int) -> StampSequence:
    """The view of a trigger at the object's ``num_frames``-th admitted frame (or its last, when there are fewer)."""
    line = timeline(sequences, index, rule)
    return sequences.take(index, line.view(min(num_frames, len(line))))
