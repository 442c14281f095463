"""From a recipe and a data set to a bundle: members, calibration, figures, export. Each part can be cut off and
resumed."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.bundle import load_bundle
from model.bundle_files import compact_weights
from model.bundle_spec import BundleSpec
from model.bundle_store import is_bundle
from model.bundle_writer import save_bundle
from model.novelty import NoveltyModel
from model.scores import CLASSES
from schemas.errors import SettingsError
from train.calibrate import (
    answers,
    calibrate,
    fit_prior_share,
    log_prior_shift,
    require_calibration,
    shift_output,
)
from train.dataset import OUTSIDE, DataSet
from train.drift_reference import held_out_distributions
from train.json_files import read_json, write_json
from train.measure import measure
from train.members import TREES, State, places, train_member
from train.recipe import Recipe
from train.samples import Sampler
from train.simulator.check.nuisances import audits
from train.trained_objects import KEY, known_objects

RUN_FILE: Final = "run.json"
MEMBERS_FOLDER: Final = "members"
GOLDEN_FRAMES: Final = (3, 8, 14)

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Provenance:
    """What goes on the card besides the recipe. data: how the sets came to be, with their digests; command: that
    makes the bundle again; version: of the package; fine_tuned_from: bundle id, None for a training from scratch;
    earlier: what that bundle knows (``train.trained_objects``)."""

    data: dict[str, Any]
    command: str
    version: str
    fine_tuned_from: str | None = None
    earlier: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Trained:
    """A finished run. bundle: its folder; bundle_id; spec, with figures."""

    bundle: Path
    bundle_id: str
    spec: BundleSpec


def train_bundle(
    recipe: Recipe,
    data: DataSet,
    folder: Path,
    provenance: Provenance,
    *,
    device: str = "cpu",
    starts: Sequence[Mapping[str, Tensor]] = (),
    say: Callable[[str], None],
    progress: Callable[[str, int, int, float], None],
) -> Trained:
    """Train all members, calibrate on the calibration part, measure on the test part, write the bundle.

    starts: weights to fine-tune on the new objects, a member each. A finished run is read. ``progress`` is told of
    member and stage, step, steps of all stages (rounds, of the trees) and loss. SettingsError when the folder holds a
    run of another recipe or data, or the calibration part is too small.
    """
    if recipe.network.input != "all":
        raise SettingsError(f"network.input {recipe.network.input!r} is a control of the comparison, not a bundle's")
    data = data.eligible(recipe.rule(data.grid_id), recipe.view.min_frames)
    require_calibration(data)
    _begin(folder, recipe, data, provenance, device)
    target = folder / f"{recipe.bundle.name}-{recipe.bundle.version}"
    if is_bundle(target):
        finished = load_bundle(target)
        return Trained(target, finished.bundle_id, finished.spec)
    members = places(recipe)
    if starts and len(starts) != len(members):
        raise SettingsError(f"{len(starts)} members to fine-tune, the recipe has {len(members)}")
    states: list[State] = []
    for number, place in enumerate(members):
        states.append(
            train_member(
                recipe,
                data,
                place,
                folder / MEMBERS_FOLDER / place.name,
                device=device,
                start=starts[number] if starts else None,
                progress=partial(_tell, progress, place.name, recipe),
            )
        )
        say(f"{place.name} is trained")
    return export(recipe, data, states, folder, provenance, say=say)


def _tell(
    progress: Callable[[str, int, int, float], None], name: str, recipe: Recipe, stage: str, step: int, loss: float
) -> None:
    steps = recipe.optimiser.steps + recipe.transfer.steps
    progress(f"{name} {stage}", step, recipe.network.trees if stage == TREES else steps, loss)


def export(
    recipe: Recipe,
    data: DataSet,
    states: Sequence[State],
    folder: Path,
    provenance: Provenance,
    *,
    say: Callable[[str], None],
) -> Trained:
    """Calibrate, measure and write ``folder/bundle`` from trained weights."""
    sampler = Sampler(data, recipe)
    spec = _draft_spec(recipe, data, len(states), provenance)
    stored = [compact_weights(state) for state in states]
    spec, stored, novelty = _calibrated(recipe, data, sampler, spec, stored)
    metrics = measure(spec, stored, novelty, sampler)
    held_out = held_out_distributions(spec, stored, novelty, sampler)
    spec = BundleSpec.model_validate(spec.model_dump() | {"metrics": metrics, "distributions": held_out})
    test = data.test
    golden = [sampler.held_out(int(row), frames) for row, frames in zip(test.tolist(), GOLDEN_FRAMES, strict=False)]
    target = folder / f"{spec.name}-{spec.version}"
    bundle_id = save_bundle(target, spec, stored, novelty, golden)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    say(f"{bundle_id} is written to {target}")
    return Trained(target, bundle_id, spec)


def _calibrated(
    recipe: Recipe, data: DataSet, sampler: Sampler, spec: BundleSpec, states: list[dict[str, Tensor]]
) -> tuple[BundleSpec, list[dict[str, Tensor]], NoveltyModel]:
    settings = recipe.calibration
    asked = sampler.random_triggers(data.calibration, settings.triggers)
    found = answers(spec, states, sampler, asked)
    truth, groups = data.truth(found.rows_N), data.rows["group"][found.rows_N].astype(np.int64)
    if settings.prior == "natural" and recipe.optimiser.balance:
        # the members saw every class equally often; the probabilities are to be those of the objects as they come
        log_shift = log_prior_shift(spec)
        share = fit_prior_share(found.logits_KNC, truth, found.frames_N, log_shift)
        states = [compact_weights(shift_output(state, share * log_shift)) for state in states]
        found = answers(spec, states, sampler, asked)
        training = spec.training | {"share_of_log_prior_added": share}
        spec = BundleSpec.model_validate(spec.model_dump() | {"training": training})
    spec, novelty = calibrate(spec, found, truth, groups, settings)
    return spec, states, novelty


def _draft_spec(recipe: Recipe, data: DataSet, num_members: int, provenance: Provenance) -> BundleSpec:
    trained = np.isin(data.rows["split"], [f"fold{number}" for number in range(5)]) & (data.rows["label"] != OUTSIDE)
    counts = np.bincount(data.rows["truth"][trained].astype(np.int64), minlength=len(CLASSES))
    natural = (counts + 1.0) / (counts + 1.0).sum()
    prior = natural if recipe.calibration.prior == "natural" else np.full(len(CLASSES), 1.0 / len(CLASSES))
    return BundleSpec.model_validate(
        {
            "name": recipe.bundle.name,
            "version": recipe.bundle.version,
            "network": {"name": recipe.network.name, "config": recipe.network.full_config},
            "num_members": num_members,
            "bands": recipe.network.bands,
            "grid_id": data.grid_id,
            "class_prior": tuple(prior.tolist()),
            "view": {"max_frames": recipe.view.max_frames, "max_days": recipe.view.max_days},
            "eligibility": {"min_frames": recipe.view.min_frames},
            "training": {
                "data": provenance.data,
                "objects": data.counts(),
                "nuisance_audit": audits(data.sources),
                "recipe": recipe.model_dump(mode="json", exclude={"bundle"}),
                "command": provenance.command,
                "versions": versions(provenance.version),
                "fine_tuned_from": provenance.fine_tuned_from,
                KEY: known_objects(data, earlier=provenance.earlier),
            },
            "notes": recipe.bundle.notes,
        }
    )


def versions(package: str) -> dict[str, str]:
    """Of what computes."""
    return {
        "convention-broker": package,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
    }


def _begin(folder: Path, recipe: Recipe, data: DataSet, provenance: Provenance, device: str) -> None:
    """Write what the run is; refuse to continue another one."""
    about = {
        "recipe": recipe.decisive,
        "data": provenance.data,
        "objects": data.counts(),
        "command": provenance.command,
        "versions": versions(provenance.version),
        "device": device,
    }
    path = folder / RUN_FILE
    if path.exists():
        known = read_json(path)
        differing = [name for name in ("recipe", "data", "objects") if known.get(name) != _plain(about[name])]
        if differing:
            raise SettingsError(f"{folder} holds a run of another {' and '.join(differing)}: name another folder")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_json(path, about)


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))
