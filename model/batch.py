"""Sequences as tensors. A network reads a sequence as tokens, each made of a few frames in fixed slots.

Dimension letters, here and in every module of model/:
B sequences, T tokens of a sequence, G tokens of any sequences together, F frame slots of a token, N frames,
P planes (0 science, 1 difference), H rows, W columns, D values of a token, C channels, S scalars, K classes.

Padding: an empty slot has band id 0, ``frame_valid`` False and zeros everywhere else; a padding token of a batch has
``mask_BT`` False.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES, StampSequence

if TYPE_CHECKING:
    from model.network import Network

EMPTY_SLOT: Final = -1
KEY_SIZE: Final = 16
_DIFFERENCE: Final = PLANES.index("difference")
_SCIENCE: Final = PLANES.index("science")
_Sums = tuple[NDArray[np.float32], NDArray[np.float32], float]


class TokenGroup(NamedTuple):
    """Which frames make one token.

    slots: index into the sequence for each frame slot, EMPTY_SLOT for none. references: for each slot the earlier
    frames whose mean is subtracted to make the difference plane, empty where the survey's own plane is used.
    mjd: of the group's first frame, NaN when it has none. key: names everything that the token depends on besides
    the network and its weights; equal keys mean equal tokens.
    """

    slots: tuple[int, ...]
    references: tuple[tuple[int, ...], ...]
    mjd: float
    key: bytes

    @property
    def num_frames(self) -> int:
        """Filled slots."""
        return sum(slot != EMPTY_SLOT for slot in self.slots)


def make_groups(
    sequence: StampSequence,
    groups: Sequence[Sequence[int]],
    references: Mapping[int, tuple[int, ...]] | None = None,
) -> list[TokenGroup]:
    """``groups`` of ``sequence``'s frames (slots, EMPTY_SLOT for none), with the references of each frame.

    A key is made from the frames' digests and their references', slot by slot, each with its length before it. Known
    objects spend their time here, so the frames' parts are made once a sequence.
    """
    digests, mjd_L = sequence.digests, sequence.mjd_L.tolist()
    parts = [b"%d,0:%b" % (len(digest), digest) for digest in digests]
    for frame, earlier in (references or {}).items():
        if earlier:
            parts[frame] = b"%d,%d:%b%b" % (
                len(digests[frame]), len(earlier), digests[frame], b"".join([digests[index] for index in earlier])
            )  # fmt: skip
    parts.append(b"0,0:")  # EMPTY_SLOT is the last one
    made = []
    for slots in groups:
        filled = [slot for slot in slots if slot != EMPTY_SLOT]
        mjd = mjd_L[min(filled)] if filled else math.nan  # frames are in time order
        key = blake2b(b"".join([parts[slot] for slot in slots]), digest_size=KEY_SIZE).digest()
        own = tuple([references[slot] if slot != EMPTY_SLOT else () for slot in slots]) if references else None
        made.append(TokenGroup(tuple(slots), own or ((),) * len(slots), mjd, key))
    return made


@dataclass(frozen=True, slots=True, eq=False)
class TokenInputs:
    """What G tokens are made from: raw, in survey units; ``model.preprocess`` makes features of it.

    flux_GFPHW: float32 nJy, 0 where masked; valid_GFPHW: bool; noise_GFP: float32 nJy a pixel, 0 for a masked
    plane; band_GF: int64 ids 0..6; frame_valid_GF: bool; days_GF: float32 days after the token's first frame;
    psf_GF: float32 arcsec, 0 unknown.
    """

    flux_GFPHW: Tensor
    valid_GFPHW: Tensor
    noise_GFP: Tensor
    band_GF: Tensor
    frame_valid_GF: Tensor
    days_GF: Tensor
    psf_GF: Tensor

    def __len__(self) -> int:
        return self.flux_GFPHW.shape[0]

    def to(self, device: torch.device | str) -> TokenInputs:
        """The same on another device."""
        return TokenInputs(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def take(self, places: Tensor) -> TokenInputs:
        """The tokens at int64 ``places``, in that order."""
        return TokenInputs(**{field.name: getattr(self, field.name)[places] for field in fields(self)})


def gather_inputs(
    items: Sequence[tuple[StampSequence, TokenGroup]], *, num_slots: int | None = None, num_tokens: int | None = None
) -> TokenInputs:
    """Inputs of the tokens of ``items``, in order.

    num_slots: F, at least the widest group's (the default). num_tokens: G; what is missing is filled with empty
    tokens, so that every call can have one shape. ValueError when either is too small.
    """
    widest = max((len(group.slots) for _, group in items), default=1)
    num_slots = widest if num_slots is None else num_slots
    num_tokens = len(items) if num_tokens is None else num_tokens
    if num_slots < widest or num_tokens < len(items):
        raise ValueError(f"{len(items)} tokens of {widest} slots do not fit {num_tokens} of {num_slots}")
    shape = (num_tokens, num_slots)
    stamps = (*shape, len(PLANES), STAMP_SIZE, STAMP_SIZE)
    flux, valid = np.zeros(stamps, np.float32), np.zeros(stamps, np.bool_)
    noise = np.zeros((*shape, len(PLANES)), np.float32)
    band, frame_valid = np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
    days, psf = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    sums = _ReferenceSums()
    for row, (sequence, group) in enumerate(items):
        for column, (slot, reference) in enumerate(zip(group.slots, group.references, strict=True)):
            if slot == EMPTY_SLOT:
                continue
            place = (row, column)
            flux[place], valid[place] = sequence.planes_LPHW[slot], sequence.valid_LPHW[slot]
            noise[place] = sequence.noise_LP[slot]
            band[place], frame_valid[place] = sequence.band_L[slot], True
            days[place] = sequence.mjd_L[slot] - group.mjd
            psf[place] = np.nan_to_num(sequence.psf_fwhm_arcsec_L[slot])
            if reference:
                difference = _causal_difference(sequence, slot, reference, sums.of(sequence, reference))
                flux[place][_DIFFERENCE], valid[place][_DIFFERENCE], noise[place][_DIFFERENCE] = difference
    arrays = (flux, valid, noise, band, frame_valid, days, psf)
    return TokenInputs(*(torch.from_numpy(array) for array in arrays))


class _ReferenceSums:
    """Sums over the reference frames of one call, each made from the one before it by adding a frame: the frames
    are always added one after the other, so a sum's bytes do not depend on what else is in the call."""

    def __init__(self) -> None:
        self._sums: dict[tuple[int, tuple[int, ...]], _Sums] = {}

    def of(self, sequence: StampSequence, reference: tuple[int, ...]) -> _Sums:
        """Flux, number of valid pixels and variance summed over ``reference``."""
        start = len(reference)
        while start and (id(sequence), reference[:start]) not in self._sums:
            start -= 1
        sums = self._sums[id(sequence), reference[:start]] if start else _no_sums()
        for end in range(start + 1, len(reference) + 1):
            frame = reference[end - 1]
            variance = float(sequence.noise_LP[frame, _SCIENCE]) ** 2
            flux_HW = sums[0] + sequence.planes_LPHW[frame, _SCIENCE]  # 0 where masked
            sums = (flux_HW, sums[1] + sequence.valid_LPHW[frame, _SCIENCE], sums[2] + variance)
            self._sums[id(sequence), reference[:end]] = sums
        return sums


def _no_sums() -> _Sums:
    shape = (STAMP_SIZE, STAMP_SIZE)
    return np.zeros(shape, np.float32), np.zeros(shape, np.float32), 0.0


def _causal_difference(
    sequence: StampSequence, frame: int, reference: tuple[int, ...], sums: _Sums
) -> tuple[NDArray[np.float32], NDArray[np.bool_], float]:
    """Science plane of ``frame`` minus the mean of the ``reference`` frames' valid pixels, with its mask and noise.

    A pixel is valid where the frame and at least one reference frame are; the noise is the frame's and the mean's in
    quadrature.
    """
    flux_HW, count_HW, variance = sums
    valid_HW = sequence.valid_LPHW[frame, _SCIENCE] & (count_HW > 0)
    mean_HW = flux_HW / np.maximum(count_HW, np.float32(1))
    difference_HW = np.where(valid_HW, sequence.planes_LPHW[frame, _SCIENCE] - mean_HW, np.float32(0))
    noise = (float(sequence.noise_LP[frame, _SCIENCE]) ** 2 + variance / len(reference) ** 2) ** 0.5
    return difference_HW, valid_HW, noise if valid_HW.any() else 0.0


@dataclass(frozen=True, slots=True, eq=False)
class SequenceBatch:
    """B sequences for one network.

    inputs: their G real tokens, one after the other; index_BT: int64 place of each token in ``inputs``, 0 for
    padding; mask_BT: bool, False for padding; days_BT: float32 days from the token's first frame to the sequence's
    newest frame, 0 for padding and for tokens without frames.
    """

    inputs: TokenInputs
    index_BT: Tensor
    mask_BT: Tensor
    days_BT: Tensor

    def __len__(self) -> int:
        return self.index_BT.shape[0]

    def to(self, device: torch.device | str) -> SequenceBatch:
        """The same on another device."""
        return SequenceBatch(
            self.inputs.to(device), self.index_BT.to(device), self.mask_BT.to(device), self.days_BT.to(device)
        )


def token_days(sequence: StampSequence, groups: Sequence[TokenGroup]) -> NDArray[np.float32]:
    """Days from each token's first frame to the sequence's newest frame, float32 [T]; 0 for a token of no frames."""
    newest = float(sequence.mjd_L[-1]) if len(sequence) else 0.0
    return np.array([0.0 if np.isnan(group.mjd) else newest - group.mjd for group in groups], np.float32)


def collate(network: Network, sequences: Sequence[StampSequence], *, num_tokens: int | None = None) -> SequenceBatch:
    """A batch of ``sequences`` as ``network`` groups them, padded to ``num_tokens`` (default: the longest).

    ValueError when there is no sequence, one of them has no frame, or one has more tokens than ``num_tokens``.
    """
    grouped = [network.group_frames(sequence) for sequence in sequences]
    if not grouped or not all(len(sequence) for sequence in sequences):
        raise ValueError("a batch needs at least one sequence, each of at least one frame")
    longest = max(len(groups) for groups in grouped)
    num_tokens = longest if num_tokens is None else num_tokens
    if num_tokens < longest:
        raise ValueError(f"a sequence of {longest} tokens does not fit {num_tokens}")
    index = np.zeros((len(sequences), num_tokens), np.int64)
    mask = np.zeros(index.shape, np.bool_)
    days = np.zeros(index.shape, np.float32)
    items: list[tuple[StampSequence, TokenGroup]] = []
    for row, (sequence, groups) in enumerate(zip(sequences, grouped, strict=True)):
        count = len(groups)
        index[row, :count] = np.arange(len(items), len(items) + count)
        mask[row, :count] = True
        days[row, :count] = token_days(sequence, groups)
        items += [(sequence, group) for group in groups]
    inputs = gather_inputs(items)
    return SequenceBatch(inputs, torch.from_numpy(index), torch.from_numpy(mask), torch.from_numpy(days))
