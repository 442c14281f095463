"""What an ensemble says of a sequence, and when it may be asked. The contract between model/ and its callers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.sequence import StampSequence
from schemas.view import ViewRule

CLASSES: Final[tuple[str, ...]] = ("AGN", "SNIa", "SNOther", "Variable")
LOW_CONFIDENCE: Final = "low_confidence"
NOVEL: Final = "novel"


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """One sequence's result.

    probabilities_K: float32, sums to 1, in the order of CLASSES; spread_K: float32, standard deviation over the
    members; mutual_information: nat; novelty: larger is stranger; abstain_reason: None, or why no class is given.
    """

    probabilities_K: NDArray[np.float32]
    spread_K: NDArray[np.float32]
    mutual_information: float
    novelty: float
    abstain_reason: str | None

    @property
    def predicted_class(self) -> str | None:
        """The most probable class, None when the ensemble abstains."""
        if self.abstain_reason is not None:
            return None
        return CLASSES[int(np.argmax(self.probabilities_K))]


@dataclass(frozen=True, slots=True)
class Eligibility:
    """When a sequence is long enough, a rule of the bundle."""

    min_frames: int = 1
    min_nights: int = 1
    min_bands: int = 1

    def shortfall(self, sequence: StampSequence) -> str | None:
        """None when the sequence may be scored, else the first rule it misses: ``frames``, ``nights``, ``bands``."""
        if len(sequence) < max(1, self.min_frames):
            return "frames"
        if sequence.num_nights < self.min_nights:
            return "nights"
        if len(np.unique(sequence.band_L)) < self.min_bands:
            return "bands"
        return None


class Scorer(Protocol):
    """A loaded bundle, ready to score. ``score`` is a pure function of each sequence: its bytes depend neither on
    the neighbours nor on the place in the list, nor on what is cached."""

    @property
    def bundle_id(self) -> str:
        """name + version + manifest hash."""

    @property
    def view_rule(self) -> ViewRule:
        """Which facts the bundle wants to see."""

    @property
    def eligibility(self) -> Eligibility:
        """When a sequence is long enough."""

    @property
    def device(self) -> str:
        """The device in use: ``cpu`` or ``cuda``."""

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        """One result a sequence, in order. Every sequence must be eligible."""
