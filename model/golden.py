"""Golden tensors: a few input sequences and what the ensemble answered when the bundle was written.

They are replayed at every load, from the raw stamps on, so a change of preprocessing, network code or numerical
library that moves an answer is found before the first alert is scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.scores import CLASSES
from schemas.errors import BundleError
from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES, StampSequence

# Largest difference allowed at replay: absolute for values up to 1, relative beyond. Another number of threads adds
# in another order: up to 3.1e-5 in the shipped bundles' logits, 4.9e-6 in probabilities, was seen between one thread
# and two. Novelty is a sum of squares over a small variance, which widens it.
LOGIT_TOLERANCE: Final = 1e-4
TOLERANCE: Final = 1e-5
NOVELTY_TOLERANCE: Final = 1e-3
MAX_SEQUENCES: Final = 64
_FRAME_FIELDS: Final = ("mjd", "night", "band", "planes", "valid", "noise", "psf", "flux", "flux_err")


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """sequences: N inputs; logits_NKC, probabilities_NC and novelty_N: the answers expected."""

    sequences: tuple[StampSequence, ...]
    logits_NKC: NDArray[np.float32]
    probabilities_NC: NDArray[np.float32]
    novelty_N: NDArray[np.float32]

    def check(
        self, logits_NKC: NDArray[np.float32], probabilities_NC: NDArray[np.float32], novelty_N: NDArray[np.float32]
    ) -> None:
        """BundleError, naming the output and the largest difference, when the answers are not those expected."""
        pairs = (
            ("logits", logits_NKC, self.logits_NKC, LOGIT_TOLERANCE),
            ("probabilities", probabilities_NC, self.probabilities_NC, TOLERANCE),
            ("novelty", novelty_N, self.novelty_N, NOVELTY_TOLERANCE),
        )
        for name, got, expected, tolerance in pairs:
            if got.shape != expected.shape:
                raise BundleError(f"golden check: {name} are of shape {got.shape}, expected {expected.shape}")
            excess = np.abs(got - expected) / np.maximum(np.abs(expected), 1.0)
            if not np.all(excess <= tolerance):  # written so that NaN fails
                raise BundleError(
                    f"golden check: {name} differ from those stored by up to {float(excess.max()):.2e}, "
                    f"more than {tolerance:.0e}"
                )

    def to_tensors(self) -> dict[str, Tensor]:
        """As stored in ``golden.safetensors``."""
        tensors = {
            "expected.logits": torch.from_numpy(self.logits_NKC.copy()),
            "expected.probabilities": torch.from_numpy(self.probabilities_NC.copy()),
            "expected.novelty": torch.from_numpy(self.novelty_N.copy()),
        }
        for index, s in enumerate(self.sequences):
            # MJD as bytes: floating tensors are read as float32, which has no seconds
            frames = (s.mjd_L.view(np.uint8), s.night_L, s.band_L, s.planes_LPHW, s.valid_LPHW, s.noise_LP)
            scalars = (s.psf_fwhm_arcsec_L, s.diff_flux_njy_L, s.diff_flux_err_njy_L)
            arrays: tuple[NDArray[Any], ...] = (*frames, *scalars)
            for name, value in zip(_FRAME_FIELDS, arrays, strict=True):
                tensors[f"input.{index:02d}.{name}"] = torch.from_numpy(np.ascontiguousarray(value))
        return tensors

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor], *, grid_id: str) -> Golden:
        """Inverse of ``to_tensors``; BundleError when a tensor is missing or of the wrong shape or kind."""
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        num_sequences = (len(arrays) - 3) // len(_FRAME_FIELDS)
        if not 1 <= num_sequences <= MAX_SEQUENCES:
            raise BundleError(f"golden check: {num_sequences} input sequences, expected 1..{MAX_SEQUENCES}")
        try:
            sequences = tuple(_sequence(arrays, index, grid_id) for index in range(num_sequences))
            logits, probabilities = arrays["expected.logits"], arrays["expected.probabilities"]
            novelty = arrays["expected.novelty"]
        except KeyError as error:
            raise BundleError(f"golden check: tensor {error} is missing") from error
        shapes = (logits.shape[::2], probabilities.shape, novelty.shape)
        wanted = (num_sequences, len(CLASSES))
        if logits.ndim != 3 or shapes != (wanted, wanted, (num_sequences,)):
            raise BundleError(f"golden check: expected outputs of shapes {shapes} for {num_sequences} sequences")
        return cls(sequences, logits, probabilities, novelty)


def _sequence(arrays: dict[str, NDArray[np.generic]], index: int, grid_id: str) -> StampSequence:
    fields = {name: arrays[f"input.{index:02d}.{name}"] for name in _FRAME_FIELDS}
    num_frames = len(fields["band"])
    planes_shape = (num_frames, len(PLANES), STAMP_SIZE, STAMP_SIZE)
    shapes: Sequence[tuple[str, tuple[int, ...], type[np.generic]]] = (
        ("mjd", (8 * num_frames,), np.uint8),
        ("night", (num_frames,), np.int64),
        ("band", (num_frames,), np.uint8),
        ("planes", planes_shape, np.float32),
        ("valid", planes_shape, np.bool_),
        ("noise", planes_shape[:2], np.float32),
        *((name, (num_frames,), np.float32) for name in ("psf", "flux", "flux_err")),
    )
    for name, shape, kind in shapes:
        if fields[name].shape != shape or fields[name].dtype != kind or num_frames == 0:
            raise BundleError(f"golden check: input {index}: {name} is {fields[name].dtype} {fields[name].shape}")
    content = b"".join(fields[name].tobytes() for name in _FRAME_FIELDS)
    digests = tuple(blake2b(b"%d" % frame + content, digest_size=16).digest() for frame in range(num_frames))
    return StampSequence(
        survey="golden",
        object_id=f"golden-{index}",
        grid_id=grid_id,
        ra=float("nan"),
        dec=float("nan"),
        source_ids=tuple(f"golden-{index}-{frame}" for frame in range(num_frames)),
        digests=digests,
        mjd_L=fields["mjd"].copy().view(np.float64),
        night_L=fields["night"].astype(np.int64),
        band_L=fields["band"].astype(np.uint8),
        planes_LPHW=fields["planes"].astype(np.float32),
        valid_LPHW=fields["valid"].astype(np.bool_),
        noise_LP=fields["noise"].astype(np.float32),
        psf_fwhm_arcsec_L=fields["psf"].astype(np.float32),
        diff_flux_njy_L=fields["flux"].astype(np.float32),
        diff_flux_err_njy_L=fields["flux_err"].astype(np.float32),
        view_digest=f"golden-{index}",
    )
