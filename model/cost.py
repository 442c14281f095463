"""What a network costs: multiply-adds counted from the operations it runs on one sequence."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from model.batch import collate
from model.network import Network
from schemas.bands import BAND_IDS
from schemas.observation import STAMP_SIZE
from schemas.sequence import PLANES, StampSequence


def plain_sequence(bands: tuple[str, ...], *, num_frames: int = 99, frames_per_night: int = 3) -> StampSequence:
    """A sequence of black frames, one night apart, its bands in turn: only its shape matters."""
    shape = (num_frames, len(PLANES), STAMP_SIZE, STAMP_SIZE)
    night_L = np.arange(num_frames) // frames_per_night
    return StampSequence(
        survey="plain",
        object_id="plain",
        grid_id="plain",
        ra=0.0,
        dec=0.0,
        source_ids=tuple(str(index) for index in range(num_frames)),
        digests=tuple(index.to_bytes(16) for index in range(num_frames)),
        mjd_L=60000.0 + night_L + 0.01 * (np.arange(num_frames) % frames_per_night),
        night_L=night_L.astype(np.int64),
        band_L=np.array([BAND_IDS[bands[index % len(bands)]] for index in range(num_frames)], np.uint8),
        planes_LPHW=np.zeros(shape, np.float32),
        valid_LPHW=np.ones(shape, np.bool_),
        noise_LP=np.ones((num_frames, len(PLANES)), np.float32),
        psf_fwhm_arcsec_L=np.ones(num_frames, np.float32),
        diff_flux_njy_L=np.zeros(num_frames, np.float32),
        diff_flux_err_njy_L=np.ones(num_frames, np.float32),
        view_digest="plain",
    )


def multiply_adds(network: Network, *, num_frames: int = 99, frames_per_night: int = 3) -> int:
    """Multiply-adds of convolutions, matrix products and attention for one sequence of ``num_frames``.

    Counted on shapes alone (torch's meta device), so nothing is computed. The network itself is left as it is.
    """
    return sum(_count(network, num_frames, frames_per_night))


def encoder_multiply_adds(network: Network, *, frames_per_night: int = 3) -> int:
    """Multiply-adds of one token of ``frames_per_night`` frames, the head left out."""
    return _count(network, frames_per_night, frames_per_night)[0] // (network.fixed_tokens or 1)


def _count(network: Network, num_frames: int, frames_per_night: int) -> tuple[int, int]:
    """Multiply-adds of the encoder and of the head."""
    sequence = plain_sequence(tuple(network.config.bands), num_frames=num_frames, frames_per_night=frames_per_night)
    batch = collate(network, [sequence]).to("meta")
    shadow = deepcopy(network).to("meta").eval()
    encoder, head = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with torch.inference_mode():
        with encoder:
            tokens_GD = shadow.encode_tokens(batch.inputs)
        with head:
            shadow.classify_tokens(tokens_GD[None], batch.mask_BT, batch.days_BT)
    return int(encoder.get_total_flops()) // 2, int(head.get_total_flops()) // 2
