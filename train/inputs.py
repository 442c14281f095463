"""What of a sequence a network is shown: all of it, or, for the comparison's controls, less. Letters as in
``schemas.sequence``."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from schemas.sequence import StampSequence

# a median of many values scatters this much more than their mean (normal distribution)
MEDIAN_NOISE: Final = math.sqrt(math.pi / 2.0)
_SECOND_DAYS: Final = 1.0 / 86400.0


def shown(sequence: StampSequence, kind: str, *, random: np.random.Generator) -> StampSequence:
    """``all``: the sequence. ``newest``: its last frame. ``median``: one frame a band, the median of its frames, all
    at the newest frame's time. ``shuffled``: the frames in random order at the sequence's times."""
    if kind == "all":
        return sequence
    if kind == "newest":
        return take_frames(sequence, np.array([len(sequence) - 1]))
    if kind == "median":
        return _medians(sequence)
    if kind == "shuffled":
        moved = take_frames(sequence, random.permutation(len(sequence)))
        return replace(moved, mjd_L=sequence.mjd_L, night_L=sequence.night_L)
    raise ValueError(f"unknown input {kind!r}")


def take_frames(sequence: StampSequence, chosen: NDArray[np.integer]) -> StampSequence:
    """The chosen frames, in that order."""
    per_frame: dict[str, Any] = {
        field.name: getattr(sequence, field.name)[chosen] for field in fields(sequence) if "_L" in field.name
    }
    per_frame |= {
        name: tuple(getattr(sequence, name)[index] for index in chosen) for name in ("source_ids", "digests")
    }
    return replace(sequence, **per_frame)


def _medians(sequence: StampSequence) -> StampSequence:
    bands = np.unique(sequence.band_L)
    first = np.array([np.flatnonzero(sequence.band_L == band)[-1] for band in bands])
    result = take_frames(sequence, first)
    for row, band in enumerate(bands):
        own = sequence.band_L == band
        planes, valid = sequence.planes_LPHW[own], sequence.valid_LPHW[own]
        count_P = np.maximum(valid.any(axis=(2, 3)).sum(axis=0), 1)
        result.planes_LPHW[row] = _median(planes, valid)
        result.valid_LPHW[row] = valid.any(axis=0)
        noise = sequence.noise_LP[own].sum(axis=0) / count_P
        result.noise_LP[row] = np.where(count_P > 1, noise * MEDIAN_NOISE / np.sqrt(count_P), noise)
    seconds = (np.arange(len(bands)) - len(bands) + 1).astype(np.float64) * _SECOND_DAYS
    newest = float(sequence.mjd_L[-1])
    return replace(
        result, mjd_L=np.asarray(newest + seconds, np.float64), night_L=np.full(len(bands), sequence.night_L[-1])
    )


def _median(planes_LPHW: NDArray[np.float32], valid_LPHW: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Over the valid frames, 0 where there is none."""
    ordered = np.sort(np.where(valid_LPHW, planes_LPHW, np.inf), axis=0)
    count = valid_LPHW.sum(axis=0)[None]
    low, high = (np.take_along_axis(ordered, np.maximum(count - side, 0) // 2, axis=0)[0] for side in (1, 0))
    return np.where(count[0] > 0, 0.5 * (low + np.where(count[0] > 0, high, 0.0)), 0.0).astype(np.float32)
