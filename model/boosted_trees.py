"""Boosted decision trees as a part of a network: what they say is added to its logits. Letters as in ``model.batch``;
R trees, S features, E leaves.

Every tree is complete and four levels deep. A value near a threshold goes both ways, in shares that change linearly
over ``SOFTNESS`` of the feature's spread, so that the last bit of a feature moves the answer by a bit and not by a
leaf: machines differ in last bits, and their answers are to agree. ``train.trees`` fits them; here they are tensors.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn

DEPTH: Final = 4
NUM_NODES: Final = 2**DEPTH - 1
NUM_LEAVES: Final = 2**DEPTH
SOFTNESS: Final = 0.05


class BoostedTrees(nn.Module):
    """``num_rounds`` trees a class on [B, num_features]; without a fit all say 0.

    feature: int16 [R, nodes], which feature a node asks, nodes level by level; threshold: [R, nodes], at or below it
    goes left; leaf: [R, E], what is added to the logit of class R modulo num_classes; width: [S], over which a share
    goes from 0 to 1.
    """

    feature: Tensor
    threshold: Tensor
    leaf: Tensor
    width: Tensor

    def __init__(self, num_rounds: int, num_features: int, num_classes: int) -> None:
        super().__init__()
        trees = num_rounds * num_classes
        self.num_classes = num_classes
        self.register_buffer("feature", torch.zeros(trees, NUM_NODES, dtype=torch.int16))
        self.register_buffer("threshold", torch.zeros(trees, NUM_NODES))
        self.register_buffer("leaf", torch.zeros(trees, NUM_LEAVES))
        self.register_buffer("width", torch.ones(num_features))

    def forward(self, features_BS: Tensor) -> Tensor:
        """What is added to the logits, [B, num_classes]."""
        asked = self.feature.long()
        right_BRN = ((features_BS[:, asked] - self.threshold) / self.width[asked] + 0.5).clamp(0.0, 1.0)
        reach_BRE = torch.ones_like(right_BRN[..., :1])
        for level in range(DEPTH):
            right = right_BRN[..., 2**level - 1 : 2 ** (level + 1) - 1]
            reach_BRE = torch.stack([reach_BRE * (1.0 - right), reach_BRE * right], dim=-1).flatten(-2)
        said_BR = (reach_BRE * self.leaf).sum(dim=-1)
        return torch.unflatten(said_BR, 1, (-1, self.num_classes)).sum(dim=1)
