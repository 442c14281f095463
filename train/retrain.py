"""Periodic retraining: new labels fine-tune the champion, and the challenger takes its place only through the gate.

The two are compared on observed objects that neither was trained, stopped or calibrated on: those of the test split,
and those labelled after the cut-off, which are kept out of training whatever their split. A comparison on an object
that one of them knows is refused.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.bundle import Bundle
from model.bundle_store import promote
from model.runtime import Runtime, load_scorer
from schemas.errors import SettingsError
from train.dataset import OUTSIDE, DataSet
from train.gate import Gate, judge
from train.measure import ALL_FRAMES
from train.pipeline import Provenance, Trained, train_bundle
from train.recipe import Recipe, parse_recipe
from train.splits import NO_SPLIT, TEST
from train.trained_objects import hashes_of, object_hash, record_of

LATER: Final = "later"  # labelled after the cut-off: never trained on
REPORT_FILES: Final = ("retraining.json", "retraining.md")
SHOWN: Final = 5
CHUNK: Final = 256

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Retraining:
    """challenger: the new bundle; report: what ``retraining.json`` holds; promoted: its place in the store, or
    None."""

    challenger: Trained
    report: dict[str, Any]
    promoted: Path | None


def champion_recipe(recipe: Recipe, champion: Bundle, *, version: str) -> Recipe:
    """The recipe with the champion's network, view, ensemble and name. The champion's notes are not the
    challenger's: they may say that it was trained on simulation alone."""
    spec = champion.spec
    config = {key: value for key, value in spec.network.config.items() if key != "bands"}
    came_from = f"Fine-tuned on labelled objects from {champion.bundle_id}, whose card says what that was trained on."
    ensemble = _ensemble(spec.training, spec.num_members)
    values = recipe.model_dump() | {
        "network": {"name": spec.network.name, "bands": spec.bands, "config": config},
        "view": {
            "max_frames": spec.view.max_frames,
            "max_days": spec.view.max_days,
            "min_frames": spec.eligibility.min_frames,
        },
        "ensemble": ensemble,
        "bundle": {"name": spec.name, "version": version, "notes": (came_from, *recipe.bundle.notes)},
    }
    return parse_recipe(values, where="retraining recipe")


def _ensemble(training: Mapping[str, Any], num_members: int) -> dict[str, int]:
    """The champion's folds, so that every member goes on validating on the fold it has not seen."""
    stated = training.get("recipe")
    said = stated.get("ensemble") if isinstance(stated, dict) else None
    if isinstance(said, dict) and said["folds"] * said["members"] == num_members:
        return {"folds": said["folds"], "members": said["members"]}
    return {"folds": 1, "members": num_members}


def apply_cutoff(data: DataSet, cutoff_mjd: float | None) -> DataSet:
    """Objects labelled later than the cut-off leave training, whatever their split, and what is within 2" of them."""
    if cutoff_mjd is None:
        return data
    rows = data.rows.copy()
    later = (rows["label_mjd"] > cutoff_mjd) & rows["new"]
    rows["split"][np.isin(rows["group"], rows["group"][later]) & (rows["split"] != NO_SPLIT)] = LATER
    return replace(data, rows=rows)


def retrain(
    champion: Bundle,
    recipe: Recipe,
    data: DataSet,
    folder: Path,
    provenance: Provenance,
    *,
    gate: Gate,
    version: str,
    cutoff_mjd: float | None = None,
    store: Path | None = None,
    device: str = "cpu",
    say: Callable[[str], None],
    progress: Callable[[str, int, int, float], None],
) -> Retraining:
    """Fine-tune, compare, and promote into ``store`` if the gate lets the challenger through.

    SettingsError when the data are of another grid, the champion does not say what it was trained on, or an object
    of the comparison is known to one of the two.
    """
    if champion.spec.grid_id != data.grid_id:
        raise SettingsError(
            f"{champion.bundle_id} is for grid {champion.spec.grid_id}, the objects are of {data.grid_id}"
        )
    earlier = record_of(champion.bundle_id, champion.spec.training)
    data = apply_cutoff(data, cutoff_mjd)
    recipe = champion_recipe(recipe, champion, version=version)
    chosen = compared_rows(data, recipe)
    refuse_known(data, chosen, champion.bundle_id, earlier)
    fine_tuned = replace(provenance, fine_tuned_from=champion.bundle_id, earlier=earlier)
    trained = train_bundle(
        recipe, data, folder, fine_tuned, device=device, starts=champion.states, say=say, progress=progress
    )
    refuse_known(data, chosen, trained.bundle_id, record_of(trained.bundle_id, trained.spec.training))
    scorers = [load_scorer(champion.folder, device=device), load_scorer(trained.bundle, device=device)]
    report = _compare(data, chosen, scorers, earlier, trained, gate)
    place = promote(trained.bundle, store) if report["passed"] and store is not None else None
    report["promoted"] = None if place is None else str(place)
    (folder / "retraining.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (folder / "retraining.md").write_text(markdown(report), encoding="utf-8")
    return Retraining(trained, report, place)


def compared_rows(data: DataSet, recipe: Recipe) -> Integers:
    """Observed objects of a known class that no split of training holds and that are long enough; of two that are
    within 2", which are one, the longer, and neither where their classes differ."""
    rows = data.rows
    held_out = np.isin(rows["split"], (TEST, LATER)) & data.observed & (rows["label"] != OUTSIDE)
    rule, fewest = recipe.rule(data.grid_id), recipe.view.min_frames
    longest: dict[int, tuple[int, int]] = {}  # group -> number of frames, row
    classes = {(int(group), int(label)) for group, label in zip(rows["group"], rows["label"], strict=True)}
    num_classes = Counter(group for group, _ in classes)
    for row in np.flatnonzero(held_out).tolist():
        group, length = int(rows["group"][row]), len(data.timeline(row, rule))
        if num_classes[group] == 1 and length >= fewest and length > longest.get(group, (0, 0))[0]:
            longest[group] = (length, row)
    return np.array(sorted(row for _, row in longest.values()), np.int64)


def refuse_known(data: DataSet, rows: Integers, bundle_id: str, record: Mapping[str, Any]) -> None:
    """SettingsError when the bundle was trained on one of the rows, or on what is within 2" of one."""
    known = hashes_of(record)
    near = np.flatnonzero(np.isin(data.rows["group"], data.rows["group"][rows])).tolist()
    seen = [data.object_id(row) for row in near if object_hash(data.survey_of(row), data.object_id(row)) in known]
    if seen:
        raise SettingsError(
            f"{bundle_id} was trained on {len(seen)} of the {len(rows)} objects to compare on: "
            f"{', '.join(seen[:SHOWN])}; it was trained under other splits or labels, and cannot be compared on them"
        )


def _compare(
    data: DataSet,
    rows: Integers,
    scorers: list[Runtime],
    earlier: Mapping[str, Any],
    trained: Trained,
    gate: Gate,
) -> dict[str, Any]:
    truth = data.truth(rows)
    champion, challenger = (_probabilities(data, rows, scorer) for scorer in scorers)
    cutoffs = [earlier["label_cutoff_mjd"], record_of(trained.bundle_id, trained.spec.training)["label_cutoff_mjd"]]
    newest = max((cutoff for cutoff in cutoffs if cutoff is not None), default=np.inf)
    later = data.rows["label_mjd"][rows] > newest
    report: dict[str, Any] = {"champion_id": scorers[0].bundle_id, "challenger_id": scorers[1].bundle_id}
    report |= judge(gate, truth, champion, challenger)
    apart = judge(gate, truth[later], champion[later], challenger[later])
    report["labelled_after_both_cutoffs"] = {
        name: apart[name] for name in ("champion", "challenger", "macro_f1_difference")
    }
    return report


def _probabilities(data: DataSet, rows: Integers, scorer: Runtime) -> NDArray[np.float64]:
    """Of each object's last trigger, as the bundle would publish them."""
    said: list[NDArray[np.float32]] = []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK].tolist()
        sequences = [data.prefix(row, scorer.view_rule, ALL_FRAMES) for row in part]
        said += [score.probabilities_K for score in scorer.score(sequences)]
    return np.array(said, np.float64).reshape(len(rows), -1)


def markdown(report: Mapping[str, Any]) -> str:
    """For people."""
    words = "passes" if report["passed"] else "does not pass"
    lines = [
        f"# {report['challenger_id']} against {report['champion_id']}\n",
        f"The challenger {words} the gate."
        + (f" Promoted to {report['promoted']}." if report.get("promoted") else " Nothing was promoted."),
        "",
        *[f"* {reason}" for reason in report["reasons"]],
        "",
        "| on objects that neither was trained on | objects | champion macro F1 | challenger macro F1 | difference |",
        "|---|---|---|---|---|",
        _line("all", report),
        _line("labelled after both cut-offs", report["labelled_after_both_cutoffs"]),
        "",
    ]
    return "\n".join(lines)


def _line(name: str, part: Mapping[str, Any]) -> str:
    found = part["macro_f1_difference"]
    if found is None:
        return f"| {name} | 0 | | | |"
    low, high = found["interval"]
    scores = " | ".join(f"{part[who]['macro_f1']:.3f}" for who in ("champion", "challenger"))
    difference = f"{found['difference']:+.3f} ({low:+.3f} to {high:+.3f}) {found['verdict']}"
    return f"| {name} | {part['champion']['num_objects']} | {scores} | {difference} |"
