"""Inference in a few fixed shapes, so that an answer's bytes depend on nothing but its own input.

A kernel's last bits may depend on the shape it is called with, and within one shape on the place in the batch. So a
chunk has one size (missing places are filled), a sequence's length bucket is chosen from the sequence alone, and the
first use of a shape proves that all places of it compute the same bits; where they do not, it runs one at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final

import numpy as np
import torch
from torch import Tensor

from model.batch import TokenInputs
from schemas.bands import BANDS
from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES

TOKENS_PER_CHUNK: Final = 8
SEQUENCES_PER_CHUNK: Final = 8
_BUCKETS: Final = (1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 33, 40, 48, 64, 80, 99)
_LONG_STEP: Final = 33


def length_bucket(num_tokens: int) -> int:
    """Places for a sequence of ``num_tokens`` tokens: the next of a fixed ladder, past it multiples of 33."""
    for bucket in _BUCKETS:
        if num_tokens <= bucket:
            return bucket
    return -(-num_tokens // _LONG_STEP) * _LONG_STEP


class PlaceCheck:
    """Remembers for each shape how many items a call may hold: the chunk size once it is proven that places do not
    matter, else 1."""

    def __init__(self) -> None:
        self._sizes: dict[Hashable, int] = {}

    def chunk_size(self, shape: Hashable, size: int, places_agree: Callable[[int], bool]) -> int:
        """``size`` or 1 for calls of ``shape``; ``places_agree(size)`` runs at the first use."""
        known = self._sizes.get(shape)
        if known is None:
            known = size if places_agree(size) else 1
            self._sizes[shape] = known
        return known


def rows_agree(call: Callable[[tuple[Tensor, ...]], tuple[Tensor, ...]], rows: tuple[Tensor, ...]) -> bool:
    """Whether ``rows`` get the same bits at every place and beside any neighbours.

    ``call`` maps tensors [size, ...] to tensors [size, ...]. Three calls: with row 0 everywhere, with the rows as
    they are, with each a place further on; then all rows of the first answer and row 0 of the second must be one and
    the same, and so must the second and the third, moved back.
    """
    same = call(tuple(row[:1].expand_as(row).contiguous() for row in rows))
    mixed = call(rows)
    moved = call(tuple(row.roll(1, dims=0) for row in rows))
    for alike, beside, further in zip(same, mixed, moved, strict=True):
        reference = alike[0]
        if not torch.equal(beside[0], reference) or not all(torch.equal(row, reference) for row in alike):
            return False
        if not torch.equal(further.roll(-1, dims=0), beside):
            return False
    return True


def sample_inputs(num_tokens: int, num_slots: int) -> TokenInputs:
    """Seeded noise in the form of token inputs, about as bright as stamps are; every slot is filled."""
    random = np.random.default_rng(20230401)
    shape = (num_tokens, num_slots)
    flux = random.normal(0.0, 300.0, (*shape, len(PLANES), STAMP_SIZE, STAMP_SIZE)).astype(np.float32)
    arrays = (
        flux,
        random.random(flux.shape) > 0.02,
        random.uniform(50.0, 150.0, (*shape, len(PLANES))).astype(np.float32),
        random.integers(1, len(BANDS), shape),
        np.ones(shape, np.bool_),
        random.uniform(0.0, 0.2, shape).astype(np.float32),
        random.uniform(0.8, 2.5, shape).astype(np.float32),
    )
    return TokenInputs(*(torch.from_numpy(array) for array in arrays))
