"""Runs a comparison cell by cell, over as many sittings as it takes."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from schemas.errors import SettingsError
from train.compare.cells import Setup, run_cell
from train.compare.objects import save_objects, shared_objects
from train.compare.plan import ComparisonPlan
from train.dataset import DataSet, joined
from train.json_files import write_json
from train.members import Place
from train.pipeline import versions
from train.prepare import load_sets, simulated_sets
from train.recipe import parse_recipe
from train.samples import Sampler
from train.stage import StopTraining

ABOUT_FILE: Final = "comparison_run.json"


class OutOfTime(StopTraining):
    """The sitting is over; not an error: the next one goes on from here."""


def prepare(
    plan: ComparisonPlan,
    folder: Path,
    work: Path,
    *,
    workers: int,
    device: str,
    package: str,
    progress: Callable[[int], None],
) -> Setup:
    """Simulate what is not there yet and fix the test objects; SettingsError when the folder holds others."""
    base = parse_recipe(dict(plan.base), where="base")
    by = f"convention-broker {package}"
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[DataSet] = []
    said: dict[str, Any] = {}
    for name, simulation in (("training", base.simulation), ("test", plan.test)):
        target = work / "data" / name
        sets = simulated_sets(simulation, target, workers=workers, by=by, progress=progress)
        data, about = load_sets(sets, None)
        parts.append(data)
        said[name] = about
    data = joined(parts)
    data = data.eligible(base.rule(data.grid_id), base.view.min_frames)
    objects = shared_objects(Sampler(data, base), plan.lengths)
    if not len(objects.truth_N):
        raise SettingsError("the plan's test simulation has no object of the test split: set test.split to test")
    save_objects(objects, folder)
    about_path = folder / ABOUT_FILE
    if not about_path.exists():
        machine = f"{platform.machine()}, {os.cpu_count()} processors, {device}"
        made_by = {"versions": versions(package), "machine": machine}
        write_json(about_path, {"data": said, "counts": data.counts()} | made_by)
    return Setup(plan, data, objects, folder, work, device)


def cells_in_order(plan: ComparisonPlan, rows: Sequence[str]) -> list[tuple[str, Place]]:
    """A first cell of every row before the second of any."""
    chosen = rows or list(plan.rows)
    unknown = sorted(set(chosen) - set(plan.rows))
    if unknown:
        raise SettingsError(f"the plan has no row {', '.join(unknown)}: expected {', '.join(plan.rows)}")
    deepest = max(len(plan.rows[row].places) for row in chosen)
    return [
        (row, plan.rows[row].places[number])
        for number in range(deepest)
        for row in chosen
        if number < len(plan.rows[row].places)
    ]


def run_cells(
    setup: Setup,
    rows: Sequence[str],
    *,
    deadline: float | None,
    say: Callable[[str], None],
    progress: Callable[[str, int, float], None],
) -> bool:
    """Run what is missing; False when the sitting ended before all was done. deadline: of ``time.monotonic``."""

    def watched(stage: str, step: int, loss: float) -> None:
        progress(stage, step, loss)
        if deadline is not None and time.monotonic() > deadline:
            raise OutOfTime

    for row, place in cells_in_order(setup.plan, rows):
        if setup.cell(row, place).exists():
            continue
        if deadline is not None and time.monotonic() > deadline:
            return False
        say(f"{row} {place.name}")
        try:
            run_cell(setup, row, place, progress=watched)
        except OutOfTime:
            return False
    return True
