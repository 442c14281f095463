"""The objects that every cell is scored on, and the prefixes at which."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.errors import SettingsError
from train.dataset import DataSet
from train.samples import Sampler

RANDOM: Final = "random"
ALL: Final = "all"
OBJECTS_FILE: Final = "objects.npz"

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Objects:
    """N test objects and M novel ones at P prefixes.

    names: of the prefixes (``all``, ``random``, numbers of frames); truth_N, label_N, confirmed_N; frames_NP and
    novel_frames_MP: which frame triggers, 0 where the object never has as many; ids_N, novel_ids_M.
    """

    names: tuple[str, ...]
    ids_N: NDArray[np.bytes_]
    truth_N: Integers
    label_N: Integers
    confirmed_N: NDArray[np.bool_]
    frames_NP: Integers
    novel_ids_M: NDArray[np.bytes_]
    novel_frames_MP: Integers

    def place(self, name: str) -> int:
        """Column of a prefix."""
        return self.names.index(name)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As stored."""
        return {
            "names": np.array(self.names),
            "ids": self.ids_N,
            "truth": self.truth_N.astype(np.int8),
            "label": self.label_N.astype(np.int8),
            "confirmed": self.confirmed_N,
            "frames": self.frames_NP.astype(np.int16),
            "novel_ids": self.novel_ids_M,
            "novel_frames": self.novel_frames_MP.astype(np.int16),
        }


def shared_objects(sampler: Sampler, lengths: tuple[int, ...]) -> Objects:
    """Of a data set's test part and its novel objects, in the data set's order."""
    data, rows, novel = sampler.data, sampler.data.test, sampler.data.novel
    names = (ALL, RANDOM, *map(str, lengths))
    return Objects(
        names,
        _ids(data, rows),
        data.truth(rows),
        data.labels(rows),
        data.rows["confirmed"][rows],
        _frames(sampler, rows, lengths),
        _ids(data, novel),
        _frames(sampler, novel, lengths),
    )


def save_objects(objects: Objects, folder: Path) -> None:
    """Write them once; SettingsError when the folder holds others."""
    path = folder / OBJECTS_FILE
    if not path.exists():
        np.savez_compressed(path, **objects.arrays())  # type: ignore[arg-type]
        return
    known = load_objects(folder).arrays()
    if any(not np.array_equal(value, known[name]) for name, value in objects.arrays().items()):
        raise SettingsError(
            f"{path} holds other test objects: the simulation or the plan has changed; use a new folder"
        )


def load_objects(folder: Path) -> Objects:
    """SettingsError when there are none."""
    path = folder / OBJECTS_FILE
    if not path.is_file():
        raise SettingsError(f"{folder} holds no comparison: {OBJECTS_FILE} is missing; run train compare first")
    with np.load(path, allow_pickle=False) as file:
        return Objects(
            tuple(file["names"].tolist()),
            file["ids"],
            file["truth"].astype(np.int64),
            file["label"].astype(np.int64),
            file["confirmed"],
            file["frames"].astype(np.int64),
            file["novel_ids"],
            file["novel_frames"].astype(np.int64),
        )


def asked(sampler: Sampler, rows: Integers, frames_NP: Integers) -> tuple[list[tuple[int, int]], Integers]:
    """(row, frame) of every prefix in which the sampler's network sees a frame, object by object, and how many frames
    are in its view at each of [N, P]: of its bands, the newest ones, 0 where it is not asked."""
    view_NP = np.zeros(frames_NP.shape, np.int64)
    for n, p in np.argwhere(frames_NP > 0):
        view_NP[n, p] = len(sampler.visible(int(rows[n]), int(frames_NP[n, p])))
    places = np.argwhere(view_NP > 0)
    return [(int(rows[n]), int(frames_NP[n, p])) for n, p in places], view_NP


def _ids(data: DataSet, rows: Integers) -> NDArray[np.bytes_]:
    return np.array([data.object_id(int(row)) for row in rows], "S32")


def _frames(sampler: Sampler, rows: Integers, lengths: tuple[int, ...]) -> Integers:
    found = np.zeros((len(rows), 2 + len(lengths)), np.int64)
    for place, row in enumerate(rows.tolist()):
        longest = sampler.longest(row)
        early = [length if length <= longest else 0 for length in lengths]
        found[place] = [longest, sampler.lengths(row, 1)[0], *early]
    return found
