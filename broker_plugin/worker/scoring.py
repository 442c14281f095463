"""What bundles say of sequences. A scorer that fails gets the batch by halves, down to one sequence, then it ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import structlog

from broker_plugin.store.triggers import LoadedBundle
from model.scores import Scorer, Scores
from schemas.classification import Classification, Status, build
from schemas.errors import InferenceError
from schemas.sequence import StampSequence

log = structlog.get_logger(__name__)


def classify_sequences(
    sequences: Sequence[StampSequence], bundles: Sequence[LoadedBundle], *, plugin_version: str
) -> list[Classification]:
    """What the bundle beside each sequence says of it, in order; those that are too short are not scored.

    InferenceError when a bundle cannot score even one sequence.
    """
    shortfalls = [b.eligibility.shortfall(sequence) for b, sequence in zip(bundles, sequences, strict=True)]
    scores: dict[int, Scores] = {}
    for bundle in {id(bundle): bundle for bundle in bundles}.values():
        places = [i for i, b in enumerate(bundles) if b is bundle and shortfalls[i] is None]
        scores |= zip(places, score_in_halves(bundle.scorer, [sequences[i] for i in places]), strict=True)
    found = []
    for place, (sequence, bundle, shortfall) in enumerate(zip(sequences, bundles, shortfalls, strict=True)):
        said = scores.get(place)
        reason = shortfall if said is None else said.abstain_reason
        scored = Status.CLASSIFIED if reason is None else Status.ABSTAINED
        found.append(
            build(
                sequence,
                status=Status.TOO_SHORT if said is None else scored,
                reason=reason,
                scores=said,
                bundle_id=bundle.scorer.bundle_id,
                plugin_version=plugin_version,
            )
        )
    return found


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
