"""A scorer that tells the metrics of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from broker_plugin.telemetry.classify_metrics import ClassifyMetrics
from broker_plugin.telemetry.drift import drift_reference
from model.distributions import Counts
from model.runtime import Runtime
from model.scores import Eligibility, Scores
from schemas.sequence import StampSequence
from schemas.view import ViewRule

log = structlog.get_logger(__name__)


class MeasuredScorer:
    """Implements ``model.scores.Scorer`` around a runtime: chunk sizes, halved batches, token cache, drift.

    reference: what the bundle was trained on, if that is known.
    """

    def __init__(self, runtime: Runtime, metrics: ClassifyMetrics, *, reference: Counts | None = None) -> None:
        self._runtime = runtime
        self._reference = reference
        self._metrics = metrics
        self._hits = self._misses = 0

    @property
    def bundle_id(self) -> str:
        """As the runtime's."""
        return self._runtime.bundle_id

    @property
    def view_rule(self) -> ViewRule:
        """As the runtime's."""
        return self._runtime.view_rule

    @property
    def eligibility(self) -> Eligibility:
        """As the runtime's."""
        return self._runtime.eligibility

    @property
    def device(self) -> str:
        """As the runtime's."""
        return self._runtime.device

    def score(self, sequences: Sequence[StampSequence]) -> list[Scores]:
        """As the runtime's, errors included."""
        try:
            scores = self._runtime.score(sequences)
        except BaseException:
            if len(sequences) > 1:
                self._metrics.batch_retried()
            raise
        self._metrics.chunk(len(sequences))
        self._metrics.scored_by(self.bundle_id, self._reference, sequences, scores)
        cache = self._runtime.cache
        hits, misses = cache.num_hits - self._hits, cache.num_misses - self._misses
        self._hits, self._misses = cache.num_hits, cache.num_misses
        self._metrics.token_cache(self.bundle_id, hits=hits, misses=misses, size_bytes=cache.num_bytes)
        return scores


def measured(
    load: Callable[[Path], Runtime], metrics: ClassifyMetrics, *, requested: str, references: Path | None = None
) -> Callable[[Path], MeasuredScorer]:
    """``load``, with what it loads measured.

    requested: the device the settings ask for; references: a folder of what bundles were trained on, for those that
    do not say it themselves.
    """

    def load_measured(path: Path) -> MeasuredScorer:
        runtime = load(path)
        metrics.device(requested=requested, used=runtime.device)
        reference = drift_reference(runtime.bundle.spec, references)
        if reference is None:
            log.info("drift is not watched: the bundle has no reference", bundle=runtime.bundle_id)
        return MeasuredScorer(runtime, metrics, reference=reference)

    return load_measured
