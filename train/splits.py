"""Which objects train, validate, calibrate and test, and which of two positions are one object.

A split is a function of the place on the sky alone: a keyed hash of the sky group, a cell of a quarter of a degree.
It needs no register, and neither other objects nor the order of arrival can change it, so it is the same at every
retraining. Positions within 2" are one object. Where such a pair could lie on both sides of a cell's edge, and the
cells differ, the object is in no split at all (about 1 in 150). Simulated objects carry their split, since their
templates do too (``train.simulator.splits``, whose shares are used here as well).
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from train.simulator.splits import CALIBRATION, FOLDS, SPLITS, TEST, split_of

__all__ = ["CALIBRATION", "FOLDS", "NO_SPLIT", "SPLITS", "TEST", "object_groups", "sky_split", "split_rows"]

CELL_DEG: Final = 0.25
SAME_OBJECT_ARCSEC: Final = 2.0
NO_SPLIT: Final = ""
_ARCSEC_PER_DEG: Final = 3600.0

Floats = NDArray[np.float64]


def sky_split(ra_deg: float, dec_deg: float) -> str:
    """The split of a position (degrees, ICRS); NO_SPLIT within 2" of a cell of another split.

    ValueError for a position that is not on the sky.
    """
    if not (math.isfinite(ra_deg) and -90.0 <= dec_deg <= 90.0):
        raise ValueError(f"position {ra_deg}, {dec_deg} is not on the sky")
    reach = SAME_OBJECT_ARCSEC / _ARCSEC_PER_DEG
    found = set()
    for dec in (max(dec_deg - reach, -90.0), min(dec_deg + reach, 90.0)):
        wide = min(reach / max(math.cos(math.radians(dec)), 1e-9), 180.0)
        found |= {_cell_split(ra, dec) for ra in (ra_deg - wide, ra_deg, ra_deg + wide)}
    return found.pop() if len(found) == 1 else NO_SPLIT


def _cell_split(ra_deg: float, dec_deg: float) -> str:
    row = min(math.floor((dec_deg + 90.0) / CELL_DEG), round(180.0 / CELL_DEG) - 1)
    middle = math.radians((row + 0.5) * CELL_DEG - 90.0)
    columns = max(1, round(360.0 * math.cos(middle) / CELL_DEG))
    column = math.floor((ra_deg % 360.0) / 360.0 * columns) % columns
    return split_of(f"sky:{row}:{column}")


def split_rows(object_ids: Sequence[str], ra_deg: Floats, dec_deg: Floats) -> list[str]:
    """The split of each object; one without a position is placed by a hash of its id."""
    return [
        sky_split(float(ra), float(dec)) if np.isfinite(ra) and np.isfinite(dec) else split_of(f"object:{object_id}")
        for object_id, ra, dec in zip(object_ids, ra_deg, dec_deg, strict=True)
    ]


def object_groups(ra_deg: Floats, dec_deg: Floats) -> NDArray[np.int64]:
    """A number a row, equal for positions linked by steps of at most 2"; rows without a position stand alone."""
    known = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    ra, dec = np.radians(ra_deg[known]), np.radians(dec_deg[known])
    points = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)], axis=1)
    chord = 2.0 * math.sin(0.5 * math.radians(SAME_OBJECT_ARCSEC / _ARCSEC_PER_DEG))
    pairs = cKDTree(points).query_pairs(chord, output_type="ndarray") if len(known) else np.zeros((0, 2), np.int64)
    return linked_rows(known[pairs], len(ra_deg))


def named_groups(names: Sequence[Hashable | None], ra_deg: Floats, dec_deg: Floats) -> NDArray[np.int64]:
    """A number a row, equal for rows that a chain of places (``object_groups``) or equal names links; None is no
    name."""
    places_N = object_groups(ra_deg, dec_deg)
    first_there = np.unique(places_N, return_index=True)[1]
    same_place = np.stack([np.arange(len(names)), first_there[places_N]], axis=1)
    first: dict[Hashable, int] = {}
    named = [(row, first.setdefault(name, row)) for row, name in enumerate(names) if name is not None]
    return linked_rows(np.concatenate([same_place, np.array(named, np.int64).reshape(-1, 2)]), len(names))


def linked_rows(pairs_P2: NDArray[np.int64], num_rows: int) -> NDArray[np.int64]:
    """A number 0, 1, ... a row, [num_rows], equal for rows that a chain of pairs (row, row) links."""
    links = coo_array((np.ones(len(pairs_P2), np.int8), (pairs_P2[:, 0], pairs_P2[:, 1])), shape=(num_rows,) * 2)
    labels: NDArray[np.int64] = connected_components(links, directed=False)[1].astype(np.int64)
    return labels


def spanning(groups_N: NDArray[np.int64], splits_N: Sequence[str]) -> NDArray[np.bool_]:
    """Rows of a group that is in more than one split."""
    seen: dict[int, set[str]] = {}
    for group, split in zip(groups_N.tolist(), splits_N, strict=True):
        seen.setdefault(group, set()).add(split)
    return np.array([len(seen[group]) > 1 for group in groups_N.tolist()], np.bool_)
