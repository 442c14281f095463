"""The members of an ensemble: each fold's networks, first stage and transfer, in folders of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from model import registry
from schemas.errors import SettingsError, TrainingError
from train.clock import clock_of
from train.dataset import DataSet
from train.json_files import write_json
from train.recipe import Recipe
from train.samples import Sampler
from train.stage import Plan, train_stage
from train.trees import bare_config, grow

WEIGHTS_FILE: Final = "weights.safetensors"
DONE_FILE: Final = "member.json"
FINE_TUNE: Final = "fine_tune"
FIRST: Final = "first"
TRANSFER: Final = "transfer"
TREES: Final = "trees"
MEMBERS_A_FOLD: Final = 1000  # seeds of members of different folds never meet

Integers = NDArray[np.int64]
State = dict[str, Tensor]
Progress = Callable[[str, int, float], None]


@dataclass(frozen=True, slots=True)
class Place:
    """Which member: of which fold (the one it does not train on), and its number there."""

    fold: int
    member: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"fold{self.fold}-member{self.member}"

    def seed(self, recipe: Recipe) -> int:
        """Of its weights and samples."""
        return recipe.seed + MEMBERS_A_FOLD * self.fold + self.member


def places(recipe: Recipe) -> list[Place]:
    """All members of a recipe."""
    ensemble = recipe.ensemble
    return [Place(fold, member) for fold in range(ensemble.folds) for member in range(ensemble.members)]


def require_network(recipe: Recipe) -> None:
    """SettingsError, before anything is made, for a network that cannot be built as the recipe says."""
    try:
        registry.create(recipe.network.name, **recipe.network.full_config)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"recipe: network: {error}") from error


def train_member(
    recipe: Recipe,
    data: DataSet,
    place: Place,
    folder: Path,
    *,
    device: str = "cpu",
    start: Mapping[str, Tensor] | None = None,
    progress: Progress,
) -> State:
    """One member, in ``folder``; a finished one is read, an interrupted one continued. ``start``: weights to
    fine-tune on the new objects.

    With transfer steps the first stage trains on unconfirmed objects and the second on confirmed ones; without, the
    one stage trains on all. Boosted trees, where the network has them, are fitted last, on the objects of all stages;
    fine-tuning keeps those it starts with. ``progress`` is told of stage, step and loss.
    """
    done = folder / DONE_FILE
    if done.exists():
        return load_file(folder / WEIGHTS_FILE)
    train_rows, validation_rows = data.fold(place.fold)
    seed = place.seed(recipe)
    torch.manual_seed(seed)
    bare = bare_config(recipe.network) if start is None else recipe.network.full_config
    network = registry.create(recipe.network.name, **bare)
    sampler = Sampler(data, recipe)
    plan = Plan(
        rows=train_rows,
        validation=validation_rows,
        steps=recipe.optimiser.steps,
        learning_rate=recipe.optimiser.learning_rate,
        seed=seed,
        start={**network.state_dict(), **(start or {})},
        device=device,
    )
    if start is not None:
        plans = {FINE_TUNE: _gentle(plan, recipe, data.rows["new"], plan.rows)}
    elif recipe.transfer.steps > 0:
        confirmed = data.rows["confirmed"]
        first = replace(plan, rows=_only(plan.rows, ~confirmed), validation=_only(plan.validation, ~confirmed))
        transfer = replace(plan, steps=recipe.transfer.steps, seed=seed + MEMBERS_A_FOLD // 2)
        plans = {FIRST: first, TRANSFER: _gentle(transfer, recipe, confirmed, first.rows)}
    else:
        plans = {FIRST: plan}
    summary: dict[str, Any] = {"seed": seed, "stages": {}}
    weights: State = {}
    for stage, planned in plans.items():
        _refuse_empty(data, planned, f"{place.name}, stage {stage}")
        planned = replace(planned, start=weights) if weights else planned
        tell = _teller(progress, stage)
        weights, curves = train_stage(network, sampler, planned, recipe.optimiser, folder / stage, progress=tell)
        best = curves.best
        assert best is not None
        summary["stages"][stage] = {
            "objects": len(planned.rows),
            "steps": len(curves.losses),
            "seconds": round(curves.seconds, 1),
            "best": curves.validations[best],
        }
    if start is None and recipe.network.trees:
        tell = _teller(progress, TREES)
        seen = {"rows": train_rows, "validation": validation_rows}
        clock = clock_of(device)
        began = clock()
        weights, about = grow(recipe, sampler, weights, **seen, seed=seed, progress=tell)
        summary[TREES] = {**about, "seconds": round(clock() - began, 1)}
    save_file(weights, folder / WEIGHTS_FILE)
    write_json(done, summary)
    return weights


def _gentle(plan: Plan, recipe: Recipe, chosen_N: NDArray[np.bool_], old_rows: Integers) -> Plan:
    """The same on the chosen objects alone, at a fraction of the rate, statistics kept, others of ``old_rows`` mixed
    in."""
    return replace(
        plan,
        rows=_only(plan.rows, chosen_N),
        validation=_only(plan.validation, chosen_N),
        old_rows=_only(old_rows, ~chosen_N),
        old_share=recipe.transfer.old_share,
        learning_rate=recipe.optimiser.learning_rate * recipe.transfer.rate,
        frozen_norm=True,
        frozen_backbone=recipe.transfer.frozen_backbone,
    )


def _only(rows: Integers, chosen_N: NDArray[np.bool_]) -> Integers:
    return rows[chosen_N[rows]]


def _teller(progress: Progress, stage: str) -> Callable[[int, float], None]:
    return lambda step, loss: progress(stage, step, loss)


def _refuse_empty(data: DataSet, plan: Plan, where: str) -> None:
    for what, rows in (("train", plan.rows), ("validate", plan.validation)):
        seen = np.concatenate([rows, plan.old_rows]) if what == "train" else rows
        missing = sorted(set(range(4)) - set(data.labels(seen).tolist()))
        if missing and what == "train":
            raise TrainingError(f"{where}: no object to train on of class numbers {missing}: {data.counts()}")
        if not len(rows):
            raise TrainingError(f"{where}: no object to {what} on: {data.counts()}")
