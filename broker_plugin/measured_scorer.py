"""A scorer that tells the metrics of its calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from broker_plugin.classify_metrics import ClassifyMetrics
from model.runtime import Runtime
from model.scores import Eligibility, Scores
from schemas.sequence import StampSequence
from schemas.view import ViewRule


class MeasuredScorer:
    """Implements ``model.scores.Scorer`` around a runtime: chunk sizes, halved batches, token cache."""

    def __init__(self, runtime: Runtime, metrics: ClassifyMetrics) -> None:
        self._runtime = runtime
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
        cache = self._runtime.cache
        hits, misses = cache.num_hits - self._hits, cache.num_misses - self._misses
        self._hits, self._misses = cache.num_hits, cache.num_misses
        self._metrics.token_cache(self.bundle_id, hits=hits, misses=misses, size_bytes=cache.num_bytes)
        return scores


def measured(
    load: Callable[[Path], Runtime], metrics: ClassifyMetrics, *, requested: str
) -> Callable[[Path], MeasuredScorer]:
    """``load``, with what it loads measured; ``requested``: the device the settings ask for."""

    def load_measured(path: Path) -> MeasuredScorer:
        runtime = load(path)
        metrics.device(requested=requested, used=runtime.device)
        return MeasuredScorer(runtime, metrics)

    return load_measured
