"""A scorer without a network, and one that fails as a device does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np

from model.scores import CLASSES, LOW_CONFIDENCE, Eligibility, Scores
from schemas.bands import BAND_IDS
from schemas.sequence import StampSequence
from schemas.view import ViewRule

# Of 256 first bytes of a sequence's hash, those below abstain.
_ABSTAIN_BELOW = 32


def make_rule(
    grid_id: str = "ztf-1.01-32", *, bands: str = "gr", max_frames: int = 99, max_days: float = 400.0
) -> ViewRule:
    """A view rule of the given bands."""
    band_ids = frozenset(BAND_IDS[band] for band in bands)
    return ViewRule(max_frames=max_frames, max_days=max_days, band_ids=band_ids, grid_id=grid_id)


@dataclass(slots=True)
class HashScorer:
    """Scores are a hash of every array of the sequence, so that any byte that differs shows. Keeps the sizes of its
    calls in ``calls``."""

    bundle_id: str = "hash-1-00000000"
    view_rule: ViewRule = field(default_factory=make_rule)
    eligibility: Eligibility = field(default_factory=Eligibility)
    device: str = "cpu"
    calls: list[int] = field(default_factory=list)

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        """One result a sequence. ValueError for a sequence that is not eligible, as a contract check."""
        self.calls.append(len(sequences))
        return [self._score(sequence) for sequence in sequences]

    def _score(self, sequence: StampSequence) -> Scores:
        if self.eligibility.shortfall(sequence) is not None:
            raise ValueError(f"sequence of {len(sequence)} frames is too short to be scored")
        state = blake2b(self.bundle_id.encode(), digest_size=16)
        for array in (sequence.mjd_L, sequence.night_L, sequence.band_L, sequence.planes_LPHW, sequence.valid_LPHW):
            state.update(np.ascontiguousarray(array).tobytes())
        for array in (sequence.noise_LP, sequence.psf_fwhm_arcsec_L, sequence.diff_flux_njy_L):
            state.update(array.tobytes())
        state.update("\n".join((sequence.survey, sequence.object_id, *sequence.source_ids)).encode())
        raw = np.frombuffer(state.digest(), np.uint8).astype(np.float32)
        weights = raw[: len(CLASSES)] + 1
        return Scores(
            probabilities_K=(weights / weights.sum()).astype(np.float32),
            spread_K=(raw[4 : 4 + len(CLASSES)] / np.float32(1024)).astype(np.float32),
            mutual_information=float(raw[8] / 256),
            novelty=float(raw[9]),
            abstain_reason=LOW_CONFIDENCE if raw[10] < _ABSTAIN_BELOW else None,
        )


@dataclass(slots=True)
class FailingScorer(HashScorer):
    """Fails as a device does: calls of more than ``max_sequences`` never fit, and with ``fail_from`` every call from
    that number on (counted from 0) fails."""

    max_sequences: int = 1_000_000
    fail_from: int | None = None

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        """As HashScorer, or RuntimeError."""
        if self.fail_from is not None and len(self.calls) >= self.fail_from:
            self.calls.append(len(sequences))
            raise RuntimeError("device-side assert")
        if len(sequences) > self.max_sequences:
            self.calls.append(len(sequences))
            raise RuntimeError("out of memory")
        # no zero-argument super() in a dataclass with slots
        return HashScorer.score(self, sequences)
