"""Focal loss, sample by sample (Lin et al. 2017)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def focal_loss(logits_BK: Tensor, labels_B: Tensor, weights_B: Tensor, *, gamma: float) -> Tensor:
    """Weighted mean of (1 - p)^gamma * -ln p, p the probability given to the sample's own class; gamma 0 is the
    cross-entropy. Each sample's factor is its own, never the batch's mean."""
    log_p_B = functional.log_softmax(logits_BK.float(), dim=1).gather(1, labels_B[:, None])[:, 0]
    loss_B = -((1.0 - log_p_B.exp()).clamp_min(1e-6) ** gamma) * log_p_B
    return (weights_B * loss_B).sum() / weights_B.sum()
