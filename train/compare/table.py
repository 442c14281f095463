"""The table of a comparison, from its cells alone. Letters: N objects, P prefixes, C classes, R resamples, K cells.

Every difference of macro F1 is over the cells (fold, member) that both rows have and has a 95% interval from a paired
bootstrap: in each resample the same draw of the test objects, and of those cells as replicates, for both rows. Better
and worse mean that the interval excludes 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from train.bootstrap import draw_resamples, interval, resampled_f1, verdict
from train.compare.cell_files import Cell, read_cells
from train.compare.objects import ALL, RANDOM, Objects, load_objects
from train.compare.plan import ComparisonPlan
from train.measure import auroc
from train.members import Place
from train.scores import NUM_CLASSES, confusion, figures, macro_f1

SEED: Final = 20230401
# Bairouk et al. 2023, table of the classification results on the SDSS set: accuracy, F1, percent
PUBLISHED: Final = {
    "ConvEntion ugriz": (79.83, 70.62),
    "CNN+GRU ugriz": (66.39, 63.22),
    "ConvEntion g": (76.89, 63.20),
    "CNN+GRU g": (63.67, 61.00),
    "CNN+LSTM ugriz": (64.08, 60.65),
    "CNN+LSTM g": (63.00, 60.00),
}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class RowCells:
    """cells: the finished ones; missing: names of the others."""

    name: str
    cells: list[Cell]
    missing: list[str]


def make_table(plan: ComparisonPlan, folder: Path) -> dict[str, Any]:
    """The whole table, JSON-ready. SettingsError when the folder holds no comparison or cells of another plan."""
    objects = load_objects(folder)
    rows = []
    for name in plan.rows:
        found = read_cells(plan, folder, name, objects)
        missing = [place.name for place, cell in found.items() if cell is None]
        rows.append(RowCells(name, [cell for cell in found.values() if cell is not None], missing))
    table: dict[str, Any] = {
        "objects": {
            "test": len(objects.truth_N),
            "a_class": np.bincount(objects.truth_N, minlength=NUM_CLASSES).tolist(),
            "novel": len(objects.novel_ids_M),
            "prefixes": list(objects.names),
        },
        "against": plan.against,
        "resamples": plan.resamples,
        "rows": {row.name: _row(plan, row, objects) for row in rows},
    }
    for prefix in (ALL, RANDOM):
        table[f"orderings_{prefix}"] = orderings(rows, objects, prefix, plan.resamples)
    drawn = [row for row in rows if row.name in {plan.against, *plan.curves}]
    table["orderings_by_frames"] = {
        str(length): orderings(drawn, objects, str(length), plan.resamples) for length in plan.lengths
    }
    return table


def _row(plan: ComparisonPlan, row: RowCells, objects: Objects) -> dict[str, Any]:
    settings = plan.rows[row.name]
    said: dict[str, Any] = {
        "title": settings.title,
        "cells_planned": len(settings.places),
        "cells_finished": len(row.cells),
        "missing": row.missing,
        "published": list(PUBLISHED[settings.published]) if settings.published else None,
    }
    if not row.cells:
        return said
    first = row.cells[0].about
    said |= {name: first.get(name) for name in ("parameters", "multiply_adds", "steps", "threads")}
    said["hours_a_cell"] = float(np.mean([cell.about["seconds"] for cell in row.cells])) / 3600.0
    said["by_prefix"] = {name: _prefix(row.cells, objects, name) for name in objects.names}
    for name, chosen in (("confirmed", objects.confirmed_N), ("unconfirmed", ~objects.confirmed_N)):
        said[f"all_frames_{name}"] = _prefix(row.cells, objects, ALL, chosen)
    if np.any(objects.truth_N != objects.label_N):
        said["all_frames_against_the_label"] = _prefix(row.cells, objects, ALL, truth_N=objects.label_N)
    return said


def _prefix(
    cells: list[Cell],
    objects: Objects,
    name: str,
    chosen_N: NDArray[np.bool_] | None = None,
    truth_N: NDArray[np.int64] | None = None,
) -> dict[str, Any]:
    """Mean and spread over the cells, and the figures of the cells' mean probability."""
    place = objects.place(name)
    seen = objects.frames_NP[:, place] > 0
    seen &= chosen_N if chosen_N is not None else True
    truth = (objects.truth_N if truth_N is None else truth_N)[seen]
    if not len(truth):
        return {"num_objects": 0}
    each = [figures(truth, cell.probabilities_NPC[seen, place]) for cell in cells]
    said: dict[str, Any] = {"num_objects": len(truth)}
    for figure in ("accuracy", "macro_f1", "log_loss_nat", "brier", "ece"):
        values = [float(one[figure]) for one in each]
        said[figure] = float(np.mean(values))
        said[f"{figure}_spread"] = float(np.std(values, ddof=1)) if len(values) > 1 else None
    mean = np.mean([cell.probabilities_NPC[seen, place] for cell in cells], axis=0)
    said["mean_of_cells"] = figures(truth, mean)
    novelty = [
        auroc(cell.novelty_NP[seen, place], cell.novel_novelty_MP[objects.novel_frames_MP[:, place] > 0, place])
        for cell in cells
        if chosen_N is None and cell.novelty_NP is not None and cell.novel_novelty_MP is not None
        and np.any(objects.novel_frames_MP[:, place] > 0)
    ]  # fmt: skip
    said["novelty_auroc"] = float(np.mean(novelty)) if novelty else None
    said["novelty_auroc_spread"] = float(np.std(novelty, ddof=1)) if len(novelty) > 1 else None
    return said


def orderings(rows: list[RowCells], objects: Objects, prefix: str, num_resamples: int) -> dict[str, Any]:
    """Of each row with cells: macro F1 with its interval; of each pair: first minus second, its interval, and
    whether the first is better, worse or undecided."""
    place = objects.place(prefix)
    seen = objects.frames_NP[:, place] > 0
    random = np.random.default_rng(SEED)
    truth = objects.truth_N[seen]
    num_objects = len(truth)
    counts_RN = draw_resamples(num_objects, num_resamples, random)
    drawn = {row.name: _drawn_cells(row, truth, seen, place, counts_RN) for row in rows if row.cells and num_objects}
    scores = {}
    for name, cells in drawn.items():
        mean, mean_R = _mean(cells)
        scores[name] = {"macro_f1": mean, "interval": interval(mean_R)}
    pairs = {
        first: {second: _paired(drawn[first], drawn[second]) for second in drawn if second != first}
        for first in drawn
    }
    return {"scores": scores, "differences": pairs}


@dataclass(frozen=True, slots=True, eq=False)
class _Drawn:
    """A cell's macro F1, on all objects and on each resample of them."""

    point: float
    score_R: Floats


def _drawn_cells(
    row: RowCells, truth: NDArray[np.int64], seen: NDArray[np.bool_], place: int, counts_RN: NDArray[np.int64]
) -> dict[Place, _Drawn]:
    found = {}
    for cell in row.cells:
        predicted = cell.probabilities_NPC[seen, place].argmax(axis=1)
        point = float(macro_f1(confusion(truth, predicted)))
        found[cell.place] = _Drawn(point, resampled_f1(counts_RN, truth, predicted))
    return found


def _paired(first: dict[Place, _Drawn], second: dict[Place, _Drawn]) -> dict[str, Any]:
    """First minus second over the cells that both have: a fold's training objects are easy or hard for both. In
    each resample the same cells are drawn of both."""
    both = sorted(first.keys() & second.keys(), key=lambda place: (place.fold, place.member))
    if not both:
        return {"difference": None, "interval": None, "verdict": "undecided", "cells": 0}
    minus = {
        place: _Drawn(first[place].point - second[place].point, first[place].score_R - second[place].score_R)
        for place in both
    }
    difference, drawn_R = _mean(minus)
    return verdict(difference, drawn_R) | {"cells": len(both)}


def _mean(cells: dict[Place, _Drawn]) -> tuple[float, Floats]:
    """Over cells: of their points, and of a draw of as many cells with replacement in each resample. Equal numbers of
    cells and resamples draw alike."""
    score_KR = np.stack([cell.score_R for cell in cells.values()])
    chosen_KR = np.random.default_rng([SEED, len(score_KR)]).integers(len(score_KR), size=score_KR.shape)
    points = [cell.point for cell in cells.values()]
    return float(np.mean(points)), np.take_along_axis(score_KR, chosen_KR, axis=0).mean(axis=0)
