"""Asking a scorer, and what happens when it fails: the batch is halved down to one sequence, then it is given up."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from model.scores import Scorer, Scores
from schemas.errors import InferenceError
from schemas.sequence import StampSequence

log = structlog.get_logger(__name__)


def score_in_halves(scorer: Scorer, sequences: Sequence[StampSequence]) -> list[Scores]:
    """One result a sequence. What does not fit in memory at once may fit by halves, and a sequence's result does
    not depend on the others; InferenceError when even one alone fails."""
    if not sequences:
        return []
    try:
        return _scored(scorer, sequences)
    # torch raises RuntimeError for whatever goes wrong on a device, its OutOfMemoryError included
    except (RuntimeError, MemoryError, ArithmeticError, ValueError) as error:
        if len(sequences) == 1:
            name = f"{sequences[0].survey}:{sequences[0].object_id}"
            raise InferenceError(
                f"bundle {scorer.bundle_id} cannot score {name} ({len(sequences[0])} frames) alone: {error!r}"
            ) from error
        log.warning(
            "scoring failed, halving", bundle=scorer.bundle_id, num_sequences=len(sequences), error=repr(error)
        )
    middle = len(sequences) // 2
    return score_in_halves(scorer, sequences[:middle]) + score_in_halves(scorer, sequences[middle:])


def _scored(scorer: Scorer, sequences: Sequence[StampSequence]) -> list[Scores]:
    results = scorer.score(sequences)
    if len(results) != len(sequences):
        raise ArithmeticError(f"{len(results)} results for {len(sequences)} sequences")
    for scores in results:
        if not (np.isfinite(scores.probabilities_K).all() and np.isfinite(scores.spread_K).all()):
            raise ArithmeticError("a probability or its spread is not finite")
    return results
