"""The evaluation as one JSON-ready dictionary: what ``evaluate`` prints, writes and draws.

Dimension letters: R records, N samples of a slice, K classes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.bootstrap import draw_resamples, intervals, paired_difference, resampled_metrics
from broker_plugin.evaluation.early import early_report
from broker_plugin.evaluation.novelty import novelty_report, timing_report
from broker_plugin.evaluation.scores import slice_scores
from broker_plugin.evaluation.slices import (
    Slice,
    band_slices,
    day_slices,
    final_slice,
    frame_slices,
    magnitude_slices,
)
from broker_plugin.evaluation.table import NO_TRUTH, OUTSIDE, STATUSES, RecordTable
from broker_plugin.evaluation.truth import TruthTable
from schemas.classification import CLASS_NAMES
from schemas.errors import EvaluationError

REPORT_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Options:
    """num_resamples: of the bootstrap, 0 for no intervals; seed: of its draws."""

    num_resamples: int = 1000
    seed: int = 0


def evaluate(table: RecordTable, truth: TruthTable, options: Options | None = None) -> dict[str, Any]:
    """Every metric of one set of records. EvaluationError when no scored object has a truth in the taxonomy."""
    options = options or Options()
    usable = table.scored_R & table.known_R
    if not usable.any():
        raise EvaluationError(
            f"{truth.path}: none of its {len(truth.labels)} objects has a scored record "
            f"({len(table.objects)} objects in the records, for instance {table.objects[0][1]})"
        )
    counts = draw_resamples(len(table.objects), options.num_resamples, options.seed)

    def scored(items: Iterable[Slice]) -> list[dict[str, Any]]:
        return [_slice_report(table, item, counts) for item in items]

    return {
        "version": REPORT_VERSION,
        "classes": list(CLASS_NAMES),
        "bootstrap": {"num_resamples": options.num_resamples, "seed": options.seed, "by": "object"},
        "counts": _counts(table, truth),
        "overall": scored([final_slice(table, usable)])[0],
        "by_frames": scored(frame_slices(table, usable)),
        "by_days": scored(day_slices(table, usable)),
        "by_magnitude": scored(magnitude_slices(table, usable)),
        "by_bands": scored(band_slices(table, usable)),
        "early": early_report(table),
        "novelty": novelty_report(table),
        "timing": timing_report(table),
    }


def _slice_report(table: RecordTable, item: Slice, counts_BO: NDArray[np.uint16]) -> dict[str, Any]:
    objects = table.object_R[item.places_N]
    truth, probabilities = table.truth_O[objects], table.probabilities_RK[item.places_N]
    report = {
        "label": item.label,
        "low": item.low,
        "high": item.high,
        **slice_scores(truth, probabilities, table.answered_R[item.places_N]),
    }
    if len(counts_BO):
        report["intervals"] = intervals(resampled_metrics(counts_BO, objects, truth, probabilities))
    return report


def _counts(table: RecordTable, truth: TruthTable) -> dict[str, Any]:
    final = table.last_of_each(np.ones(len(table), np.bool_))
    codes = table.truth_O
    seen = {object_id for _, object_id in table.objects}
    reasons, numbers = np.unique([reason for reason in table.reason_R if reason is not None], return_counts=True)
    return {
        "bundle_ids": list(table.bundle_ids),
        "num_records": len(table),
        "num_objects": len(table.objects),
        "num_objects_scored": len(table.last_of_each(table.scored_R)),
        "objects_by_truth": {name: int((codes == k).sum()) for k, name in enumerate(CLASS_NAMES)},
        "num_outside_taxonomy": int((codes == OUTSIDE).sum()),
        "outside_labels": list(truth.outside),
        "num_without_truth": int((codes == NO_TRUTH).sum()),
        "num_truth": len(truth.labels),
        "num_truth_without_records": len(set(truth.labels) - seen),
        "num_truth_duplicates": truth.num_duplicates,
        "records_by_status": {status.value: int((table.status_R == k).sum()) for k, status in enumerate(STATUSES)},
        "final_by_status": {
            status.value: int((table.status_R[final] == k).sum()) for k, status in enumerate(STATUSES)
        },
        "records_by_reason": {str(reason): int(n) for reason, n in zip(reasons, numbers, strict=True)},
    }


def compare(champion: RecordTable, challenger: RecordTable, options: Options | None = None) -> dict[str, Any]:
    """Challenger against champion on the objects both scored, at their last records and by number of frames, with a
    paired bootstrap by object. EvaluationError when they share no such object."""
    options = options or Options()
    usable = [table.scored_R & table.known_R for table in (champion, challenger)]
    counts = draw_resamples(len(champion.objects), options.num_resamples, options.seed)
    finals = (final_slice(champion, usable[0]), final_slice(challenger, usable[1]))
    overall = _paired(champion, challenger, *finals, counts)
    if overall is None:
        raise EvaluationError("champion and challenger share no scored object with a truth")
    other = {item.label: item for item in frame_slices(challenger, usable[1])}
    by_frames = []
    for item in frame_slices(champion, usable[0]):
        if item.label in other:
            by_frames.append(_paired(champion, challenger, item, other[item.label], counts))
    return {
        "bundle_ids": {"champion": list(champion.bundle_ids), "challenger": list(challenger.bundle_ids)},
        "overall": overall,
        "by_frames": [entry for entry in by_frames if entry is not None],
    }


def _paired(
    champion: RecordTable, challenger: RecordTable, first: Slice, second: Slice, counts_BO: NDArray[np.uint16]
) -> dict[str, Any] | None:
    place_of = {challenger.objects[challenger.object_R[place]]: int(place) for place in second.places_N}
    pairs = [
        (int(place), place_of[name])
        for place in first.places_N
        if (name := champion.objects[champion.object_R[place]]) in place_of
    ]
    if not pairs:
        return None
    mine, theirs = (np.array(column, np.int64) for column in zip(*pairs, strict=True))
    objects = champion.object_R[mine]
    difference = paired_difference(
        counts_BO,
        objects,
        champion.truth_O[objects],
        champion.probabilities_RK[mine],
        challenger.probabilities_RK[theirs],
    )
    agree = champion.probabilities_RK[mine].argmax(axis=1) == challenger.probabilities_RK[theirs].argmax(axis=1)
    return {"label": first.label, "num_objects": len(pairs), "agreement": float(agree.mean()), "metrics": difference}
