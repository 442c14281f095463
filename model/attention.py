"""What an ensemble's attention looked at: each frame's share. For pictures; scoring does not come here."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from model.batch import EMPTY_SLOT, SequenceBatch, collate
from model.convention_head import AttentionBlock
from model.ensemble import Ensemble
from model.network import Network
from schemas.sequence import StampSequence


def attention_shares(ensemble: Ensemble, sequence: StampSequence) -> NDArray[np.float32] | None:
    """How much of the attention each frame of ``sequence`` gets: float32 [L], sums to 1, 0 for a frame of a band that
    the network does not read.

    The mean over members, blocks, heads, pixels and asking tokens; a token's share is split evenly among its frames
    (a night's). None for networks without this attention. ValueError when no frame is read.
    """
    groups = ensemble.network.group_frames(sequence)
    if not groups:
        raise ValueError(f"{sequence.survey}:{sequence.object_id} has no frame that the network reads")
    batch = collate(ensemble.network, [sequence]).to(ensemble.device)
    found = [shares for member in ensemble.members for shares in _looked_at(member, batch)]
    if not found:
        return None
    token_T = torch.stack(found).mean(dim=0)[0].float().cpu().numpy()
    share_L = np.zeros(len(sequence), np.float32)
    for share, group in zip(token_T[: len(groups)].tolist(), groups, strict=True):
        for slot in group.slots:
            if slot != EMPTY_SLOT:
                share_L[slot] += share / group.num_frames
    return share_L


@torch.inference_mode()
def _looked_at(member: Network, batch: SequenceBatch) -> list[Tensor]:
    """The [B, T] shares of each attention block, in order, as one pass of the network meets them."""
    found: list[Tensor] = []

    def note(block: nn.Module, arguments: Sequence[Tensor]) -> None:
        assert isinstance(block, AttentionBlock)
        shares = block.looked_at(*arguments)
        if shares is not None:
            found.append(shares)

    blocks = [module for module in member.modules() if isinstance(module, AttentionBlock)]
    handles = [block.register_forward_pre_hook(note) for block in blocks]
    try:
        member(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found
