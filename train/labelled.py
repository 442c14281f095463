"""Sequences without labels (an archive's, the stamp log's) joined with a label table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from schemas.errors import SettingsError
from train.dataset import OBJECT_ROW, DataSet, with_groups
from train.label_table import Label, LabelTable
from train.simulator.sequence_set import SequenceSet
from train.splits import SAME_OBJECT_ARCSEC, split_rows


@dataclass(frozen=True, slots=True)
class Join:
    """The labelled objects, and how many labels had no sequence and how many sequences no label."""

    data: DataSet
    num_labels_without_sequence: int
    num_sequences_without_label: int


def labelled(sequences: SequenceSet, table: LabelTable) -> Join:
    """Objects of a set that the table names by id or, within 2", by position; split by place on the sky.

    SettingsError when two labels of different classes name one object.
    """
    names = sequences.text("object_id")
    ra, dec = (sequences.objects[name].astype(np.float64) for name in ("ra", "dec"))
    found: dict[int, Label] = {}
    matches = _matches(table.labels, names, ra, dec)
    for label, index in zip(table.labels, matches, strict=True):
        if index < 0:
            continue
        known = found.setdefault(index, label)
        if known.label != label.label:
            raise SettingsError(f"two rows of one object disagree:\n  {known.where}\n  {label.where}")
    chosen = sorted(found)
    rows = np.zeros(len(chosen), OBJECT_ROW)
    rows["index"] = chosen
    rows["split"] = split_rows([names[index] for index in chosen], ra[chosen], dec[chosen])
    for row, index in zip(rows, chosen, strict=True):
        label = found[index]
        row["label"] = row["truth"] = label.label
        row["new"] = True
        row["confirmed"], row["weight"], row["label_mjd"] = label.confirmed, label.weight, label.label_mjd
    data = with_groups(DataSet((sequences,), rows))
    return Join(data, sum(index < 0 for index in matches), len(names) - len(chosen))


def _matches(
    labels: Sequence[Label], names: Sequence[str], ra: NDArray[np.float64], dec: NDArray[np.float64]
) -> list[int]:
    """Index of each label's object, -1 for none: by id, else the nearest within 2" of the label's position."""
    places = {name: index for index, name in enumerate(names)}
    usable = np.flatnonzero(np.isfinite(ra) & np.isfinite(dec))
    tree = cKDTree(_unit(ra[usable], dec[usable])) if len(usable) else None
    chord = 2.0 * np.sin(0.5 * np.radians(SAME_OBJECT_ARCSEC / 3600.0))
    matches = []
    for label in labels:
        index = places.get(label.object_id, -1)
        if index < 0 and np.isfinite(label.ra) and tree is not None:
            distance, nearest = tree.query(_unit(np.array([label.ra]), np.array([label.dec]))[0])
            index = int(usable[nearest]) if distance <= chord else -1
        matches.append(index)
    return matches


def _unit(ra_deg: NDArray[np.float64], dec_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    ra, dec = np.radians(ra_deg), np.radians(dec_deg)
    return np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=-1)
