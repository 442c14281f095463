"""Labelled objects over memory-mapped sequences: what trains, validates, calibrates and tests.

Any number of sets of one survey and grid are one data set. Pixels stay on disk until a sample is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from model.scores import CLASSES
from schemas.errors import SettingsError
from schemas.sequence import StampSequence
from schemas.view import ViewRule
from train.simulator.objects import NOVEL_SPLIT
from train.simulator.sequence_set import SequenceSet
from train.splits import CALIBRATION, FOLDS, NO_SPLIT, TEST, named_groups, spanning
from train.triggers import Timeline, timeline

OUTSIDE: Final = -1  # of no class: novel, or unknown
OBJECT_ROW: Final = np.dtype(
    [
        ("source", "i4"),
        ("index", "i8"),
        ("label", "i1"),
        ("truth", "i1"),
        ("confirmed", "?"),
        ("split", "U16"),
        ("weight", "f4"),
        ("label_mjd", "f8"),
        ("group", "i8"),
        ("new", "?"),
    ]
)
_HASHED_FILES: Final = ("objects.npy", "frames.rec")  # frames.rec holds the digest of every frame's content

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class DataSet:
    """rows: OBJECT_ROW, one an object. label: the class trained on, as a survey would have it; truth: the class
    scored; both index CLASSES, OUTSIDE for none. group: equal for positions that are one object. label_mjd: NaN
    unknown. new: labelled since the last training, for retraining."""

    sources: tuple[SequenceSet, ...]
    rows: NDArray[Any]

    def __len__(self) -> int:
        return len(self.rows)

    def where(self, mask_N: NDArray[np.bool_]) -> Integers:
        """Row numbers of a mask, of objects of a known class."""
        return np.flatnonzero(mask_N & (self.rows["label"] != OUTSIDE)).astype(np.int64)

    def of_split(self, *splits: str) -> Integers:
        """Rows of these splits."""
        return self.where(np.isin(self.rows["split"], splits))

    def fold(self, number: int) -> tuple[Integers, Integers]:
        """Rows to train on and rows to validate on: all folds but one, and that one."""
        return self.of_split(*(fold for fold in FOLDS if fold != FOLDS[number])), self.of_split(FOLDS[number])

    @property
    def calibration(self) -> Integers:
        """Rows that fit temperature and thresholds, and nothing else."""
        return self.of_split(CALIBRATION)

    @property
    def test(self) -> Integers:
        """Rows that are scored at the end, and nothing else."""
        return self.of_split(TEST)

    @property
    def novel(self) -> Integers:
        """Rows of no trained class."""
        return np.flatnonzero((self.rows["label"] == OUTSIDE) & (self.rows["split"] != NO_SPLIT)).astype(np.int64)

    def labels(self, rows: Integers) -> Integers:
        """Classes trained on."""
        return self.rows["label"][rows].astype(np.int64)

    def truth(self, rows: Integers) -> Integers:
        """Classes scored."""
        return self.rows["truth"][rows].astype(np.int64)

    def object_id(self, row: int) -> str:
        """As the survey names it."""
        source, index = self._place(row)
        name: bytes = source.objects["object_id"][index]
        return name.decode()

    def survey_of(self, row: int) -> str:
        """Whose object it is."""
        return str(self._place(row)[0].about["survey"])

    def column(self, name: str) -> NDArray[Any]:
        """A column of the sets' objects, a value a row."""
        values = np.zeros(len(self.rows), self.sources[0].objects.dtype[name])
        for number, source in enumerate(self.sources):
            own = self.rows["source"] == number
            values[own] = source.objects[name][self.rows["index"][own]]
        return values

    def timeline(self, row: int, rule: ViewRule) -> Timeline:
        """The object's frames that ``rule`` admits."""
        return timeline(*self._place(row), rule)

    def take(self, row: int, frames: Integers) -> StampSequence:
        """The object's frames of these numbers."""
        source, index = self._place(row)
        return source.take(index, frames)

    def prefix(self, row: int, rule: ViewRule, num_frames: int) -> StampSequence:
        """The view of the trigger at the ``num_frames``-th admitted frame, or at the last one."""
        line = self.timeline(row, rule)
        return self.take(row, line.view(min(num_frames, len(line))))

    def eligible(self, rule: ViewRule, min_frames: int) -> DataSet:
        """Without the objects that never have ``min_frames`` admitted frames."""
        bands = sorted(rule.band_ids)
        places = (self._place(row) for row in range(len(self)))
        long = [np.isin(source.frames(index)["band"], bands).sum() >= min_frames for source, index in places]
        return replace(self, rows=self.rows[np.array(long, np.bool_)])

    def _place(self, row: int) -> tuple[SequenceSet, int]:
        return self.sources[int(self.rows["source"][row])], int(self.rows["index"][row])

    def only(self, mask_N: NDArray[np.bool_]) -> DataSet:
        """The rows of a mask."""
        return replace(self, rows=self.rows[mask_N])

    @property
    def observed(self) -> NDArray[np.bool_]:
        """Rows that no simulator made."""
        real = np.array(["settings" not in source.about["made"] for source in self.sources], np.bool_)
        mask: NDArray[np.bool_] = real[self.rows["source"]]
        return mask

    @property
    def survey(self) -> str:
        """Of the first source."""
        return str(self.sources[0].about["survey"])

    @property
    def grid_id(self) -> str:
        """The one grid of all sources."""
        return str(self.sources[0].about["grid_id"])

    def counts(self) -> dict[str, dict[str, int]]:
        """Objects by split and class trained on."""
        return {
            split: {
                name: int(np.count_nonzero((self.rows["split"] == split) & (self.rows["label"] == number)))
                for number, name in enumerate(CLASSES)
            }
            for split in (*FOLDS, CALIBRATION, TEST)
        }


def simulated(sequences: SequenceSet) -> DataSet:
    """A set that carries labels and splits: the simulator's, or the published layout's."""
    objects = sequences.objects
    rows = np.zeros(len(objects), OBJECT_ROW)
    rows["index"] = np.arange(len(objects))
    rows["label"] = _class_numbers(sequences.text("label"))
    rows["truth"] = _class_numbers(sequences.text("true_class"))
    rows["confirmed"] = objects["confirmed"]
    rows["split"] = sequences.text("split")
    rows["weight"], rows["label_mjd"] = 1.0, np.nan
    unknown = sorted(set(rows["split"].tolist()) - {*FOLDS, CALIBRATION, TEST, NOVEL_SPLIT, NO_SPLIT})
    if unknown:
        raise SettingsError(f"set of sequences with splits {', '.join(unknown)}: expected {', '.join(FOLDS)}, ...")
    return with_groups(DataSet((sequences,), rows))


def joined(sets: Sequence[DataSet]) -> DataSet:
    """Several data sets as one; positions within 2" are one object across them too. An object that is in several of
    them (the same id, in snapshots of one log for instance) is one row: that of its longest sequence, the first of
    equally long ones.

    SettingsError when they are of several grids, there is none, or two give one object different classes.
    """
    if not sets:
        raise SettingsError("no set of sequences is given")
    grids = sorted({part.grid_id for part in sets})
    if len(grids) > 1:
        raise SettingsError(f"sets of sequences are of several grids: {', '.join(grids)}; train one bundle a grid")
    rows: list[NDArray[Any]] = []
    sources: list[SequenceSet] = []
    for part in sets:
        own = part.rows.copy()
        own["source"] += len(sources)
        sources += part.sources
        rows.append(own)
    return _one_row_an_object(with_groups(DataSet(tuple(sources), np.concatenate(rows))))


def _one_row_an_object(data: DataSet) -> DataSet:
    rows, lengths = data.rows.copy(), data.column("num_frames")
    kept: dict[tuple[int, bytes], int] = {}
    for row, key in enumerate(zip(rows["group"].tolist(), data.column("object_id").tolist(), strict=True)):
        best = kept.setdefault(key, row)
        if best == row:
            continue
        one, other = rows[best], rows[row]
        if one["label"] != other["label"]:
            said = " and ".join(_class_name(number) for number in (one["label"], other["label"]))
            raise SettingsError(
                f"object {data.object_id(row)} is in two sets, {said}: mend its label or, if these are two objects "
                "of one name, leave one set out"
            )
        longer = row if lengths[row] > lengths[best] else best
        rows["new"][longer] = one["new"] or other["new"]
        rows["confirmed"][longer] = one["confirmed"] or other["confirmed"]
        rows["label_mjd"][longer] = np.fmin(one["label_mjd"], other["label_mjd"])
        kept[key] = longer
    return replace(data, rows=rows[sorted(kept.values())])


def _class_name(label: int) -> str:
    return "of no class" if label == OUTSIDE else CLASSES[label]


def with_groups(data: DataSet) -> DataSet:
    """Groups by position, and by the id that a survey gave to what it observed; a group that is in several splits
    leaves all of them."""
    rows = data.rows.copy()
    ra, dec = (data.column(name).astype(np.float64) for name in ("ra", "dec"))
    surveys = [str(source.about["survey"]) for source in data.sources]
    ids, observed = data.column("object_id").tolist(), data.observed.tolist()
    names = [
        (surveys[number], name) if own else None
        for number, name, own in zip(rows["source"].tolist(), ids, observed, strict=True)
    ]
    rows["group"] = named_groups(names, ra, dec)
    rows["split"][spanning(rows["group"], rows["split"].tolist())] = NO_SPLIT
    return replace(data, rows=rows)


def set_digest(folder: Path) -> str:
    """SHA-256, hex, of what a set holds: its objects and the content digests of its frames."""
    state = sha256()
    for name in _HASHED_FILES:
        with (folder / name).open("rb") as file:
            while part := file.read(1 << 20):
                state.update(part)
    return state.hexdigest()


def _class_numbers(names: Sequence[str]) -> NDArray[np.int8]:
    numbers = {name: number for number, name in enumerate(CLASSES)}
    return np.array([numbers.get(name, OUTSIDE) for name in names], np.int8)
