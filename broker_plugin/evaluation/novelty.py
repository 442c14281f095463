"""Novelty: can the score tell objects outside the taxonomy from those in it? And how long a record takes."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn import metrics

from broker_plugin.evaluation.scores import thinned
from broker_plugin.evaluation.slices import Slice, frame_slices
from broker_plugin.evaluation.table import NO_TRUTH, OUTSIDE, STATUSES, RecordTable
from schemas.classification import Status

LATENCY_PERCENTILES: Final = (50, 90, 99, 100)
HISTOGRAM_BINS: Final = 24


def novelty_report(table: RecordTable) -> dict[str, Any]:
    """ROC and precision-recall of the novelty score, outside against in taxonomy, at the last record of each object,
    and its area by number of frames. Areas are None when one side or the score is missing."""
    mask = table.scored_R & np.isfinite(table.novelty_R) & (table.truth_O[table.object_R] != NO_TRUTH)
    final = _novelty_of(table, Slice("last", None, None, table.last_of_each(mask)), curves=True)
    by_frames = [_novelty_of(table, item, curves=False) for item in frame_slices(table, mask)]
    return {**final, "by_frames": by_frames}


def _novelty_of(table: RecordTable, item: Slice, *, curves: bool) -> dict[str, Any]:
    outside = table.truth_O[table.object_R[item.places_N]] == OUTSIDE
    score = table.novelty_R[item.places_N]
    abstained = table.status_R[item.places_N] == STATUSES.index(Status.ABSTAINED)
    result: dict[str, Any] = {
        "label": item.label,
        "num_outside": int(outside.sum()),
        "num_inside": int((~outside).sum()),
        "outside_abstained": float(abstained[outside].mean()) if outside.any() else None,
        "inside_abstained": float(abstained[~outside].mean()) if (~outside).any() else None,
        "roc_auc": None,
        "average_precision": None,
    }
    if not 0 < outside.sum() < len(outside):
        return result
    result["roc_auc"] = float(metrics.roc_auc_score(outside, score))
    result["average_precision"] = float(metrics.average_precision_score(outside, score))
    if curves:
        false_rate, true_rate, _ = metrics.roc_curve(outside, score)
        precision, recall, _ = metrics.precision_recall_curve(outside, score)
        edges = np.histogram_bin_edges(score, HISTOGRAM_BINS)
        result |= {
            "roc": thinned(false_rate, true_rate),
            "pr": thinned(recall[::-1], precision[::-1]),
            "histogram": {
                "edges": edges.round(5).tolist(),
                "inside": np.histogram(score[~outside], edges)[0].tolist(),
                "outside": np.histogram(score[outside], edges)[0].tolist(),
            },
        }
    return result


def timing_report(table: RecordTable) -> dict[str, Any] | None:
    """Latency (ingest to publish, s; None where no record has both times, as after an offline replay) and throughput
    (records over the time from the first one's ingest, or else after the first ones' publication); None without
    times of publication."""
    known = np.isfinite(table.publish_R)
    if not known.any():
        return None
    published, last = table.publish_R[known], float(table.publish_R[known].max())
    both = known & np.isfinite(table.ingest_R)
    first = float(table.ingest_R[both].min() if both.any() else published.min())
    num_after = int((published > first).sum())
    return {
        "num_records": int(known.sum()),
        "latency_s": _percentiles(table.publish_R[both] - table.ingest_R[both]) if both.any() else None,
        "span_s": last - first,
        "records_per_s": num_after / (last - first) if last > first else None,
    }


def _percentiles(latency: NDArray[np.float64]) -> dict[str, float]:
    values = np.percentile(latency, LATENCY_PERCENTILES)
    return {f"p{q}": float(value) for q, value in zip(LATENCY_PERCENTILES, values, strict=True)}
