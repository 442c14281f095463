"""Slices: which records stand for their objects at a number of frames, an age, a magnitude or a set of bands.

In every slice an object stands once, with its last record in it (delivery order), so that long-lived objects do not
outweigh the others and resampling by object is resampling of independent samples.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker_plugin.evaluation.table import Integers, RecordTable
from schemas.bands import BANDS

# Lower edges; a bin ends where the next begins, the last is open.
FRAME_EDGES: Final = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75)
DAY_EDGES: Final = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
MAX_BAND_SETS: Final = 12


@dataclass(frozen=True, slots=True, eq=False)
class Slice:
    """label: as people read it; low, high: bounds [low, high) of a bin, None for open or none; places_N: records."""

    label: str
    low: float | None
    high: float | None
    places_N: Integers


def final_slice(table: RecordTable, mask_R: NDArray[np.bool_]) -> Slice:
    """The last record of each object."""
    return Slice("last record of each object", None, None, table.last_of_each(mask_R))


def frame_slices(table: RecordTable, mask_R: NDArray[np.bool_]) -> list[Slice]:
    """By number of frames in the view; empty bins are left out."""
    return list(_binned(table, mask_R, table.num_frames_R.astype(np.float64), FRAME_EDGES, _count_label))


def day_slices(table: RecordTable, mask_R: NDArray[np.bool_]) -> list[Slice]:
    """By days since the object's first detection."""
    return list(_binned(table, mask_R, table.days_R, DAY_EDGES, _range_label))


def magnitude_slices(table: RecordTable, mask_R: NDArray[np.bool_]) -> list[Slice]:
    """By AB magnitude of the brightest difference flux so far, one magnitude wide."""
    known = table.magnitude_R[mask_R & np.isfinite(table.magnitude_R)]
    if not known.size:
        return []
    edges = tuple(range(int(np.floor(known.min())), int(np.floor(known.max())) + 2))
    return list(_binned(table, mask_R, table.magnitude_R, edges, _range_label))


def band_slices(table: RecordTable, mask_R: NDArray[np.bool_]) -> list[Slice]:
    """By the set of bands that have a frame, the sets with most objects first, at most MAX_BAND_SETS."""
    slices = [
        Slice(_band_label(int(bands)), None, None, table.last_of_each(mask_R & (table.bands_R == bands)))
        for bands in np.unique(table.bands_R[mask_R])
    ]
    return sorted(slices, key=lambda item: (-len(item.places_N), item.label))[:MAX_BAND_SETS]


def _binned(
    table: RecordTable,
    mask_R: NDArray[np.bool_],
    values_R: NDArray[np.float64],
    edges: tuple[int, ...],
    label: Callable[[int, int | None], str],
) -> Iterator[Slice]:
    for place, low in enumerate(edges):
        high = edges[place + 1] if place + 1 < len(edges) else None
        with np.errstate(invalid="ignore"):
            inside = (values_R >= low) & (values_R < (np.inf if high is None else high))
        places = table.last_of_each(mask_R & inside)
        if len(places):
            yield Slice(label(low, high), low, high, places)


def _count_label(low: int, high: int | None) -> str:
    if high is None:
        return f"{low}+"
    return str(low) if high == low + 1 else f"{low}–{high - 1}"


def _range_label(low: int, high: int | None) -> str:
    return f"{low}+" if high is None else f"{low}–{high}"


def _band_label(bands: int) -> str:
    return "".join(band for place, band in enumerate(BANDS) if bands >> place & 1) or "none"
