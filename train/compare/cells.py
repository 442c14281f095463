"""One cell of a comparison: a member of a row trained, its answers on the shared objects written as a small file.

A cell is finished when its ``.json`` exists; it and its ``.npz`` (tens of kB) are all that the table needs. Training
is resumed from its checkpoints in the work folder, which need not be kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model import registry
from model.batch import collate
from model.bundle_spec import BundleSpec
from model.cost import multiply_adds
from model.novelty import fit_novelty
from model.scores import CLASSES
from schemas.errors import SettingsError
from train.calibrate import Answers, answers
from train.clock import clock_of
from train.compare.light_curves import LightCurveControl
from train.compare.objects import Objects, asked
from train.compare.plan import TUNING_MEMBER, ComparisonPlan
from train.dataset import DataSet
from train.json_files import read_json, write_json
from train.members import TREES, Place, train_member
from train.recipe import Recipe, parse_recipe
from train.samples import Sampler
from train.sampling import epoch_rows

CELLS: Final = "cells"
ROWS: Final = "rows"
LOG_FILE: Final = "scorings.jsonl"
TIMED_STEPS: Final = 6
CHECKS: Final = 10  # validations of a cell, each with a checkpoint

Progress = Callable[[str, int, float], None]
Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Setup:
    """plan, data and test objects; folder: what is kept; work: what is not. device: of torch."""

    plan: ComparisonPlan
    data: DataSet
    objects: Objects
    folder: Path
    work: Path
    device: str = "cpu"

    def sampler(self, recipe: Recipe) -> Sampler:
        """Of a row: asked at the triggers that all rows share, whatever bands it reads."""
        base = parse_recipe(dict(self.plan.base), where="base")
        return Sampler(self.data, recipe, trigger_rule=base.rule(self.data.grid_id))

    def training(self, recipe: Recipe) -> DataSet:
        """The objects that a row can train on: those with enough frames of its bands."""
        return self.data.eligible(recipe.rule(self.data.grid_id), recipe.view.min_frames)

    def validation(self, sampler: Sampler, place: Place) -> tuple[list[tuple[int, int]], Integers]:
        """One random trigger of each validation object in which the row sees a frame, and their rows."""
        _, rows = self.data.fold(place.fold)
        pairs = [pair for pair in sampler.random_triggers(rows, 1) if len(sampler.visible(*pair))]
        return pairs, np.array([row for row, _ in pairs], np.int64)

    def cell(self, row: str, place: Place) -> Path:
        """The cell's file."""
        return self.folder / CELLS / row / f"{place.name}.json"


def run_cell(setup: Setup, row: str, place: Place, *, progress: Progress) -> None:
    """Train and score one cell, unless it is finished."""
    path = setup.cell(row, place)
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if setup.plan.rows[row].kind == "light_curve":
        arrays, about = _light_curve(setup, row, place)
    else:
        arrays, about = _network(setup, row, place, progress)
    about |= {"row": row, "fold": place.fold, "member": place.member, "digest": setup.plan.digest(row)}
    np.savez_compressed(path.with_suffix(".npz"), **arrays)
    write_json(path, about)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with (setup.folder / LOG_FILE).open("a", encoding="utf-8") as log:
        log.write(json.dumps({"time": now, "row": row, "cell": place.name, "digest": about["digest"]}) + "\n")


def _network(setup: Setup, row: str, place: Place, progress: Progress) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = settled_recipe(setup, row, progress=progress)
    folder = setup.work / CELLS / row / place.name
    weights = train_member(recipe, setup.training(recipe), place, folder, device=setup.device, progress=progress)
    sampler = setup.sampler(recipe)
    spec = member_spec(recipe, setup.data)
    held, validation = setup.validation(sampler, place)
    found = answers(spec, [weights], sampler, held)
    test_asked, test_view_NP = asked(sampler, setup.data.test, setup.objects.frames_NP)
    test = answers(spec, [weights], sampler, test_asked)
    novelty = fit_novelty(found.pooled_KNF, setup.data.labels(validation), num_classes=len(CLASSES))
    arrays = {
        "logits": _spread(test.logits_KNC[0], test_view_NP),
        "frames": test_view_NP.astype(np.int16),
        "novelty": _spread(np.array(_novelty(novelty, test))[:, None], test_view_NP)[..., 0],
        "validation_logits": found.logits_KNC[0].astype(np.float16),
        "validation_labels": setup.data.labels(validation).astype(np.int8),
        "validation_frames": _in_view(sampler, held),
    }
    novel_asked, novel_view_MP = asked(sampler, setup.data.novel, setup.objects.novel_frames_MP)
    if novel_asked:
        strange = answers(spec, [weights], sampler, novel_asked)
        arrays["novel_novelty"] = _spread(np.array(_novelty(novelty, strange))[:, None], novel_view_MP)[..., 0]
    network = registry.create(recipe.network.name, **recipe.network.full_config)
    summary = read_json(folder / "member.json")
    seconds = sum(stage["seconds"] for stage in (*summary["stages"].values(), summary.get(TREES, {"seconds": 0.0})))
    return arrays, {
        "parameters": network.num_parameters,
        "multiply_adds": multiply_adds(network, num_frames=_frames_shown(recipe)),
        "seconds": seconds,
        "steps": sum(stage["steps"] for stage in summary["stages"].values()),
        "stages": summary["stages"],
        "threads": torch.get_num_threads(),
    }


def _light_curve(setup: Setup, row: str, place: Place) -> tuple[dict[str, Any], dict[str, Any]]:
    recipe = setup.plan.recipe(row)
    sampler = setup.sampler(recipe)
    clock = clock_of("cpu")
    began = clock()
    control = LightCurveControl(recipe.network.bands, seed=place.seed(recipe))
    train_rows, _ = setup.data.fold(place.fold)
    control.fit(sampler, train_rows, triggers=setup.plan.light_curve_triggers)
    seconds = clock() - began
    held, validation = setup.validation(sampler, place)
    test_asked, view_NP = asked(sampler, setup.data.test, setup.objects.frames_NP)
    arrays = {
        "logits": _spread(control.logits(sampler, test_asked), view_NP),
        "frames": view_NP.astype(np.int16),
        "validation_logits": control.logits(sampler, held).astype(np.float16),
        "validation_labels": setup.data.labels(validation).astype(np.int8),
        "validation_frames": _in_view(sampler, held),
    }
    return arrays, {"parameters": None, "multiply_adds": None, "seconds": round(seconds, 1), "steps": None}


def _novelty(model: Any, found: Answers) -> list[float]:
    return [model.score(found.pooled_KNF[:, row]) for row in range(len(found.rows_N))]


def _in_view(sampler: Sampler, pairs: list[tuple[int, int]]) -> NDArray[np.int16]:
    """Frames that the row sees, of which its temperature is a function."""
    return np.array([len(sampler.visible(*pair)) for pair in pairs], np.int16)


def _spread(values: NDArray[np.floating], view_NP: Integers) -> NDArray[np.float16]:
    """Values of the prefixes with a frame in view as [N, P, ...], NaN elsewhere."""
    result = np.full((*view_NP.shape, *values.shape[1:]), np.nan, np.float16)
    result[view_NP > 0] = np.clip(values, -60000, 60000)
    return result


def _frames_shown(recipe: Recipe) -> int:
    shown = {"newest": 1, "median": len(recipe.network.bands)}
    return shown.get(recipe.network.input, recipe.view.max_frames)


def member_spec(recipe: Recipe, data: DataSet) -> BundleSpec:
    """Of one member alone, for the runtime."""
    return BundleSpec.model_validate(
        {
            "name": "cell",
            "version": "0",
            "network": {"name": recipe.network.name, "config": recipe.network.full_config},
            "num_members": 1,
            "bands": recipe.network.bands,
            "grid_id": data.grid_id,
            "class_prior": (1.0 / len(CLASSES),) * len(CLASSES),
            "view": {"max_frames": recipe.view.max_frames, "max_days": recipe.view.max_days},
        }
    )


def settled_recipe(setup: Setup, row: str, *, progress: Progress) -> Recipe:
    """The row's recipe with its steps and its tuned rate and decay, which are found once and kept in ``rows/``."""
    recipe = setup.plan.recipe(row)
    path = setup.folder / ROWS / f"{row}.json"
    if path.exists():
        found = read_json(path)
        if found["digest"] != setup.plan.digest(row):
            raise SettingsError(f"{path} was made under another plan (digest {found['digest']}): remove it")
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        found = {"digest": setup.plan.digest(row), **_budget(setup, row, recipe)}
        tuner = setup.plan.tuner(row)
        if setup.plan.trials and tuner == row:
            found |= _tune(setup, row, _with_steps(recipe, found["steps"], setup.plan.tuning_share), progress)
        elif setup.plan.trials:
            settled = settled_recipe(setup, tuner, progress=progress).optimiser
            found |= {"learning_rate": settled.learning_rate, "weight_decay": settled.weight_decay, "as": tuner}
        write_json(path, found)
    tuned: dict[str, Any] = {name: found[name] for name in ("learning_rate", "weight_decay") if name in found}
    settled_steps = _with_steps(recipe, found["steps"], 1.0)
    return settled_steps.model_copy(update={"optimiser": settled_steps.optimiser.model_copy(update=tuned)})


def _with_steps(recipe: Recipe, steps: int, share: float) -> Recipe:
    """Steps divided over the stages as the recipe's own are, and checks spread over them."""
    own, transfer = recipe.optimiser.steps, recipe.transfer.steps
    total = max(2, round(steps * share))
    second = round(total * transfer / (own + transfer))
    first = total - second
    checks = max(1, first // CHECKS)
    optimiser = recipe.optimiser.model_copy(update={"steps": first, "validate_every": checks})
    return recipe.model_copy(
        update={"optimiser": optimiser, "transfer": recipe.transfer.model_copy(update={"steps": second})}
    )


def _budget(setup: Setup, row: str, recipe: Recipe) -> dict[str, Any]:
    stated = setup.plan.rows[row].steps
    if stated is not None:
        return {"steps": stated}
    seconds = step_seconds(recipe, setup.training(recipe), setup.device)
    in_time = math.floor(60.0 * setup.plan.minutes / seconds)
    epoch = _epoch_steps(recipe, setup.training(recipe))
    steps = in_time if setup.plan.epochs is None else min(in_time, math.ceil(setup.plan.epochs * epoch))
    return {"steps": max(2, steps), "seconds_a_step": round(seconds, 4), "steps_an_epoch": epoch}


def _epoch_steps(recipe: Recipe, data: DataSet) -> int:
    """Steps in which fold 0's members see every object once, rare classes again where they are balanced."""
    rows, _ = data.fold(0)
    balance = recipe.optimiser.balance
    order = epoch_rows(rows, data.labels(rows), balance=balance, random=np.random.default_rng(0))
    return max(1, len(order) // recipe.optimiser.batch)


def step_seconds(recipe: Recipe, data: DataSet, device: str) -> float:
    """Of one training step, validation apart: data, forward, backward and optimiser on a typical batch; the median of
    six. On the CPU it is what the threads compute, so that a busy machine gives the same."""
    clock = clock_of(device)
    threads = torch.get_num_threads() if device == "cpu" else 1
    sampler = Sampler(data, recipe)
    network = registry.create(recipe.network.name, **recipe.network.full_config).to(device).train()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-4, amsgrad=True)
    rows, _ = data.fold(0)
    times = []
    for step in range(TIMED_STEPS):
        chosen = np.random.default_rng(step).choice(rows, recipe.optimiser.batch)
        began = clock()
        samples = sampler.training(chosen, seed=0, step=step)
        batch = collate(network, samples.sequences).to(device)
        loss = network(batch).logits_BK.logsumexp(dim=1).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        times.append(clock() - began)
    return float(np.median(times)) / threads


def _tune(setup: Setup, row: str, recipe: Recipe, progress: Progress) -> dict[str, Any]:
    """The trial with the smallest validation log loss."""
    results = []
    for number, trial in enumerate(setup.plan.trials):
        optimiser = recipe.optimiser.model_copy(update=trial.model_dump())
        folder = setup.work / "tuning" / row / str(number)
        place = Place(0, TUNING_MEMBER + number)
        tuned = recipe.model_copy(update={"optimiser": optimiser})
        train_member(tuned, setup.training(recipe), place, folder, device=setup.device, progress=progress)
        stages = read_json(folder / "member.json")["stages"]
        last = list(stages.values())[-1]["best"]
        results.append({**trial.model_dump(), "log_loss": last["log_loss"], "macro_f1": last["macro_f1"]})
    best = min(results, key=lambda result: result["log_loss"])
    return {"learning_rate": best["learning_rate"], "weight_decay": best["weight_decay"], "trials": results}
