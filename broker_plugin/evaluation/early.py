"""How early is it right, and when does it stay right?

An object is right at a record when its most probable class is its true one. It stays right from the first record
after which every scored record is right. Curves are over all objects with a truth in the taxonomy that were ever
scored: one that is never right counts at every point, whatever the length of its series.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.table import Floats, Integers, RecordTable
from schemas.classification import CLASS_NAMES

AGE_POINTS: Final = 80


def early_table(table: RecordTable) -> dict[str, NDArray[Any]]:
    """Per object ever scored whose truth is in the taxonomy (object ascending): ``object``, ``truth``, and
    ``right_frames``, ``right_days``, ``stays_frames``, ``stays_days``: number of frames and days since first
    detection at the first right record and at the first of the unbroken right run at the end; NaN for never."""
    places = np.flatnonzero(table.scored_R & table.known_R)
    truth_R = table.truth_O[table.object_R]
    right = np.zeros(len(table), np.bool_)
    right[places] = table.probabilities_RK[places].argmax(axis=1) == truth_R[places]
    objects = np.unique(table.object_R[places])
    first, stays = _first_and_staying(table.object_R[places], right[places], places, objects)

    def at(found: Integers, values: Floats) -> Floats:
        return np.where(found >= 0, values[found], np.nan)

    frames = table.num_frames_R.astype(np.float64)
    return {
        "object": objects,
        "truth": table.truth_O[objects],
        "right_frames": at(first, frames),
        "right_days": at(first, table.days_R),
        "stays_frames": at(stays, frames),
        "stays_days": at(stays, table.days_R),
    }


def _first_and_staying(
    object_N: Integers, right_N: NDArray[np.bool_], places_N: Integers, objects: Integers
) -> tuple[Integers, Integers]:
    """Place of the first right record and of the start of the right run at the end, -1 for none, per object."""
    first = np.full(len(objects), -1, np.int64)
    stays = np.full(len(objects), -1, np.int64)
    rows = np.searchsorted(objects, object_N)
    for row, is_right, place in zip(rows.tolist(), right_N.tolist(), places_N.tolist(), strict=True):
        if not is_right:
            stays[row] = -1
            continue
        if first[row] < 0:
            first[row] = place
        if stays[row] < 0:
            stays[row] = place
    return first, stays


def early_report(table: RecordTable) -> dict[str, Any]:
    """Share of objects that have been right, and that stay right, by number of frames and by days; of all and per
    class, with the medians (over all objects; None when fewer than half get there)."""
    early = early_table(table)
    frames = np.arange(1, int(table.num_frames_R.max(initial=1)) + 1).astype(np.float64)
    oldest = float(table.days_R[table.scored_R].max(initial=0.0))
    days = np.concatenate([[0.0], np.geomspace(0.5, max(oldest, 1.0), AGE_POINTS)])
    report: dict[str, Any] = {"frames": frames.tolist(), "days": days.round(3).tolist(), "groups": {}}
    groups = {"all": np.ones(len(early["object"]), np.bool_)}
    groups |= {name: early["truth"] == k for k, name in enumerate(CLASS_NAMES)}
    for name, mask in groups.items():
        if not mask.any():
            continue
        group: dict[str, Any] = {"num_objects": int(mask.sum())}
        for kind in ("right", "stays"):
            for unit, grid in (("frames", frames), ("days", days)):
                reached = early[f"{kind}_{unit}"][mask]
                group[f"{kind}_by_{unit}"] = reached_by(reached, grid).round(5).tolist()
                group[f"{kind}_median_{unit}"] = median_over_all(reached)
        report["groups"][name] = group
    return report


def reached_by(reached_O: Floats, grid: Floats) -> Floats:
    """Share of all objects that got there at or before each point of the grid; NaN is never."""
    arrived = np.sort(reached_O[np.isfinite(reached_O)])
    return np.searchsorted(arrived, grid, side="right") / len(reached_O)


def median_over_all(reached_O: Floats) -> float | None:
    """When half of all objects had got there, None when fewer than half ever do."""
    ordered = np.sort(np.where(np.isfinite(reached_O), reached_O, np.inf))
    middle = float(ordered[(len(ordered) - 1) // 2])
    return middle if np.isfinite(middle) else None
