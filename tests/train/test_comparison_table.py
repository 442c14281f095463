"""What the comparison's table says of two rows: resamples, verdicts, and the cells that are compared."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from model.scores import CLASSES
from train.bootstrap import resampled_f1, verdict
from train.compare.cell_files import Cell
from train.compare.objects import ALL, Objects
from train.compare.table import RowCells, orderings
from train.members import Place
from train.scores import confusion, macro_f1

NUM_OBJECTS = 200
TRUTH = np.arange(NUM_OBJECTS) % len(CLASSES)


def made_objects() -> Objects:
    nobody = np.zeros(0, "S8")
    one_frame = np.ones((NUM_OBJECTS, 1), np.int64)
    ids = np.array([f"o{number}" for number in range(NUM_OBJECTS)], "S8")
    confirmed = np.ones(NUM_OBJECTS, np.bool_)
    return Objects((ALL,), ids, TRUTH, TRUTH, confirmed, one_frame, nobody, one_frame[:0])


def answers(share_right: float, seed: int) -> NDArray[np.int64]:
    random = np.random.default_rng(seed)
    return np.where(random.random(NUM_OBJECTS) < share_right, TRUTH, (TRUTH + 1) % len(CLASSES))


def row(name: str, answers_of_folds: dict[int, NDArray[np.int64]]) -> RowCells:
    cells = [
        Cell(Place(fold, 0), {}, np.eye(len(CLASSES))[answered][:, None], None, None)
        for fold, answered in answers_of_folds.items()
    ]
    return RowCells(name, cells, [])


def test_resampled_scores_are_the_scores_of_the_resamples() -> None:
    """Macro F1 by counts equals macro F1 of the repeated objects."""
    random = np.random.default_rng(0)
    truth, predicted = random.integers(4, size=50), random.integers(4, size=50)
    counts = random.integers(0, 3, (5, 50))
    expected = [macro_f1(confusion(np.repeat(truth, row), np.repeat(predicted, row))) for row in counts]
    assert resampled_f1(counts, truth, predicted) == pytest.approx(np.array(expected))


def test_verdicts_follow_the_interval() -> None:
    """Better and worse only where the central 95% excludes 0; equal rows are undecided."""
    random = np.random.default_rng(1)
    assert verdict(0.1, random.normal(0.1, 0.01, 500))["verdict"] == "better"
    assert verdict(-0.1, random.normal(-0.1, 0.01, 500))["verdict"] == "worse"
    assert verdict(0.01, random.normal(0.01, 0.05, 500))["verdict"] == "undecided"
    assert verdict(0.0, np.zeros(500))["verdict"] == "undecided"


def test_rows_are_compared_over_the_cells_that_both_have() -> None:
    """A row that has an easy fold alone is no better than one that answers the same there and has hard ones too; its
    own score is of its own cells. First minus second is minus second minus first."""
    easy, hard, harder = answers(0.9, 1), answers(0.6, 2), answers(0.5, 3)
    rows = [row("all", {0: easy, 1: hard, 2: harder}), row("easy", {0: easy}), row("two", {2: easy, 0: hard})]
    found = orderings(rows, made_objects(), ALL, 300)
    assert found["scores"]["easy"]["macro_f1"] > found["scores"]["all"]["macro_f1"] + 0.1
    assert found["differences"]["easy"]["all"] == {
        "difference": 0.0, "interval": [0.0, 0.0], "verdict": "undecided", "cells": 1,
    }  # fmt: skip
    there, back = found["differences"]["all"]["two"], found["differences"]["two"]["all"]
    points = [macro_f1(confusion(TRUTH, answered)) for answered in (easy, hard, harder, easy)]
    assert there["difference"] == pytest.approx(np.mean(points[0::2]) - np.mean([points[1], points[3]]))
    assert there["cells"] == 2
    assert back["difference"] == -there["difference"]
    assert back["interval"] == pytest.approx([-there["interval"][1], -there["interval"][0]])


def test_a_difference_has_the_spread_over_the_cells() -> None:
    """Cells that differ widen the interval beyond the objects' own; equal ones do not."""
    easy, hard = answers(0.9, 1), answers(0.5, 2)
    steady = row("steady", {0: hard, 1: hard})
    spread = row("spread", {0: easy, 1: hard})
    found = orderings([steady, spread, row("easy", {0: easy, 1: easy})], made_objects(), ALL, 300)["differences"]
    widths = {name: np.ptp(found[name]["steady"]["interval"]) for name in ("spread", "easy")}
    assert found["easy"]["steady"]["verdict"] == "better"
    assert found["spread"]["steady"]["verdict"] == "undecided"
    assert widths["spread"] > 2 * widths["easy"]


def test_rows_without_a_cell_in_common_are_undecided() -> None:
    """Nothing is said of them."""
    found = orderings([row("a", {0: TRUTH}), row("b", {1: TRUTH})], made_objects(), ALL, 10)["differences"]
    assert found["a"]["b"] == {"difference": None, "interval": None, "verdict": "undecided", "cells": 0}
