"""What a training sample goes through before a network sees it: frames left out, stamps turned. Letters as in
``schemas.sequence``. Everything is drawn from the generator given."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from schemas.observation import STAMP_SIZE
from schemas.sequence import StampSequence
from train.recipe import Augmentation

Integers = NDArray[np.int64]
Kind = TypeVar("Kind", bound=np.generic)
_ANGLE_STEPS: Final = 32  # angles are drawn on a grid, so that their pixel maps are computed once


def drop_frames(
    frames: Integers, bands: Integers, settings: Augmentation, *, min_frames: int, random: np.random.Generator
) -> Integers:
    """Frames that are left: without one band (by chance), without a random share; at least ``min_frames`` of them,
    or all.

    ``bands`` are those of ``frames``.
    """
    kept = np.ones(len(frames), np.bool_)
    if random.random() < settings.band_drop and len(frames):
        lost = bands == random.choice(np.unique(bands))
        if np.count_nonzero(~lost) >= min_frames:
            kept &= ~lost
    share = random.uniform(0.0, settings.frame_drop) if settings.frame_drop else 0.0
    places = np.flatnonzero(kept)
    spare = len(places) - min(min_frames, len(places))
    num_lost = min(int(random.binomial(len(places), share)), spare)
    kept[random.choice(places, num_lost, replace=False)] = False
    return frames[kept]


def turn(sequence: StampSequence, settings: Augmentation, *, random: np.random.Generator) -> StampSequence:
    """All frames turned and mirrored alike. Noise, times and everything but pixels and masks stay."""
    planes, valid = sequence.planes_LPHW, sequence.valid_LPHW
    if settings.turns:
        quarter, mirrored = int(random.integers(4)), bool(random.integers(2))
        planes, valid = _turned(planes, quarter, mirrored), _turned(valid, quarter, mirrored)
    if settings.angle_deg and random.random() < 0.5:
        step = int(random.integers(-_ANGLE_STEPS, _ANGLE_STEPS + 1))
        place, inside = _rotation(settings.angle_deg * step / _ANGLE_STEPS)
        valid = valid.reshape(*valid.shape[:2], -1)[..., place] & inside
        planes = np.where(valid, planes.reshape(*planes.shape[:2], -1)[..., place], np.float32(0))
    return replace(sequence, planes_LPHW=np.ascontiguousarray(planes), valid_LPHW=np.ascontiguousarray(valid))


def _turned(values_LPHW: NDArray[Kind], quarter: int, mirrored: bool) -> NDArray[Kind]:
    turned = np.rot90(values_LPHW, quarter, axes=(2, 3))
    return turned[..., ::-1] if mirrored else turned


@lru_cache(maxsize=2 * _ANGLE_STEPS + 1)
def _rotation(angle_deg: float) -> tuple[Integers, NDArray[np.bool_]]:
    """For each pixel [H, W] the flat index of the pixel that comes there, and whether there is one. Nearest pixel: an
    interpolated one would carry less noise than the frame states."""
    angle, centre = np.radians(angle_deg), (STAMP_SIZE - 1) / 2
    rows, columns = np.meshgrid(*(np.arange(STAMP_SIZE) - centre,) * 2, indexing="ij")
    from_row = np.rint(np.cos(angle) * rows - np.sin(angle) * columns + centre).astype(np.int64)
    from_column = np.rint(np.sin(angle) * rows + np.cos(angle) * columns + centre).astype(np.int64)
    inside = (np.minimum(from_row, from_column) >= 0) & (np.maximum(from_row, from_column) < STAMP_SIZE)
    return np.where(inside, from_row * STAMP_SIZE + from_column, 0), inside
