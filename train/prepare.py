"""The data set of a run: sets that are given, or the recipe's own simulation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from schemas.errors import SettingsError
from train.dataset import DataSet, joined, set_digest, simulated
from train.fact_set import INDEX_FILE, SCRATCH_FILE, open_snapshot
from train.label_table import LabelTable
from train.labelled import labelled
from train.recipe import Simulation
from train.simulator.objects import SetSettings
from train.simulator.production import Outputs, described, simulate
from train.simulator.sequence_set import SequenceSet
from train.simulator.survey_description import SURVEYS

SEQUENCES: Final = "sequences"
SET_FILE: Final = "set.json"


def sequence_folders(paths: Sequence[Path]) -> list[Path]:
    """The sets of sequences that paths name: a set, a folder of ``simulate``, or a snapshot. SettingsError for
    others."""
    found: list[Path] = []
    for path in paths:
        if (path / SET_FILE).is_file():
            found.append(path)
        elif (path / SEQUENCES / SET_FILE).is_file():
            found.append(path / SEQUENCES)
        elif (path / INDEX_FILE).is_file():
            found += open_snapshot(path).sets
        elif (path / SCRATCH_FILE).is_file():
            raise SettingsError(f"{path}: an export that was cut off: run the same export again")
        else:
            sets = sorted(entry.parent for entry in path.glob(f"*/{SET_FILE}"))
            if not sets:
                raise SettingsError(f"{path}: neither a set of sequences, nor a folder of simulate, nor a snapshot")
            found += sets
    return found


def load_sets(
    folders: Sequence[Path], labels: LabelTable | None, *, grid_id: str | None = None
) -> tuple[DataSet, list[dict[str, Any]]]:
    """Sets as one data set, and what the card says of each. With a label table every set is joined with it, but for
    those that carry labels of their own (the simulator's, the published layout's). grid_id: leave sets of others
    out; SettingsError when that leaves none, or the table names no object of the sets."""
    sets = [(folder, SequenceSet(folder)) for folder in folders]
    fitting = [(folder, found) for folder, found in sets if grid_id in (None, found.about["grid_id"])]
    if sets and not fitting:
        grids = sorted({str(found.about["grid_id"]) for _, found in sets})
        raise SettingsError(
            f"none of the {len(sets)} sets has the champion's grid {grid_id}: theirs are {', '.join(grids)}; "
            "name a champion of one of these, or sets of its survey"
        )
    parts, said, joins = [], [], []
    for folder, sequences in fitting:
        own = any(sequences.text("label"))
        entry: dict[str, Any] = {"made": sequences.about["made"], "sha256": set_digest(folder)}
        if own:
            parts.append(simulated(sequences))
        elif labels is None:
            raise SettingsError(f"{folder} carries no labels: give a label table with --labels")
        else:
            join = labelled(sequences, labels)
            parts.append(join.data)
            joins.append((sequences, join))
            entry |= {
                "labels": str(labels.path),
                "labels_sha256": labels.sha256,
                "class_mapping_sha256": labels.mapping_sha256,
                "labels_without_sequence": join.num_labels_without_sequence,
                "sequences_without_label": join.num_sequences_without_label,
            }
        said.append(entry)
    if labels is not None and joins and not any(len(join.data) for _, join in joins):
        raise SettingsError(_nothing_named(labels, [sequences for sequences, _ in joins]))
    data = joined(parts)
    for number, entry in enumerate(said):
        entry["objects"] = int(np.count_nonzero(data.rows["source"] == number))
        if elsewhere := len(parts[number]) - entry["objects"]:
            entry["objects_taken_from_another_set"] = elsewhere
    return data, said


def _nothing_named(labels: LabelTable, sets: Sequence[SequenceSet]) -> str:
    first = labels.labels[0]
    theirs = first.object_id or f"ra {first.ra:.5f}, dec {first.dec:.5f}"
    ours = next((sequences.text("object_id")[0] for sequences in sets if len(sequences)), "none")
    return (
        f"{labels.path}: 0 of its {len(labels.labels)} objects are among the {sum(map(len, sets))} of the sets, by "
        f'id or within 2": the table has {theirs}, the sets have {ours}; give the ids as the survey writes them, or '
        "ra and dec in degrees"
    )


def simulated_sets(
    simulation: Simulation, folder: Path, *, workers: int, by: str, progress: Callable[[int], None]
) -> list[Path]:
    """The recipe's own simulation in ``folder``, made unless it is there already; SettingsError when another is."""
    settings = SetSettings(
        SURVEYS[simulation.survey],
        simulation.num_objects,
        simulation.seed,
        form=simulation.form,
        mix=simulation.mix,
        num_novel=simulation.num_novel,
        split=simulation.split,
        label_noise=simulation.label_noise,
    )
    target = folder / SEQUENCES
    if (target / SET_FILE).is_file():
        if SequenceSet(target).about["made"]["settings"] != described(settings):
            raise SettingsError(f"{folder} holds a set of other settings: remove it or name another folder")
        return [target]
    made = {"by": by, "settings": described(settings)}
    simulate(settings, Outputs(folder, True, False), workers=workers, made=made, progress=progress)
    return [target]
